"""What a schema is, whatever the order in which it came about: one hash for each table, from PostgreSQL's catalog.

Columns are compared by name, not by place (one that was undone and done again stands last). Names that Django or PostgreSQL made up
(with a hash, or by kind: _pkey, _key, _check) count as their kind: what they are made of says the rest. Partitions are made and
dropped while the application runs, as rows are: they don't count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

OURS = ("lastgood_ledger", "lastgood_build", "django_migrations")
MADE_UP = re.compile(
    r"(_[0-9a-f]{6,8}(_idx|_uniq|_like|_check|_fk|_fk_.*|_pk)?|_pkey|_key\d*|_check\d*|_fkey\d*|_idx\d*|_not_null)$"
)
NEXT = re.compile(r"nextval\('[^']*'::regclass\)")

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
       coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text ELSE '' END
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relnamespace = current_schema()::regnamespace
"""
CONSTRAINTS = """
SELECT c.relname, o.conname, o.contype::text, pg_get_constraintdef(o.oid), o.convalidated
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
 WHERE o.contype <> 'n' AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace
"""  # 'n': since PostgreSQL 18 NOT NULL is one, too; the column says it already
INDEXES = """
SELECT c.relname, i.relname, x.indisunique, x.indisvalid, pg_get_indexdef(x.indexrelid)
  FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace
   AND NOT EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conindid = x.indexrelid AND o.contype IN ('p', 'u', 'x'))
"""
SEQUENCES = """
SELECT coalesce(t.relname, s.relname), CASE WHEN t.relname IS NULL THEN s.relname ELSE a.attname END,
       format_type(q.seqtypid, NULL), q.seqincrement, q.seqcycle
  FROM pg_sequence q JOIN pg_class s ON s.oid = q.seqrelid
  LEFT JOIN pg_depend p ON p.classid = 'pg_class'::regclass AND p.objid = s.oid AND p.deptype IN ('a', 'i')
   AND p.refclassid = 'pg_class'::regclass AND p.refobjsubid > 0
  LEFT JOIN pg_class t ON t.oid = p.refobjid LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = p.refobjsubid
 WHERE s.relnamespace = current_schema()::regnamespace
"""


def of(connection: BaseDatabaseWrapper) -> Mapping[str, str] | None:
    """Return a hash of each table of the current schema, by name; None on other databases than PostgreSQL."""
    if connection.vendor != "postgresql":
        return None
    lines: dict[str, list[str]] = {}
    for table, line in _lines(connection):
        if table not in OURS:
            lines.setdefault(table, []).append(line)
    return {table: hashlib.sha256("\n".join(sorted(lines[table])).encode()).hexdigest()[:16] for table in sorted(lines)}


def differing(known: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the tables that are not the same in both."""
    return sorted(table for table in {*known, *found} if known.get(table) != found.get(table))


def made_up(name: str) -> bool:
    """Return whether Django or PostgreSQL has made up this name of a constraint or an index."""
    return MADE_UP.search(name) is not None


def _lines(connection: BaseDatabaseWrapper) -> Iterable[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        for table, *column in cursor.fetchall():
            yield table, "column " + NEXT.sub("nextval", " ".join(map(str, column)))
        cursor.execute(CONSTRAINTS)
        for table, name, *constraint in cursor.fetchall():
            yield table, "constraint " + " ".join(map(str, ("" if made_up(name) else name, *constraint)))
        cursor.execute(INDEXES)
        for table, name, unique, valid, definition in cursor.fetchall():
            what = definition[definition.index(" USING ") :]
            yield table, f"index {'' if made_up(name) else name} {unique} {valid}{what}"
        cursor.execute(SEQUENCES)
        for table, *sequence in cursor.fetchall():
            yield table, "sequence " + " ".join(map(str, sequence))
