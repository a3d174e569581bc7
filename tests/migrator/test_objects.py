"""Which objects a statement makes unless they are there, and what remains of one that would drop what must be left."""

from __future__ import annotations

from typing import Any

import pytest
from migrator.database import objects
from migrator.errors import MigratorError


@pytest.mark.parametrize(
    ("statement", "params", "made"),
    [
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm", None, ["extension pg_trgm"]),
        ('create extension if not exists "uuid-ossp" WITH SCHEMA x', None, ["extension uuid-ossp"]),
        ("SELECT 1 FROM pg_extension WHERE extname = %s", ["hstore"], ["extension hstore"]),
        ("CREATE SCHEMA IF NOT EXISTS Reports; CREATE TABLE IF NOT EXISTS reports.day (d date)", None,
         ["schema reports", "table reports.day"]),
        ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS public.name ON t (a)", None, ["index name"]),
        ("CREATE MATERIALIZED  VIEW IF NOT EXISTS sums AS SELECT 1", None, ["materialized view sums"]),
        ('ALTER TABLE "T" ADD COLUMN IF NOT EXISTS a int, ADD IF NOT EXISTS "B" text', None, ["column T.a", "column T.B"]),
        ("CREATE TABLE day (d date) -- CREATE TABLE IF NOT EXISTS night", None, []),
        ("UPDATE t SET a = 'if not exists'", None, []),
    ],
)  # fmt: skip
def test_what_is_made_unless_it_is_there(statement: str, params: Any, made: list[str]) -> None:
    assert [str(one) for one in objects.made_unless_there(statement, params)] == made


@pytest.mark.parametrize(
    ("statement", "there", "kept"),
    [
        ('DROP EXTENSION IF EXISTS "pg_trgm"', {"extension pg_trgm"}, []),
        ("DROP EXTENSION pg_trgm, hstore CASCADE", {"extension pg_trgm"}, ["DROP EXTENSION hstore CASCADE"]),
        ("DROP INDEX CONCURRENTLY IF EXISTS a", {"index a"}, []),
        ("DROP TABLE reports.day; DROP SCHEMA reports", {"schema reports"}, ["DROP TABLE reports.day;"]),
        ('ALTER TABLE "t" DROP COLUMN "a" CASCADE', {"column t.a"}, []),
        ("ALTER TABLE t DROP COLUMN b", {"column t.a"}, ["ALTER TABLE t DROP COLUMN b"]),
        ("ALTER TABLE t DROP CONSTRAINT a", {"column t.a"}, ["ALTER TABLE t DROP CONSTRAINT a"]),
        ("DROP VIEW public.v -- the old one", {"view v"}, []),
        ("DROP TABLE a", {"index a"}, ["DROP TABLE a"]),
    ],
)
def test_what_remains_of_a_statement(statement: str, there: set[str], kept: list[str]) -> None:
    assert objects.without(statement, lambda one: "why" if str(one) in there else None) == (
        kept,
        [(one, "why") for one in there if len(kept) != 1 or kept[0] != statement],
    )


def test_a_column_among_others() -> None:
    with pytest.raises(
        MigratorError, match="the column a of t was there before, and one statement drops it together with others"
    ):
        objects.without("ALTER TABLE t DROP a, DROP b", lambda one: "why" if str(one) == "column t.a" else None)
