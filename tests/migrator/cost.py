"""What the migrator costs over Django's own `migrate`: 1,000 migrations in 50 apps; writes docs/benchmarks-migrator.md.

    LASTGOOD_TEST_DATABASE_URL=… python -m tests.migrator.cost     (make bench-migrator)

Both are processes of their own, as in a release, and take turns; the figure is the ratio of the medians, in one run on one machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from . import fleet as fleets
from .histories import MARK, File, Operation, Tree

PAGE = fleets.REPOSITORY / "docs" / "benchmarks-migrator.md"
APPS, EACH = 50, 20
TARGETS = {"nothing to do": 1.2, "all forward": 1.1}
MANAGE = "import sys; from django.core.management import execute_from_command_line; execute_from_command_line(sys.argv)"


def project(apps: int = APPS, each: int = EACH) -> Tree:
    """Return a project whose apps have `each` migrations: a model, then fields, indexes and rows; each app refers to the one before."""
    files: dict[str, File] = {}
    for number in range(apps):
        app = f"app{number:02}"
        for step in range(1, each + 1):
            needs = (f"{app}.{step - 1:04}",) if step > 1 else ()
            if step == 1:
                reference = ""
                if number:
                    before = f"app{number - 1:02}"
                    needs = (f"{before}.0001",)
                    reference = f", ('before', models.ForeignKey('{before}.Item', models.CASCADE, null=True))"
                key = "('id', models.BigAutoField(primary_key=True))"
                text = f"migrations.CreateModel('Item', [{key}, ('mark', {MARK}){reference}])"
            elif step % 7 == 0:
                text = f"migrations.AddIndex('Item', models.Index(fields=['f{step - 1}'], name='{app}_{step}'))"
            elif step % 7 == 1:
                text = f"migrations.RunPython(*rows('{app}', 'Item', 'row {step}'))"
            else:
                text = f"migrations.AddField('Item', 'f{step}', models.IntegerField(null=True))"
            files[f"{app}.{step:04}"] = File(f"{app}.{step:04}", needs, (Operation(text, "holds"),))
    return Tree(files)


def measure(folder: Path, server: Any, rounds: int, tree: Tree) -> dict[str, dict[str, list[float]]]:
    """Return seconds by what was run ("nothing to do", "all forward") and by whom ("django", "lastgood")."""
    fleets.write(folder / "project", tree)
    database = server.create()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{folder / 'project'}:{fleets.REPOSITORY / 'docker'}",
        "DJANGO_SETTINGS_MODULE": "settings",
        "TEST_DATABASE": json.dumps(database.django),
        "LASTGOOD_BUILD": "v1",
        "LASTGOOD_MANIFEST": str(folder / "manifest.json"),
    }

    def run(*arguments: str, output: Any = subprocess.PIPE) -> float:
        start = perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder / "project",
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
        seconds = perf_counter() - start
        assert done.returncode == 0, done.stderr or done.stdout
        return seconds

    def django() -> float:
        return run("-c", MANAGE, "migrate", "--no-input")

    def ours() -> float:
        return run("-m", "migrator", "forward")

    # An image carries its manifest, made when it was built.
    environment["LASTGOOD_MANIFEST"] = ""
    with (folder / "manifest.json").open("w") as manifest:
        run("-m", "migrator", "manifest", "--build", "v1", output=manifest)
    environment["LASTGOOD_MANIFEST"] = str(folder / "manifest.json")
    methods: dict[str, Callable[[], float]] = {"django": django, "lastgood": ours}
    found: dict[str, dict[str, list[float]]] = {what: {name: [] for name in methods} for what in TARGETS}
    try:
        assert database.connection
        for turn in range(rounds):
            for name in list(methods)[:: 1 if turn % 2 else -1]:
                fleets.emptied(database.connection)
                found["all forward"][name].append(methods[name]())
                # Who was here before does not matter for who finds nothing to do, but its ledger must be there.
                methods["lastgood"]()
                for _ in range(2):
                    found["nothing to do"][name].append(methods[name]())
    finally:
        server.drop(database)
    return found


def page(found: dict[str, dict[str, list[float]]], versions: str) -> str:
    """Return the page."""
    lines = [
        "# What the migrator costs",
        "",
        f"Written by `make bench-migrator` ({versions}): a project with {APPS * EACH:,} migrations in {APPS} apps, `manage.py migrate` and",
        "`python -m migrator forward` as processes of their own, taking turns; medians, start of Python included. PostgreSQL does not",
        "wait for its disk here (`fsync = off`): that spares `migrate`, which commits each migration, more than us, who commit once.",
        "",
        "| run | `manage.py migrate` | `migrator forward` | ratio | at most |",
        "|---|---:|---:|---:|---:|",
    ]
    for what, most in TARGETS.items():
        django, ours = (median(found[what][name]) for name in ("django", "lastgood"))
        lines.append(f"| {what} | {django:.2f} s | {ours:.2f} s | {ours / django:.2f} | {most} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    import django

    from .conftest import Server

    address = os.environ.get("LASTGOOD_TEST_DATABASE_URL")
    if not address:
        print("LASTGOOD_TEST_DATABASE_URL is not set: run `make bench-migrator`", file=sys.stderr)
        return 2
    rounds = int(os.environ.get("ROUNDS", "5"))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), Server(address), rounds, project())
    versions = (
        f"Django {django.get_version()}, Python {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds"
    )
    PAGE.write_text(page(found, versions), encoding="utf-8")
    print(PAGE.read_text(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
