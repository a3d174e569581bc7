"""Two migrators at once, locks in the way, and processes killed in the middle."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

GATE = 4711  # an advisory lock at which a migration waits for the test


@pytest.fixture
def gated(database: Any, make: Any, history: Any, migration: Any) -> Any:
    """Give a build whose last migration, in both directions, waits at the test's gate after it changed the schema."""
    wait = f"'SELECT pg_advisory_xact_lock({GATE})'"
    size = f"migrations.RunSQL({wait}, {wait}), migrations.AddField('item', 'size', models.IntegerField(default=0)),"
    shop = {
        **history["v3"]["shop"],
        "0004_size": migration(f"{size} migrations.RunSQL({wait}, {wait})", ("shop", "0003_slug")),
    }
    return make(database, "gated", {**history["v3"], "shop": shop})


def close_gate(database: Any) -> None:
    database.connection.execute(f"SELECT pg_advisory_lock({GATE})")


def open_gate(database: Any) -> None:
    database.connection.execute(f"SELECT pg_advisory_unlock({GATE})")


def waiting(database: Any) -> Any:
    """Return the process number of the server's side of what waits at the gate."""
    return database.rows(f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {GATE} AND NOT granted")


@pytest.mark.parametrize("how", ["process", "server side"])
@pytest.mark.parametrize("direction", ["forward", "back"])
def test_killed_in_the_middle(
    builds: Any, gated: Any, database: Any, wait_for: Callable[..., Any], direction: str, how: str
) -> None:
    v2 = builds[1]
    v2.run("forward")
    arguments = ["forward"] if direction == "forward" else ["back", "--to", "build:v2"]
    if direction == "back":
        gated.run("forward")
    before, applied, ledger = database.schema(), database.applied(), database.ledger()
    close_gate(database)
    process = gated.start(*arguments)
    ((pid,),) = wait_for(lambda: waiting(database), "the migration waits at the gate")
    if how == "process":
        process.kill()
    else:
        database.connection.execute(f"SELECT pg_terminate_backend({pid})")
    stdout, _ = process.communicate(timeout=60)
    open_gate(database)
    if how == "process":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 5
        assert '"status": "failed"' in stdout.splitlines()[-1]
        assert "shop.0004_size: OperationalError: terminating connection due to administrator command" in stdout
    # The server finds out that its client is gone when it next speaks to it.
    wait_for(lambda: not database.rows(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"), "the session ends")
    assert (database.schema(), database.applied(), database.ledger()) == (before, applied, ledger)

    both = ["shop.0003_slug", "shop.0004_size"]
    moved = (0, "done", [], both) if direction == "forward" else (0, "done", both[::-1], [])
    assert gated.run(*arguments).moved == moved


def test_asked_to_stop(builds: Any, gated: Any, database: Any, wait_for: Callable[..., Any]) -> None:
    builds[2].run("forward")
    before = database.schema()
    close_gate(database)
    process = gated.start("forward")
    wait_for(lambda: waiting(database), "the migration waits at the gate")
    process.terminate()
    stdout, _ = process.communicate(timeout=60)
    open_gate(database)
    assert process.returncode == 5
    assert '"reason": "stopped by a signal; what was not committed is undone"' in stdout.splitlines()[-1]
    assert database.schema() == before


def test_two_at_once(builds: Any, gated: Any, database: Any, wait_for: Callable[..., Any]) -> None:
    builds[1].run("forward")
    close_gate(database)
    first = gated.start("forward")
    wait_for(lambda: waiting(database), "the first migration waits at the gate")
    refused = gated.run("forward", "--wait", "0.1")
    assert refused.moved == (75, "busy", [], [])
    ((pid,),) = waiting(database)
    assert refused.result["reason"] == (
        f"another migrator is at work on this database (pid {pid}, lastgood forward gated): try again later"
    )
    second = gated.start("forward")
    assert second.stdout
    assert second.stdout.readline() == f"waiting for another migrator (pid {pid}, lastgood forward gated)\n"
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'lastgood forward gated' AND backend_xmin IS NOT NULL AND pid <> %s"
    assert not database.rows(query % pid), "who waits holds no snapshot"
    open_gate(database)
    ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second)]
    assert ['"status": "done"' in ends[0], '"status": "nothing"' in ends[1]] == [True, True]
    assert database.applied() == [*history_of_v3(), "shop.0004_size"]


def history_of_v3() -> list[str]:
    return ["shop.0001_initial", "shop.0002_price", "billing.0001_initial", "shop.0003_slug"]


def test_a_reader_in_the_way(builds: Any, database: Any) -> None:
    _, v2, v3, _ = builds
    v2.run("forward")
    with psycopg.connect(database.info) as reader:
        reader.execute("SELECT * FROM shop_item")
        run = v3.run("forward", "--lock-timeout", "0.2", "--retry", "0")
    assert run.moved == (75, "busy", [], [])
    assert run.result["reason"] == (
        "shop.0003_slug: OperationalError: canceling statement due to lock timeout "
        "(a lock was not to be had in time: try again)"
    )
    assert v3.run("forward").moved == (0, "done", [], ["shop.0003_slug"])


def test_a_reader_that_goes_away_in_time(builds: Any, database: Any, wait_for: Callable[..., Any]) -> None:
    """The segment is tried again as a whole; what was undone with the first try is not taken for done."""
    v1, _, v3, _ = builds
    v1.run("forward")
    with psycopg.connect(database.info) as reader:
        reader.execute("SELECT * FROM shop_item")
        process = v3.start("forward", "--lock-timeout", "0.1")
        assert process.stdout
        told = iter(process.stdout.readline, "")
        assert any(line.startswith("a lock was in the way: trying again in ") for line in told)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    applied = ["shop.0002_price", "billing.0001_initial", "shop.0003_slug"]
    assert json.loads(stdout.splitlines()[-1])["applied"] == applied
    assert database.applied() == ["shop.0001_initial", *applied]


def test_a_statement_that_takes_too_long(builds: Any, gated: Any, database: Any) -> None:
    builds[2].run("forward")
    close_gate(database)
    failed = gated.run("forward", "--statement-timeout", "0.2")
    open_gate(database)
    assert failed.moved == (5, "failed", [], [])
    assert failed.result["reason"] == "shop.0004_size: OperationalError: canceling statement due to statement timeout"


ROOM = """
migrations.RunSQL('''
    DO $$ BEGIN
        IF (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock') > {most} THEN
            RAISE EXCEPTION USING ERRCODE = '53200', MESSAGE = 'out of shared memory';
        END IF;
    END $$
''', '')
"""


@pytest.mark.parametrize("most", [8, 1])
def test_more_than_one_transaction_can_lock(most: int, database: Any, make: Any, migration: Any) -> None:
    """A server without room for more locks says so as PostgreSQL does; a table takes two, itself and its index."""
    v1 = make(database, "v1", {"shop": {"0001_first": migration("")}})
    v1.run("forward")
    files = {"0001_first": migration("")}
    for number in range(2, 10):
        table = f"migrations.CreateModel('Item{number}', [('id', models.BigAutoField(primary_key=True))])"
        files[f"{number:04}_more"] = migration(f"{table}, {ROOM.format(most=most)}", ("shop", list(files)[-1]))
    v2 = make(database, "v2", {"shop": files})
    run = v2.run("forward")
    if most == 1:
        assert run.moved == (5, "failed", [], [])
        assert run.result["reason"] == (
            "shop.0002_more: OperationalError: out of shared memory "
            "(the server's max_locks_per_transaction bounds what one transaction can lock): "
            "raise it, or make several migrations of this one"
        )
        assert database.applied("shop") == ["shop.0001_first"]
        return
    assert run.moved == (0, "done", [], [f"shop.{name}" for name in files if name != "0001_first"])
    assert "going on in two halves" in run.stdout
    assert database.applied("shop") == [name for _, name, _ in database.ledger()] == [f"shop.{name}" for name in files]
