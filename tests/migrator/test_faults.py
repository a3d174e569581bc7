"""A fault at every boundary between statements, in both directions: nothing is lost, and nobody gets stuck."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from . import fleet as fleets
from .fleet import Contents, Fleet, Worker, contents
from .histories import MARK, File, Operation, Tree

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def file(key: str, needs: str, *operations: str) -> File:
    return File(key, tuple(needs.split()), tuple(Operation(text, "changes") for text in operations))


ID = "('id', models.BigAutoField(primary_key=True))"
FIRST = file("s.0001", "", f"migrations.CreateModel('Item', [{ID}, ('mark', {MARK})])")
SECOND = [
    file(
        "s.0002",
        "s.0001",
        "migrations.RunPython(*rows('s', 'Item', 'from s.0002'))",
        "migrations.AddField('Item', 'size', models.IntegerField(default=3))",
    ),
    file(
        "t.0001",
        "s.0002",
        f"migrations.CreateModel('Bill', [{ID}, ('mark', {MARK}), ('item', models.ForeignKey('s.Item', models.CASCADE, null=True))])",
        "migrations.RunPython(*rows('t', 'Bill', 'from t.0001'))",
    ),
    file(
        "s.0003",
        "s.0002 t.0001",
        "migrations.RenameField('Item', 'size', 'weight')",
        "migrations.RenameModel('Item', 'Thing')",
    ),
]
LAST = file(
    "s.0004",
    "s.0003",
    "migrations.AddIndex('Thing', models.Index(fields=['weight'], name='weight'))",
    "migrations.RunPython(*rows('s', 'Thing', 'from s.0004'))",
)
ALONE = File(
    "t.0002",
    ("t.0001",),
    (Operation("AddIndexConcurrently('Bill', models.Index(fields=['mark'], name='marks'))", "changes", atomic=False),),
)


def tree(*files: File) -> Tree:
    return Tree({each.key: each for each in files})


OLD, NEW = tree(FIRST), tree(FIRST, *SECOND, LAST)
CUT_IN_TWO = tree(FIRST, *SECOND, ALONE, LAST)


class Ground:
    """A database at the old build, and both builds' workers."""

    def __init__(self, fleet: Fleet, database: Any, folder: Path, new: Tree) -> None:
        self.database = database
        for build, files in (("old", OLD), ("new", new)):
            fleets.write(folder / build, files)
        self.old, self.new = (fleet.build(folder / build, build, database.django) for build in ("old", "new"))
        self.ends: dict[str, Contents] = {}
        self.all = [file.key for file in new.files.values()][1:]
        assert self.run(self.old, "forward") == "done"
        database.connection.execute("INSERT INTO s_item (mark) VALUES ('by hand')")
        self.ends["back"] = contents(database.connection)
        assert self.run(self.new, "forward") == "done"
        self.ends["forward"] = contents(database.connection)

    def run(self, worker: Worker, *arguments: str) -> str:
        answer = worker.run(*arguments)
        assert answer.exit_status == 0, answer.stdout
        return str(answer.result["status"])

    def arguments(self, direction: str) -> tuple[str, ...]:
        return ("forward",) if direction == "forward" else ("back", "--to", "build:old")

    def statements(self, direction: str) -> list[str]:
        """Return the boundaries of a run in `direction`; the database is where it was."""
        other = "back" if direction == "forward" else "forward"
        self.run(self.new, *self.arguments(other))
        statements = self.new.run(*self.arguments(direction)).statements
        self.run(self.new, *self.arguments(other))
        return statements

    def sessions_end(self, wait_for: Callable[..., Any]) -> None:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_for(lambda: not self.database.rows(query), "the session of the migrator ends")


@pytest.fixture
def ground(fleet: Fleet, database: Any, tmp_path: Path) -> Iterator[Ground]:
    yield Ground(fleet, database, tmp_path, NEW)
    fleet.close_workers()


def chosen(statements: list[str], every: int) -> Iterator[int]:
    """Yield the boundaries to try: each commit and what follows it, and every so many of the others."""
    for number, statement in enumerate(statements):
        if statement == "COMMIT" or statements[number - 1] == "COMMIT" or number % every == 0:
            yield number


