"""What becomes of a database that goes from build to build, by three methods; writes docs/migrations-comparison.md.

    LASTGOOD_TEST_DATABASE_URL=… python -m tests.migrator.comparison     (make migrations-table)

For each ordered pair of our builds a database is brought to the first, over the builds before it, and then to the second; what it holds
then is compared with a fresh database of the second.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from . import fleet as fleets
from .fleet import Contents, Fleet, Worker, contents, emptied, travel
from .histories import MARK, File, Operation, Tree

PAGE = fleets.REPOSITORY / "docs" / "migrations-comparison.md"
ID = "('id', models.BigAutoField(primary_key=True))"
METHODS = {
    "ours": "lastgood: the wanted build's `forward`, and whom its `needs` names",
    "migrate": "`manage.py migrate` of the wanted build, as release commands do",
    "per app": "the old build migrates each app to the wanted build's newest row, then `migrate` of the wanted build",
}
SIGNS = {"right": "✓", "refused": "refused", "loud": "✗", "silent": "✗ silent"}


def _file(key: str, needs: str, *operations: str, replaces: tuple[str, ...] = ()) -> File:
    return File(key, tuple(needs.split()), tuple(Operation(text, "changes") for text in operations), replaces)


def _trees() -> dict[str, Tree]:
    """Return our builds, oldest first: a line, a hotfix beside it, and the three states of a squash."""
    item = f"migrations.CreateModel('Item', [{ID}, ('mark', {MARK})])"
    bill = f"migrations.CreateModel('Bill', [{ID}, ('mark', {MARK}), ('item', models.ForeignKey('a.Item', models.CASCADE, null=True))])"
    size = "migrations.AddField('Item', 'size', models.IntegerField(default=1))"
    row = "migrations.RunPython(*rows('a', 'Item', 'from a migration'))"
    first = [_file("a.0001", "", item), _file("b.0001", "a.0001", bill)]
    second = [*first, _file("a.0002", "a.0001", size, row)]
    total = _file("b.0002", "b.0001 a.0002", "migrations.AddField('Bill', 'total', models.IntegerField(default=0))")
    third = [*second, _file("a.0003", "a.0002", "migrations.RenameField('Item', 'size', 'weight')"), total]
    hotfix = [
        *second,
        _file("a.0003_hotfix", "a.0002", "migrations.AddField('Item', 'colour', models.TextField(default=''))"),
    ]
    replaces = ("a.0001", "a.0002", "a.0003")
    squash = _file(
        "a.0001_squashed", "", *(op.text for one in third for op in one.operations if one.app == "a"), replaces=replaces
    )
    fifth = [one for one in third if one.app != "a"] + [squash]
    plain = _file("a.0001_squashed", "", *(operation.text for operation in squash.operations))
    renamed = {"a.0001": "a.0001_squashed", "a.0002": "a.0001_squashed"}
    others = [
        File(one.key, tuple(dict.fromkeys(renamed.get(need, need) for need in one.needs)), one.operations)
        for one in third
        if one.app != "a"
    ]
    shop = _file("c.0001", "a.0001_squashed", f"migrations.CreateModel('Shop', [{ID}, ('mark', {MARK})])")
    sixth = [*others, plain, _file("a.0004", "a.0001_squashed b.0002", "migrations.RenameModel('Item', 'Thing')"), shop]
    builds = {
        "1 first": first,
        "2 field and row": second,
        "3 renamed, two apps": third,
        "3h hotfix": hotfix,
        "4 squash, files kept": [*third, squash],
        "5 squash, files deleted": fifth,
        "6 replaces dropped, new app": sixth,
    }
    return {name: Tree({file.key: file for file in files}) for name, files in builds.items()}


def _before(name: str, names: Iterable[str]) -> list[str]:
    """Return the builds that were deployed before `name`, and itself."""
    line = [one for one in names if one != "3h hotfix"]
    return [*line[:2], name] if name == "3h hotfix" else line[: line.index(name) + 1]


@dataclass
class Comparison:
    """Runs the methods over one database."""

    connection: psycopg.Connection[Any]
    workers: Mapping[str, Worker]
    via: tuple[
        str, ...
    ] = ()  # the manifests of all builds: an environment's record has them, the database only those that it met

    def fresh(self, name: str) -> tuple[Contents, dict[str, str]]:
        """Return what a fresh database of a build has, and each app's newest row."""
        emptied(self.connection)
        answer = self.workers[name].migrate()
        assert answer.exit_status == 0, answer.stderr
        rows = self.connection.execute("SELECT app, name FROM django_migrations ORDER BY id").fetchall()
        return contents(self.connection), dict(rows)

    def bring(self, name: str, method: str) -> Contents:
        """Bring an empty database to the build `name`, over those before it."""
        emptied(self.connection)
        for build in _before(name, self.workers):
            if method == "ours":
                journey = travel(self.workers, build)
                assert journey.status in ("done", "nothing"), journey.story
            else:
                answer = self.workers[build].migrate()
                assert answer.exit_status == 0, answer.stderr
        return contents(self.connection)

    def go(self, old: str, new: str, method: str, newest: Mapping[str, str]) -> bool:
        """Go from `old` to `new`; return whether the method says that it went well."""
        if method == "ours":
            return travel(self.workers, new, via=self.via).status in ("done", "nothing")
        if method == "per app":
            for app, name in newest.items():
                if app in ("a", "b", "c") and self.workers[old].migrate(app, name).exit_status:
                    return False
        return self.workers[new].migrate().exit_status == 0

    def verdict(self, old: str, new: str, method: str, fresh: Contents, newest: Mapping[str, str]) -> str:
        """Return right, refused (nothing changed), silent (wrong, and said to be well) or loud (wrong, and said so)."""
        before = self.bring(old, method)
        well = self.go(old, new, method, newest)
        after = contents(self.connection)
        if after == fresh and well:
            return "right"
        if not well:
            return "refused" if after == before else "loud"
        return "silent"


