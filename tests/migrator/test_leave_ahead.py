"""`forward --leave-ahead`: a database that has more than the build wants stays as it is, where the build's code can live with that."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from . import fleet as fleets
from .fleet import DJANGO, Fleet, emptied, travel
from .histories import History, histories
from .test_walks import LONG, NESTING, SHORT

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

ID = "('id', models.BigAutoField(primary_key=True))"
KIND = "models.IntegerField(db_default=1)" if DJANGO >= (5, 0) else "models.IntegerField(default=1)"
ITEM = (
    f"migrations.CreateModel('Item', [{ID}, ('name', models.CharField(max_length=9)), ('note', models.TextField(null=True)),"
    f" ('kind', {KIND}), ('other', models.ForeignKey('Item', models.CASCADE, null=True)), ('pairs', models.ManyToManyField('Item'))]),"
    f"migrations.CreateModel('Other', [{ID}])"
)
REASON = "the database has more than this build wants, and its code can live with that: left as it is"
NEW_MODEL = (
    f"migrations.CreateModel('Bill', [{ID}]),"
    "migrations.AddField('Bill', 'item', models.ForeignKey('Item', models.CASCADE)),"
    "migrations.AddConstraint('Bill', models.UniqueConstraint(fields=['item'], name='once'))"
)
OWN = """
import inspect
from django.contrib.postgres.operations import AddConstraintNotValid
CHECK = "condition" if "condition" in inspect.signature(models.CheckConstraint).parameters else "check"
class Own(migrations.RunPython):
    def __init__(self):
        super().__init__(migrations.RunPython.noop, migrations.RunPython.noop)
