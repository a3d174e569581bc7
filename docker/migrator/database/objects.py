"""Which objects a statement of PostgreSQL makes unless they are there, and which it drops, as far as its text tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import MigratorError

WORD = r'(?:"(?:[^"]|"")+"|[\w$-]+)'
NAME = rf"{WORD}(?:\s*\.\s*{WORD})*"
KINDS = "EXTENSION|SCHEMA|MATERIALIZED VIEW|VIEW|TABLE|INDEX|SEQUENCE|COLLATION|STATISTICS|SERVER"
MAKES = re.compile(
    rf"\bCREATE\s+(?:UNIQUE\s+|UNLOGGED\s+)*({KINDS})\s+(?:CONCURRENTLY\s+)?IF\s+NOT\s+EXISTS\s+({NAME})".replace(
        " VIEW", r"\s+VIEW"
    ),
    re.IGNORECASE,
)
ALTERS = rf"\s*ALTER\s+(?:FOREIGN\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?({NAME})\s+"
ADDS = re.compile(rf"\bADD\s+(?:COLUMN\s+)?IF\s+NOT\s+EXISTS\s+({WORD})", re.IGNORECASE)
ALTER = re.compile(ALTERS, re.IGNORECASE)
DROPS = re.compile(
    rf"\s*DROP\s+({KINDS})\s+(CONCURRENTLY\s+)?(IF\s+EXISTS\s+)?({NAME}(?:\s*,\s*{NAME})*)\s*(CASCADE|RESTRICT)?\s*;?\s*$".replace(
        " VIEW", r"\s+VIEW"
    ),
    re.IGNORECASE,
)
DROPS_COLUMN = re.compile(
    rf"{ALTERS}DROP\s+(?:COLUMN\s+)?(?!CONSTRAINT\b)(?:IF\s+EXISTS\s+)?({WORD})\s*(?:CASCADE|RESTRICT)?\s*;?\s*$",
    re.IGNORECASE,
)
LOOKS = re.compile(r"\bFROM\s+(?:pg_catalog\.)?pg_extension\s+WHERE\s+extname\s*=\s*%s", re.IGNORECASE)
DROP = re.compile(r"\bDROP\b", re.IGNORECASE)
COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

RELATION = "SELECT 1 FROM pg_class WHERE oid = to_regclass(%(name)s)"
EXISTS = {
    "extension": "SELECT 1 FROM pg_extension WHERE extname = %(plain)s",
    "schema": "SELECT 1 FROM pg_namespace WHERE nspname = %(plain)s",
    **dict.fromkeys(("table", "view", "materialized view", "index", "sequence"), RELATION),
    "collation": "SELECT 1 FROM pg_collation WHERE oid = to_regcollation(%(name)s)",
    "statistics": "SELECT 1 FROM pg_statistic_ext WHERE stxname = %(plain)s AND stxnamespace = current_schema()::regnamespace",
    "server": "SELECT 1 FROM pg_foreign_server WHERE srvname = %(plain)s",
    "column": "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attname = %(plain)s AND NOT attisdropped",
}
NOT_OURS = "SELECT 1 FROM pg_extension WHERE extname = %(plain)s AND NOT pg_has_role(extowner, 'USAGE')"


@dataclass(frozen=True)
class Object:
    """Something in a database; `text` is its name as SQL has it, `table` that of a column's table."""

    kind: str
    text: str
    table: str = ""

    @property
    def name(self) -> str:
        """The name without its schema, as the catalog has it."""
        return _plain(re.findall(WORD, self.text)[-1])

    def __str__(self) -> str:
        # The schema of what is in the usual one may be said or not.
        parts = [_plain(one) for text in (self.table, self.text) for one in re.findall(WORD, text)]
        return f"{self.kind} {'.'.join(part for part in parts if part != 'public' or parts == ['public'])}"


def made_unless_there(sql: Any, params: Any) -> Iterator[Object]:
    """Yield what `sql` makes IF NOT EXISTS, and the extension of which it asks whether it is there: CreateExtension then runs no more."""
    text = sql if isinstance(sql, str) else ""
    if params and LOOKS.search(text):
        values = [*(params.values() if isinstance(params, dict) else params)]
        yield Object("extension", _quoted(str(values[0])))
    if "exists" not in text.lower():
        return
    text = COMMENTS.sub(" ", text)
    for found in MAKES.finditer(text):
        yield Object(_kind(found[1]), found[2])
    for statement in _statements(text):
        if alter := ALTER.match(statement):
            yield from (Object("column", found[1], alter[1]) for found in ADDS.finditer(statement))


def drops(sql: str) -> bool:
    """Return whether `sql` may drop something; cheap."""
    return DROP.search(sql) is not None


def without(sql: str, why_left: Callable[[Object], str | None]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the statements of `sql` that remain once nothing is dropped that is to be left, and what that is, with the reasons."""
    kept: list[str] = []
    left: list[tuple[str, str]] = []
    for statement in _statements(sql):
        bare = COMMENTS.sub(" ", statement)
        if found := DROPS.match(bare):
            kind = _kind(found[1])
            reasons = {text: why_left(Object(kind, text)) for text in re.findall(NAME, found[4])}
            left += [(str(Object(kind, text)), why) for text, why in reasons.items() if why]
            others = [text for text, why in reasons.items() if not why]
            if len(others) < len(reasons):
                bare = f"DROP {found[1]} {found[2] or ''}{found[3] or ''}{', '.join(others)} {found[5] or ''}".rstrip()
                kept += [bare] if others else []
                continue
        elif found := DROPS_COLUMN.match(bare):
            column = Object("column", found[2], found[1])
            if why := why_left(column):
                left.append((str(column), why))
                continue
        elif (alter := ALTER.match(bare)) and drops(bare):
            for name in re.findall(rf"\bDROP\s+(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?({WORD})", bare, re.IGNORECASE):
                if why_left(Object("column", name, alter[1])):
                    raise MigratorError(
                        f"the column {name} of {alter[1]} was there before, and one statement drops it together with others: "
                        "write a statement for each"
                    )
        kept.append(statement)
    return kept, left


def _statements(sql: str) -> list[str]:
    if ";" not in sql.strip().rstrip(";"):
        return [sql]
    import django.db.models  # noqa: F401  first: Django's modules go round in a circle here
    from django.db.backends.base.operations import BaseDatabaseOperations

    # How Django cuts a script for the databases that take one statement at a time; PostgreSQL's own operations don't.
    cut: Any = BaseDatabaseOperations.prepare_sql_script
    return [one for one in cut(None, sql) if one.strip()]


def _kind(words: str) -> str:
    return " ".join(words.lower().split())


def _plain(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