def compare(
    fleet: Fleet, database: Any, folder: Path, only: Iterable[str] = ()
) -> dict[str, dict[tuple[str, str], str]]:
    """Return the verdict of each method on each ordered pair of builds."""
    workers: dict[str, Worker] = {}
    via: tuple[str, ...] = ()
    for number, (name, tree) in enumerate(_trees().items(), 1):
        fleets.write(folder / f"build{number}", tree)
        workers[name] = fleet.build(folder / f"build{number}", name, database.django)
        (folder / f"{number}.json").write_text(workers[name].run("manifest").stdout)
        via += (str(folder / f"{number}.json"),)
    comparison = Comparison(database.connection, workers, via)
    found: dict[str, dict[tuple[str, str], str]] = {method: {} for method in METHODS}
    names = [name for name in workers if not only or name in only]
    for new in names:
        fresh, newest = comparison.fresh(new)
        for old in names:
            for method in METHODS if old != new else ():
                found[method][old, new] = comparison.verdict(old, new, method, fresh, newest)
    fleet.close_workers()
    return found


def page(found: Mapping[str, Mapping[tuple[str, str], str]], versions: str) -> str:
    """Return the page."""
    pairs = len(found["ours"])
    lines = [
        "# Migrations in both directions: three methods compared",
        "",
        f"Written by `make migrations-table` ({versions}). {pairs} ordered pairs of builds: a database that was brought to the first",
        "over the builds before it goes to the second. *Right*: schema and rows equal a fresh database of the second build. *Silent*:",
        "they do not, and the exit status was 0. *Refused*: it stopped, and nothing had changed.",
        "",
        "| method | right | refused | wrong | of these silent |",
        "|---|---:|---:|---:|---:|",
    ]
    for method, what in METHODS.items():
        all_ = list(found[method].values())
        wrong = all_.count("loud") + all_.count("silent")
        lines.append(f"| {what} | {all_.count('right')} | {all_.count('refused')} | {wrong} | {all_.count('silent')} |")
    names = list(dict.fromkeys(old for _, old in found["ours"]))
    for method, what in METHODS.items():
        lines += ["", f"## {what}", "", f"| from ↓ to → | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        for old in names:
            cells = [SIGNS[found[method][old, new]] if old != new else "" for new in names]
            lines.append(f"| {old} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    import django

    from .conftest import Server

    address = os.environ.get("LASTGOOD_TEST_DATABASE_URL")
    if not address:
        print("LASTGOOD_TEST_DATABASE_URL is not set: run `make migrations-table`", file=sys.stderr)
        return 2
    server = Server(address)
    database = server.create()
    assert database.connection
    version = database.connection.info.server_version // 10000
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        try:
            found = compare(fleet, database, Path(folder))
        finally:
            fleet.stop()
            server.drop(database)
    PAGE.write_text(page(found, f"Django {django.get_version()}, PostgreSQL {version}"), encoding="utf-8")
    print(f"{PAGE.relative_to(fleets.REPOSITORY)}: {len(found['ours'])} pairs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
