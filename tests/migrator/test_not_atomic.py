"""Migrations outside a transaction: interrupted, in somebody's way, begun by nobody that we know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

IMPORTS = "from django.contrib.postgres.operations import AddIndexConcurrently"
INDEX = "AddIndexConcurrently('item', models.Index(fields=['name'], name='item_name'))"
INDEXES = (
    "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE relname = 'item_name'"
)


@pytest.fixture
def indexed(database: Any, make: Any, history: Any, migration: Any) -> Any:
    index = migration(INDEX, ("shop", "0001_initial"), code=IMPORTS, extra="atomic = False")
    return make(database, "indexed", {"shop": {**history["v1"]["shop"], "0002_index": index}})


def interrupt(database: Any, indexed: Any, wait_for: Any) -> None:
    """Kill the run while CREATE INDEX CONCURRENTLY waits for another transaction to end: an invalid index is left."""
    with psycopg.connect(database.info) as other:
        other.execute("INSERT INTO shop_item (name) VALUES ('in the way')")
        process = indexed.start("forward", "--lock-timeout", "60")
        query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
        ((pid,),) = wait_for(lambda: database.rows(query), "CREATE INDEX CONCURRENTLY waits")
        process.kill()
        process.communicate(timeout=60)
        database.connection.execute(f"SELECT pg_terminate_backend({pid})")
        wait_for(lambda: not database.rows(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"), "the session ends")
    assert database.rows(INDEXES) == [("item_name", False)]


def test_an_index_that_was_interrupted_is_made_again(builds: Any, indexed: Any, database: Any, wait_for: Any) -> None:
    builds[0].run("forward")
    interrupt(database, indexed, wait_for)
    assert indexed.run("check").stdout.splitlines()[-1] == "  interrupted  shop.0002_index"
    run = indexed.run("forward")
    assert "shop.0002_index was interrupted, and bears to be run again: back" in run.stdout.splitlines()
    assert run.moved == (0, "done", [], ["shop.0002_index"])
    assert database.rows(INDEXES) == [("item_name", True)]
    assert indexed.run("check").stdout == "in step with build indexed\n"


def test_last_good_comes_back_after_an_index_that_was_interrupted(
    builds: Any, indexed: Any, database: Any, wait_for: Any
) -> None:
    v1 = builds[0]
    v1.run("forward")
    before = database.schema()
    interrupt(database, indexed, wait_for)
    plan = v1.run("plan", "--to", "build:v1")
    assert (plan.exit_status, plan.stdout.startswith("needs: shop.0002_index: build indexed was ")) == (3, True)
    needs = v1.run("forward")
    assert (needs.moved, needs.result["needs"], needs.result["needs_direction"]) == (
        (3, "needs", [], []),
        "indexed",
        "back",
    )
    assert needs.result["reason"] == (
        "shop.0002_index: build indexed was interrupted in it, outside a transaction, and must run it again first"
    )
    assert indexed.run("back", "--to", "build:v1").moved == (0, "nothing", [], [])
    assert v1.run("forward").moved == (0, "nothing", [], [])
    assert database.schema() == before


TIMEOUT = "OperationalError: canceling statement due to lock timeout"
LATER = "(a lock was not to be had in time: try again)"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"


@contextmanager
def report(database: Any) -> Iterator[Any]:
    """A transaction that reads another table, and keeps what it saw."""
    with psycopg.connect(database.info) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM django_content_type")
        yield other


@contextmanager
def writer(database: Any) -> Iterator[Any]:
    """A transaction that has written the table, and does not end."""
    with psycopg.connect(database.info) as other:
        other.execute("INSERT INTO shop_item (name) VALUES ('in the way')")
        yield other


def interrupted(database: Any) -> list[Any]:
    return list(database.rows("SELECT name FROM lastgood_ledger WHERE finished IS NULL"))


def test_a_report_on_another_table_is_waited_for(builds: Any, indexed: Any, database: Any, wait_for: Any) -> None:
    """CREATE INDEX CONCURRENTLY stops nobody while it waits for older transactions: it is not cut off at --lock-timeout."""
    builds[0].run("forward")
    with report(database):
        process = indexed.start("forward", "--lock-timeout", "0.1")
        wait_for(lambda: database.rows(f"{WAITING} AND now() - query_start > '0.5s'"), "it waits longer than that")
    stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, "trying again" in stdout) == (0, False), stdout
    assert database.rows(INDEXES) == [("item_name", True)]
    assert indexed.run("check").stdout == "in step with build indexed\n"


def test_a_report_that_takes_too_long(builds: Any, indexed: Any, database: Any) -> None:
    """Nothing is left, and running it again is all that is needed."""
    builds[0].run("forward")
    with report(database):
        busy = indexed.run("forward", "--lock-timeout", "0.1", "--retry", "0")
        assert busy.moved == (75, "busy", [], [])
        assert busy.result["reason"] == f"shop.0002_index: {TIMEOUT} {LATER}"
        assert (database.rows(INDEXES), interrupted(database)) == ([], [])
    assert indexed.run("forward").moved == (0, "done", [], ["shop.0002_index"])


@pytest.mark.parametrize("option", [(), ("--resume",)])
def test_a_writer_in_the_way_of_all_of_it(builds: Any, indexed: Any, database: Any, option: tuple[str, ...]) -> None:
    """The index can't even be dropped again: the next run does that first, as the message says."""
    builds[0].run("forward")
    with writer(database):
        busy = indexed.run("forward", "--lock-timeout", "0.1", "--retry", "0")
    assert busy.moved == (75, "busy", [], [])
    assert busy.result["reason"] == (
        f"shop.0002_index: {TIMEOUT}; it is not atomic, so a part of it may have stayed: the next run clears that away first {LATER}"
    )
    assert (database.rows(INDEXES), interrupted(database)) == ([("item_name", False)], [("0002_index",)])
    assert indexed.run("forward", *option).moved == (0, "done", [], ["shop.0002_index"])
    assert database.rows(INDEXES) == [("item_name", True)]