"""
LIVES = {
    "a field that may be NULL": "migrations.AddField('Item', 'size', models.IntegerField(null=True))",
    "a field of a default in the database": "migrations.AddField('Item', 'size', models.IntegerField(db_default=1))",
    "a model, with what makes it whole": NEW_MODEL,
    "an index": "migrations.AddIndex('Item', models.Index(fields=['name'], name='names'))",
    "a field that takes more": "migrations.AlterField('Item', 'name', models.CharField(max_length=99))",
    "an index by SQL": "migrations.RunSQL('CREATE INDEX names ON shop_item (name); ANALYZE shop_item;', 'DROP INDEX names')",
    "rows": "migrations.RunPython(lambda apps, editor: None, lambda apps, editor: None)",
}
BREAKS = {
    "a field without a default": "migrations.AddField('Item', 'size', models.IntegerField(default=1))",
    "a field that is gone": "migrations.RemoveField('Item', 'note')",
    "a field of another name": "migrations.RenameField('Item', 'note', 'text')",
    "a field in a column of another name": "migrations.AlterField('Item', 'note', models.TextField(null=True, db_column='text'))",
    "a field that the database fills no more": "migrations.AlterField('Item', 'kind', models.IntegerField(default=1))",
    "a relation to another model": "migrations.AlterField('Item', 'other', models.ForeignKey('Other', models.CASCADE, null=True))",
    "a table of pairs of another name": "migrations.AlterField('Item', 'pairs', models.ManyToManyField('Item', db_table='pairs'))",
    "an order of rows": "migrations.AlterOrderWithRespectTo('Item', 'other')",
    "a rule": "migrations.AddConstraint('Item', models.UniqueConstraint(fields=['name'], name='once'))",
    "a rule for rows to come": "AddConstraintNotValid('Item', models.CheckConstraint(name='named', **{CHECK: ~models.Q(name='')}))",
    "a change by SQL": "migrations.RunSQL('ALTER TABLE shop_item RENAME note TO text', 'ALTER TABLE shop_item RENAME text TO note')",
    "an index and a change by SQL": "migrations.RunSQL('DROP INDEX IF EXISTS x; ALTER TABLE shop_item RENAME note TO text', 'SELECT 1')",
    "an operation of the project's own": "Own()",
    "rows that SQL takes": "migrations.RunSQL('DELETE FROM shop_item', 'SELECT 1')",
}


@pytest.fixture
def two(database: Any, make: Any, migration: Any) -> Any:
    """Give a function that has the build v1 forward, then v2 with a further migration of these operations; it returns both."""

    def write(operations: str) -> tuple[Any, Any]:
        files = {"0001_initial": migration(ITEM)}
        v1 = make(database, "v1", {"shop": dict(files)})
        files["0002_more"] = migration(operations, ("shop", "0001_initial"), code=OWN)
        v2 = make(database, "v2", {"shop": files})
        assert v1.run("forward").exit_status == 0
        assert v2.run("forward", "--accept-loss").moved == (0, "done", [], ["shop.0002_more"])
        return v1, v2

    return write


@pytest.mark.parametrize("operations", LIVES.values(), ids=LIVES)
def test_what_the_code_can_live_with_stays(operations: str, two: Any, database: Any) -> None:
    if "db_default" in operations and DJANGO < (5, 0):
        pytest.skip("db_default is Django 5.0's")
    v1, v2 = two(operations)
    before = database.schema()
    run = v1.run("forward", "--leave-ahead")
    assert (run.moved, run.result["reason"], run.result["needs"]) == ((0, "nothing", [], []), REASON, None)
    assert (database.schema(), database.applied("shop")) == (before, ["shop.0001_initial", "shop.0002_more"])
    # And the way back is open as ever.
    assert json.loads(v2.run("plan", "--to", "build:v1", "--json").stdout)["leave_ahead"] is True
    said = v2.run("plan", "--to", "build:v1").stdout.splitlines()[-1]
    assert said == "   the code of build v1 can live with what is there: its service can go back first (--leave-ahead)"
    run = v1.run("forward")
    assert (run.exit_status, run.result["needs"]) == (3, "v2")
    assert v2.run("back", "--to", "build:v1").moved == (0, "done", ["shop.0002_more"], [])
    assert v1.run("forward", "--leave-ahead").result["reason"] is None


@pytest.mark.parametrize("operations", BREAKS.values(), ids=BREAKS)
def test_what_the_code_can_not_live_with_goes_first(operations: str, two: Any) -> None:
    if "'kind'" in operations and DJANGO < (5, 0):
        pytest.skip("db_default is Django 5.0's")
    v1, v2 = two(operations)
    run = v1.run("forward", LASTGOOD_LEAVE_AHEAD="yes")
    assert (run.exit_status, run.result["status"], run.result["needs"]) == (3, "needs", "v2")
    assert json.loads(v2.run("plan", "--to", "build:v1", "--json").stdout)["leave_ahead"] is False


def test_a_build_that_lacks_something_is_not_only_behind(two: Any, database: Any, make: Any, migration: Any) -> None:
    two(LIVES["an index"])
    size = migration("migrations.AddField('Item', 'size', models.IntegerField(null=True))", ("shop", "0001_initial"))
    other = make(database, "other", {"shop": {"0001_initial": migration(ITEM), "0002_size": size}})
    run = other.run("forward", "--leave-ahead")
    assert (run.exit_status, run.result["needs"], run.result["needs_direction"]) == (3, "v2", "back")


def test_a_migration_of_which_nobody_knows_what_it_breaks(two: Any, database: Any) -> None:
    """As the manifests say of those whose image has an older migrator."""
    v1, _ = two(LIVES["an index"])
    stored = """UPDATE lastgood_build SET manifest = replace(manifest, '"breaks": []', '"breaks": null') WHERE build = 'v2'"""
    database.connection.execute(stored)
    assert v1.run("forward", LASTGOOD_LEAVE_AHEAD="yes").exit_status == 3


def test_by_the_environment(two: Any) -> None:
    v1, _ = two(LIVES["an index"])
    assert v1.run("forward", LASTGOOD_LEAVE_AHEAD="yes").result["reason"] == REASON


class Neighbours:
    """Goes from each build of a history to the next, and asks the one before whether the database may stay; then its code is tried."""

    def __init__(self, fleet: Fleet, database: Any, folder: Path) -> None:
        self.fleet, self.database, self.folder = fleet, database, folder
        self.numbers = count(1)
        self.counts: Counter[str] = Counter()

    def go(self, history: History) -> None:
        folder = self.folder / str(next(self.numbers))
        try:
            builds = {}
            for build, tree in history.trees.items():
                fleets.write(folder / build, tree)
                builds[build] = self.fleet.build(folder / build, build, self.database.django)
            for older, newer in zip(builds, list(builds)[1:], strict=False):
                emptied(self.database.connection)
                assert builds[older].run("forward").exit_status == 0
                before = builds[older].use()
                if travel(builds, newer, "--accept-loss").status != "done":
                    continue
                asked = builds[older].run("forward", "--leave-ahead")
                stays = asked.result["reason"] == REASON
                wrong = builds[older].use()
                assert wrong == before or not stays, asked.stdout
                self.counts["left" if stays else "broken" if wrong != before else "back for nothing"] += 1
        finally:
            self.fleet.close_workers()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def neighbours(fleet: Fleet, shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    if DJANGO < (5, 0):
        pytest.skip("the histories use db_default, which is Django 5.0's")
    neighbours = Neighbours(fleet, shared, tmp_path_factory.mktemp("neighbours"))
    yield neighbours
    print("\n" + ", ".join(f"{number} {what}" for what, number in neighbours.counts.items()))
    assert neighbours.counts["left"], "nothing was ever left: the code was tried on nothing"


@settings(SHORT, max_examples=30)
@given(histories(nesting=NESTING))
def test_the_code_lives_with_what_is_left(neighbours: Neighbours, history: History) -> None:
    neighbours.go(history)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(LONG, max_examples=300)
@given(histories(builds=6, changes=2, nesting=NESTING))
def test_the_code_lives_with_what_is_left_long(neighbours: Neighbours, history: History) -> None:
    neighbours.go(history)
