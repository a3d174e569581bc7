"""A pooler in between: refused before the first statement where it shares sessions, and nothing of ours stays in any of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from fixtures import pgbouncer
from psycopg.conninfo import conninfo_to_dict

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

NEEDS = (
    "migrations need a session of their own, so give the release task the server's own address (the parameter MigrationDatabaseSecret; "
    "MIGRATION_DATABASE_URL where you run it yourself)"
)
LOCKS = """
SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
SETTINGS = (
    "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), current_setting('application_name')"
)


@contextmanager
def pooled(database: Any, mode: str, size: int = 4) -> Iterator[tuple[str, str]]:
    """The database behind a pooler: its address, and what Django needs to reach it."""
    if "password" not in conninfo_to_dict(database.info):
        pytest.skip("this server takes no connections by TCP")
    with pgbouncer.running(database.info, mode, size) as address:
        known: dict[str, Any] = conninfo_to_dict(address)
        yield address, json.dumps({**database.django, "HOST": known["host"], "PORT": str(known["port"])})


@contextmanager
def clients(address: str, number: int) -> Iterator[set[Any]]:
    """An application with short transactions all the time; gives the settings that its sessions had."""
    stop, seen = threading.Event(), set[Any]()

    def client() -> None:
        with psycopg.connect(address, autocommit=True, prepare_threshold=None) as connection:
            while not stop.is_set():
                with connection.transaction():
                    seen.add(connection.execute(SETTINGS).fetchone())

    threads = [threading.Thread(target=client) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("busy", "size"), [(0, 4), (0, 1), (6, 4)], ids=["alone", "one session", "busy"])
def test_sessions_that_are_shared(builds: Any, database: Any, busy: int, size: int) -> None:
    v1, v2, _, _ = builds
    v1.run("forward")
    before = database.schema()
    with pooled(database, "transaction", size) as (address, django), clients(address, busy) as seen:
        for _ in range(3):
            for command in (("forward",), ("back", "--to", "build:v1")):
                run = v2.run(*command, TEST_DATABASE=django)
                assert run.moved == (4, "refused", [], [])
                assert run.result["reason"] == (
                    f"a pooler stands between this and PostgreSQL, and gives every transaction another session: {NEEDS}"
                )
        assert database.rows(LOCKS) == []
        with psycopg.connect(address, prepare_threshold=None) as connection:
            seen.add(connection.execute(SETTINGS).fetchone())
    assert seen == {("0", "0", "")}
    assert (database.schema(), database.applied()) == (before, ["shop.0001_initial"])
    assert v2.run("forward").exit_status == 0


def test_transactions_that_may_not_stay_open(builds: Any, database: Any) -> None:
    with pooled(database, "statement") as (_, django):
        run = builds[0].run("forward", TEST_DATABASE=django)
    assert run.moved == (4, "refused", [], [])
    assert run.result["reason"] == (
        f"a pooler stands between this and PostgreSQL, and allows no transaction that stays open: {NEEDS}"
    )


def test_a_session_for_as_long_as_one_is_connected(builds: Any, database: Any) -> None:
    """Nothing is wrong with that, and whoever gets the session next finds none of our settings."""
    v1, v2, _, _ = builds
    with pooled(database, "session") as (address, django):
        assert v1.run("forward", TEST_DATABASE=django).exit_status == 0
        assert v2.run("forward", TEST_DATABASE=django).exit_status == 0
        assert v2.run("back", "--to", "build:v1", TEST_DATABASE=django).exit_status == 0
        with psycopg.connect(address) as connection:
            assert connection.execute(SETTINGS).fetchone() == ("0", "0", "")


def test_reading_needs_no_session(builds: Any, database: Any) -> None:
    """The application's own health check goes through the pooler as it is."""
    builds[0].run("forward")
    with pooled(database, "transaction") as (_, django):
        assert builds[0].run("check", TEST_DATABASE=django).stdout == "in step with build v1\n"


URL = """
from urllib.parse import unquote, urlsplit
url = urlsplit(os.environ["DATABASE_URL"])
DATABASES["default"] |= {"HOST": unquote(url.hostname or ""), "PORT": url.port or "", "NAME": url.path[1:], "USER": url.username or ""}
DATABASES["default"] |= {"PASSWORD": unquote(url.password or "")}
"""


def test_another_address_for_migrations(builds: Any, database: Any) -> None:
    """The settings read DATABASE_URL as ever; here it leads past the pooler."""
    v1 = builds[0]
    path = v1.folder / "settings.py"
    plain = path.read_text()
    path.write_text(plain + URL)
    with pooled(database, "transaction") as (address, _):
        through, direct = (conninfo_to_dict(one) for one in (address, database.info))
        urls = [
            f"postgresql://{one['user']}:{one['password']}@{one['host']}:{one['port']}/{one['dbname']}"
            for one in (through, direct)
        ]
        assert v1.run("forward", DATABASE_URL=urls[0]).moved == (4, "refused", [], [])
        assert v1.run("forward", DATABASE_URL=urls[0], MIGRATION_DATABASE_URL=urls[1]).moved[:2] == (0, "done")


def test_settings_that_do_not_read_it(builds: Any) -> None:
    run = builds[0].run("forward", MIGRATION_DATABASE_URL="postgresql://owner:secret@elsewhere.example:5432/shop")
    assert run.moved == (2, "refused", [], [])
    assert run.result["reason"] == (
        "MIGRATION_DATABASE_URL is set, but the settings do not take a database from DATABASE_URL, which has its value here"
    )