def try_all(ground: Ground, how: str, direction: str, every: int, wait_for: Callable[..., Any]) -> int:
    """Have a fault at the boundaries of a run in `direction`, each time from the same start; return how many."""
    other = "back" if direction == "forward" else "forward"
    statements, tried = ground.statements(direction), 0
    for at in chosen(statements, every):
        tried += 1
        where = f"{how} at {at}, before {statements[at]}"
        answer = ground.new.run(*ground.arguments(direction), fault={"how": how, "at": at})
        ground.sessions_end(wait_for)
        # One transaction: all is there or nothing is.
        found = contents(ground.database.connection)
        assert found in ground.ends.values(), where
        if answer.exit_status == 0:  # told too late to matter
            assert found == ground.ends[direction], where
        elif answer.exit_status != -9:
            assert answer.exit_status in (5, 75), where + answer.stdout
            assert answer.result["status"] in ("failed", "busy"), where
        again = ground.new.run(*ground.arguments(direction))
        assert again.exit_status == 0, where + again.stdout + again.stderr
        expected = "done" if found == ground.ends[other] else "nothing"
        assert again.result["status"] == expected, where
        assert contents(ground.database.connection) == ground.ends[direction], where
        check_ledger(ground, direction, where)
        ground.run(ground.new, *ground.arguments(other))
        assert contents(ground.database.connection) == ground.ends[other], where
    return tried


def check_ledger(ground: Ground, direction: str, where: str) -> None:
    """Every migration's last entry says what is true, and applied and undone take turns."""
    entries: dict[str, list[str]] = {}
    for way, key in ground.database.rows("SELECT direction, app || '.' || name FROM lastgood_ledger ORDER BY id"):
        entries.setdefault(key, []).append(way)
    for key in ground.all:
        ways = entries[key]
        assert ways[-1] == direction, where
        assert all(one != next_ for one, next_ in itertools.pairwise(ways)), where


@pytest.mark.parametrize("direction", ["forward", "back"])
@pytest.mark.parametrize("how", ["kill", "terminate", "cut", "deaf"])
def test_a_fault_at_some_boundaries(ground: Ground, how: str, direction: str, wait_for: Callable[..., Any]) -> None:
    assert try_all(ground, how, direction, 25, wait_for) >= 6


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("direction", ["forward", "back"])
@pytest.mark.parametrize("how", ["kill", "terminate", "cut", "deaf"])
def test_a_fault_at_every_boundary(ground: Ground, how: str, direction: str, wait_for: Callable[..., Any]) -> None:
    tried = try_all(ground, how, direction, 1, wait_for)
    print(f"\n{how}, {direction}: {tried} boundaries")
    assert tried > 50


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_killed_around_a_migration_that_runs_alone(
    fleet: Fleet, database: Any, tmp_path: Path, direction: str, wait_for: Callable[..., Any]
) -> None:
    """Its statements are not undone by anybody: the next run goes on, or names it; what is atomic is whole."""
    ground = Ground(fleet, database, tmp_path, CUT_IN_TWO)
    statements = ground.statements(direction)
    commits = [number for number, statement in enumerate(statements) if statement == "COMMIT"]
    index = next(number for number, statement in enumerate(statements) if "CONCURRENTLY" in statement)
    for at in sorted({*commits, *(number + 1 for number in commits if number + 1 < len(statements)), index}):
        where = f"killed at {at}, before {statements[at]}"
        assert ground.new.run(*ground.arguments(direction), fault={"how": "kill", "at": at}).exit_status == -9, where
        ground.sessions_end(wait_for)
        again = ground.new.run(*ground.arguments(direction))
        if again.exit_status != 0:
            assert "t.0002" in again.result["reason"], where + again.stdout
            # What the reason names is all that a person has to mend.
            if direction == "forward":
                database.connection.execute("DROP INDEX IF EXISTS marks")
            else:
                database.connection.execute("CREATE INDEX IF NOT EXISTS marks ON t_bill (mark)")
            again = ground.new.run(*ground.arguments(direction), "--resume")
        assert again.exit_status == 0, where + again.stdout
        assert contents(database.connection) == ground.ends[direction], where
        ground.run(ground.new, *ground.arguments("back" if direction == "forward" else "forward"))
    fleet.close_workers()


def test_the_server_does_not_notice_that_the_network_is_gone(ground: Ground, wait_for: Callable[..., Any]) -> None:
    """Until it does, the session keeps its lock: busy, not broken."""
    with psycopg.connect(ground.database.info) as silent:
        silent.execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"lastgood", "big")])
        answer = ground.new.run("forward", "--wait", "0.1")
        assert answer.exit_status == 75
    ground.sessions_end(wait_for)
    assert ground.run(ground.new, "forward") == "nothing"
