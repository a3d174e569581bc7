"""What a migration found already there, and so did not make, is left on the way back."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

POSTGRES = "from django.contrib.postgres.operations import CreateExtension, TrigramExtension"
EXTENSIONS = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
FIELD = "migrations.AddField('item', 'note', models.TextField(null=True)),"


@pytest.fixture
def builds_of(database: Any, make: Any, history: Any, migration: Any) -> Any:
    """Give a function that makes builds: v1, and each next with one more migration of shop, of these operations."""

    def write(*operations: str) -> list[Any]:
        files = {**history["v1"]["shop"]}
        made = [make(database, "v1", {"shop": files})]
        for number, text in enumerate(operations, 2):
            name = f"{number:04}_more"
            files = {**files, name: migration(text, ("shop", list(files)[-1]), code=POSTGRES)}
            made.append(make(database, f"v{number}", {"shop": files}))
        return made

    return write


def test_an_extension_that_was_there(builds_of: Any, database: Any) -> None:
    v1, v2 = builds_of(f"TrigramExtension(), {FIELD}")
    v1.run("forward")
    database.connection.execute("CREATE EXTENSION pg_trgm")
    v2.run("forward")
    left = "extension pg_trgm, which was there before"
    plan = v2.run("plan", "--to", "build:v1").stdout
    assert (f"       stays: {left}\n" in plan, "DROP EXTENSION" in plan) == (True, False)
    run = v2.run("back", "--to", "build:v1")
    assert (run.moved, f"left     {left}" in run.stdout.splitlines()) == ((0, "done", ["shop.0002_more"], []), True)
    assert database.rows(EXTENSIONS) == [("pg_trgm",)]


def test_an_extension_that_was_not_there(builds_of: Any, database: Any) -> None:
    v1, v2 = builds_of("TrigramExtension()")
    v1.run("forward")
    v2.run("forward")
    assert "DROP EXTENSION" in v2.run("plan", "--to", "build:v1").stdout
    v2.run("back", "--to", "build:v1")
    assert database.rows(EXTENSIONS) == []


def test_whatever_is_made_unless_it_is_there(builds_of: Any, database: Any) -> None:
    forward = (
        "CREATE SCHEMA IF NOT EXISTS reports; CREATE TABLE IF NOT EXISTS reports.day (d date); CREATE INDEX IF NOT EXISTS item_name ON "
        "shop_item (name); ALTER TABLE shop_item ADD COLUMN IF NOT EXISTS size int; CREATE SEQUENCE IF NOT EXISTS numbers"
    )
    back = (
        "DROP SEQUENCE numbers; ALTER TABLE shop_item DROP COLUMN size; DROP INDEX item_name; DROP TABLE reports.day; "
        "DROP SCHEMA reports"
    )
    v1, v2 = builds_of(f"migrations.RunSQL({forward!r}, {back!r}),")
    v1.run("forward")
    empty = database.schema()
    assert v2.run("forward").exit_status == 0
    assert v2.run("back", "--to", "build:v1").exit_status == 0
    assert database.schema() == empty
    there = (
        "CREATE SCHEMA reports; ALTER TABLE shop_item ADD COLUMN size int; CREATE INDEX item_name ON shop_item (name)"
    )
    database.connection.execute(there)
    before = database.schema()
    assert v2.run("forward").exit_status == 0
    assert database.rows("SELECT to_regclass('numbers')::text, to_regclass('reports.day')::text") == [
        ("numbers", "reports.day")
    ]
    assert v2.run("back", "--to", "build:v1").exit_status == 0
    assert database.schema() == before
    assert database.rows("SELECT to_regclass('numbers'), to_regclass('reports.day')") == [(None, None)]
    assert database.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'reports'") == [("reports",)]


def test_two_migrations_and_one_extension(database: Any, make: Any, history: Any, migration: Any) -> None:
    """Who made it is undone, and the other still needs it: the other is now who has made it."""
    shop = history["v1"]["shop"]
    search = migration("TrigramExtension()", ("shop", "0001_initial"), code=POSTGRES)
    first = {"0001_initial": migration("", ("shop", "0001_initial"))}
    billing = {**first, "0002_search": migration("TrigramExtension()", ("billing", "0001_initial"), code=POSTGRES)}
    v1 = make(database, "v1", {"shop": shop, "billing": first})
    both = make(database, "both", {"shop": {**shop, "0002_search": search}, "billing": billing})
    one = make(database, "one", {"shop": {**shop, "0002_search": search}, "billing": first})
    v1.run("forward")
    both.run("forward")
    found = "SELECT app, found FROM lastgood_ledger WHERE name = '0002_search' AND direction = 'forward' ORDER BY app"
    assert database.rows(found) == [("billing", "[]"), ("shop", '["extension pg_trgm"]')]
    target = one.folder / "one.json"
    target.write_text(one.run("manifest").stdout)
    run = both.run("back", "--to", str(target))
    assert run.moved == (0, "done", ["billing.0002_search"], [])
    assert "left     extension pg_trgm, which shop.0002_search has found, too" in run.stdout.splitlines()
    assert (database.rows(EXTENSIONS), database.rows(found)[1]) == ([("pg_trgm",)], ("shop", "[]"))
    assert one.run("forward").exit_status == 0
    assert one.run("back", "--to", "build:v1").moved == (0, "done", ["shop.0002_search"], [])
    assert database.rows(EXTENSIONS) == []


def test_all_of_it_is_undone_at_once(builds_of: Any, database: Any) -> None:
    v1, _, v3 = builds_of("TrigramExtension()", "TrigramExtension(), CreateExtension('citext')")
    v1.run("forward")
    v3.run("forward")
    assert database.rows(EXTENSIONS) == [("citext",), ("pg_trgm",)]
    assert v3.run("back", "--to", "build:v1").exit_status == 0
    assert database.rows(EXTENSIONS) == []


def test_an_extension_of_which_nobody_knows(builds_of: Any, database: Any, server: Any) -> None:
    """Applied by Django itself: what belongs to somebody else was made by somebody else."""
    v1, v2 = builds_of("TrigramExtension()")
    role = f"{database.django['NAME']}_app"
    name = sql.Identifier(role)
    connection = database.connection
    connection.execute("CREATE EXTENSION pg_trgm")
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'app'").format(name))
    try:
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(name))
        django = json.dumps({**database.django, "USER": role, "PASSWORD": "app"})
        assert v2.run("forward", TEST_DATABASE=django).exit_status == 0
        connection.execute("UPDATE lastgood_ledger SET found = NULL")
        plan = v2.run("plan", "--to", "build:v1", TEST_DATABASE=django)
        assert plan.exit_status == 2  # nobody has met it
        v1.run("forward", TEST_DATABASE=django)
        run = v2.run("back", "--to", "build:v1", TEST_DATABASE=django)
        assert run.moved == (0, "done", ["shop.0002_more"], [])
        assert "left     extension pg_trgm, which is not ours to drop" in run.stdout.splitlines()
        assert database.rows(EXTENSIONS) == [("pg_trgm",)]
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(name))


def test_a_ledger_of_an_older_migrator(builds_of: Any, database: Any) -> None:
    v1, v2 = builds_of("TrigramExtension()")
    v1.run("forward")
    database.connection.execute("ALTER TABLE lastgood_ledger DROP COLUMN found")
    assert v1.run("plan", "--to", "build:v1").stdout == "nothing to do for build v1\n"
    v2.run("forward")
    assert database.rows("SELECT found FROM lastgood_ledger WHERE name = '0002_more'") == [("[]",)]
    with psycopg.connect(make_conninfo(database.info), autocommit=True) as other:
        other.execute("ALTER TABLE lastgood_ledger DROP COLUMN found")
    assert "DROP EXTENSION" in v2.run("plan", "--to", "build:v1").stdout
    assert v2.run("back", "--to", "build:v1").moved == (0, "done", ["shop.0002_more"], [])