def test_an_index_that_lost_a_deadlock(builds: Any, indexed: Any, database: Any, wait_for: Any) -> None:
    """What it left is dropped, and it is made again in the same run."""
    builds[0].run("forward")
    with writer(database) as other:
        other.execute("SET deadlock_timeout = '60s'")  # so it is not this one that loses
        process = indexed.start("forward", PGOPTIONS="-c deadlock_timeout=3s")
        wait_for(lambda: database.rows(WAITING), "the index waits for the writer")
        other.execute("LOCK TABLE shop_item IN SHARE UPDATE EXCLUSIVE MODE")
    stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, "a lock was in the way: trying again in " in stdout) == (0, True), stdout
    assert database.rows(INDEXES) == [("item_name", True)]


def test_two_migrators_and_an_index(builds: Any, indexed: Any, database: Any, wait_for: Any) -> None:
    """Who waits for the lock holds no snapshot that the other's index would wait for."""
    builds[0].run("forward")
    with writer(database):
        first = indexed.start("forward")
        wait_for(lambda: database.rows(WAITING), "the index waits for the writer")
        second = indexed.start("forward", "--wait", "60")
        assert second.stdout
        assert second.stdout.readline().startswith("waiting for another migrator (pid ")
    ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second)]
    assert ['"status": "done"' in ends[0], '"status": "nothing"' in ends[1]] == [True, True], ends


@pytest.fixture
def changed(database: Any, make: Any, history: Any, migration: Any) -> Any:
    """Give a build whose 0002 does, outside a transaction, what it is told."""

    def build(operations: str, code: str = IMPORTS) -> Any:
        second = migration(operations, ("shop", "0001_initial"), code=code, extra="atomic = False")
        return make(database, "changed", {"shop": {**history["v1"]["shop"], "0002_change": second}})

    return build


PRICE = "migrations.AddField('item', 'price', models.IntegerField(null=True)),"


