"""Migrations outside a transaction that were interrupted, and bear to be run again."""

from __future__ import annotations

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