def test_any_statement_is_tried_again(builds: Any, changed: Any, database: Any) -> None:
    builds[0].run("forward")
    both = changed(f"{PRICE} {INDEX}")
    with writer(database):
        busy = both.run("forward", "--lock-timeout", "0.1", "--retry", "0")
        assert busy.moved == (75, "busy", [], [])
        assert busy.result["reason"] == f"shop.0002_change: {TIMEOUT} {LATER}"
        assert interrupted(database) == []
        process = both.start("forward", "--lock-timeout", "0.1")
        assert process.stdout
        assert any(
            line.startswith("a lock was in the way: trying again in ") for line in iter(process.stdout.readline, "")
        )
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0, stdout


FAILS = """
from django.contrib.postgres.operations import AddIndexConcurrently
from pathlib import Path

def fail(apps, editor):
    if not Path("mended").exists():
        raise ValueError("not yet")
"""


def test_the_advice_works_where_a_person_must_look(builds: Any, changed: Any, database: Any) -> None:
    builds[0].run("forward")
    build = changed(f"{INDEX}, migrations.RunPython(fail, fail)", FAILS)
    failed = build.run("forward")
    assert failed.moved == (5, "failed", [], [])
    assert failed.result["reason"] == (
        "shop.0002_change: ValueError: not yet; it is not atomic, so a part of it may have stayed: clear that away, then pass --resume"
    )
    (build.folder / "mended").touch()
    assert build.run("forward").moved == (4, "refused", [], [])
    database.connection.execute("DROP INDEX item_name")
    assert build.run("forward", "--resume").moved == (0, "done", [], ["shop.0002_change"])


def test_an_invalid_index_of_an_earlier_try(builds: Any, changed: Any, database: Any) -> None:
    """With --resume it is known to be ours, and nobody has to drop it."""
    builds[0].run("forward")
    build = changed(f"{INDEX}, migrations.RunPython(fail, fail)", FAILS)
    (build.folder / "mended").touch()
    with writer(database):
        failed = build.run("forward", "--lock-timeout", "0.1", "--retry", "0")
    assert failed.moved == (5, "failed", [], [])
    assert database.rows(INDEXES) == [("item_name", False)]
    resumed = build.run("forward", "--resume")
    assert 'the index "item_name" of an earlier try is invalid: it is dropped first' in resumed.stdout
    assert resumed.moved == (0, "done", [], ["shop.0002_change"])
    assert database.rows(INDEXES) == [("item_name", True)]


def test_an_invalid_index_of_a_stranger(builds: Any, changed: Any, database: Any) -> None:
    """IF NOT EXISTS would take it for done."""
    builds[0].run("forward")
    create = "CREATE INDEX CONCURRENTLY IF NOT EXISTS item_name ON shop_item (name)"
    build = changed(f"migrations.RunSQL('{create}', 'DROP INDEX CONCURRENTLY item_name')")
    with writer(database), psycopg.connect(database.info, autocommit=True) as stranger:
        stranger.execute("SET lock_timeout = 100")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            stranger.execute(create)
    failed = build.run("forward")
    assert failed.moved == (5, "failed", [], [])
    assert failed.result["reason"] == (
        "shop.0002_change: MigratorError: the index item_name is there, and invalid: an attempt that nobody noted was broken off, or still "
        "runs; if it does not, DROP INDEX CONCURRENTLY item_name, and try again"
    )
    database.connection.execute("DROP INDEX CONCURRENTLY item_name")
    assert build.run("forward").moved == (0, "done", [], ["shop.0002_change"])
    assert database.rows(INDEXES) == [("item_name", True)]


def test_a_unique_index_that_can_not_be(builds: Any, changed: Any, database: Any) -> None:
    builds[0].run("forward")
    database.connection.execute("INSERT INTO shop_item (name) VALUES ('twice'), ('twice')")
    build = changed(
        "migrations.RunSQL('CREATE UNIQUE INDEX CONCURRENTLY item_name ON shop_item (name)', 'DROP INDEX item_name')"
    )
    failed = build.run("forward")
    assert failed.moved == (5, "failed", [], [])
    assert failed.result["reason"] == ('shop.0002_change: IntegrityError: could not create unique index "item_name"')
    assert (database.rows(INDEXES), interrupted(database)) == ([], [])
    database.connection.execute("DELETE FROM shop_item")
    assert build.run("forward").moved == (0, "done", [], ["shop.0002_change"])
