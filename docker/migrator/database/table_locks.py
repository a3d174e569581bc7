"""The lock that a statement takes on a table of PostgreSQL.

Source: PostgreSQL's documentation, "Explicit Locking" (Table-Level Locks) and the reference pages of the commands (ALTER TABLE,
CREATE INDEX, DROP INDEX, CREATE TABLE, CREATE TRIGGER, REFRESH MATERIALIZED VIEW), versions 14 to 18. For what is not in the table
no lock is named.
"""

from __future__ import annotations

import re

NAME = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?\S+"
# The first that matches counts; a statement with several parts takes the strongest, and ours (Django's) have one.
MODES: tuple[tuple[str, str], ...] = (
    (rf"ALTER TABLE {NAME} ADD CONSTRAINT \S+ FOREIGN KEY", "SHARE ROW EXCLUSIVE"),
    (rf"ALTER TABLE {NAME} ADD FOREIGN KEY", "SHARE ROW EXCLUSIVE"),
    (rf"ALTER TABLE {NAME} (?:ENABLE|DISABLE) TRIGGER", "SHARE ROW EXCLUSIVE"),
    (rf"ALTER TABLE {NAME} VALIDATE CONSTRAINT", "SHARE UPDATE EXCLUSIVE"),
    (rf"ALTER TABLE {NAME} ALTER (?:COLUMN )?\S+ SET STATISTICS", "SHARE UPDATE EXCLUSIVE"),
    (rf"ALTER TABLE {NAME} (?:CLUSTER ON|SET WITHOUT CLUSTER)", "SHARE UPDATE EXCLUSIVE"),
    (rf"ALTER TABLE {NAME} ATTACH PARTITION", "SHARE UPDATE EXCLUSIVE"),
    (r"ALTER TABLE", "ACCESS EXCLUSIVE"),
    (r"ALTER INDEX", "SHARE UPDATE EXCLUSIVE"),
    (r"ALTER SEQUENCE", "SHARE ROW EXCLUSIVE"),
    (r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY", "SHARE UPDATE EXCLUSIVE"),
    (r"CREATE (?:UNIQUE )?INDEX", "SHARE"),
    (r"DROP INDEX CONCURRENTLY", "SHARE UPDATE EXCLUSIVE"),
    (r"DROP INDEX", "ACCESS EXCLUSIVE"),
    (r"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER", "SHARE ROW EXCLUSIVE"),
    (r"CREATE STATISTICS", "SHARE UPDATE EXCLUSIVE"),
    (r"COMMENT ON", "SHARE UPDATE EXCLUSIVE"),
    (r"REINDEX .*CONCURRENTLY", "SHARE UPDATE EXCLUSIVE"),
    (r"(?:VACUUM|ANALYZE)\b(?!.*\bFULL\b)", "SHARE UPDATE EXCLUSIVE"),
    (r"(?:DROP (?:TABLE|VIEW|TRIGGER)|TRUNCATE|CLUSTER|VACUUM|LOCK TABLE \S+$|LOCK \S+$)", "ACCESS EXCLUSIVE"),
    (r"REFRESH MATERIALIZED VIEW CONCURRENTLY", "EXCLUSIVE"),
    (r"REFRESH MATERIALIZED VIEW", "ACCESS EXCLUSIVE"),
    (r"(?:INSERT|UPDATE|DELETE|MERGE|COPY \S+ FROM)\b", "ROW EXCLUSIVE"),
    (r"SELECT\b.*\bFOR (?:NO KEY )?(?:UPDATE|SHARE|KEY SHARE)", "ROW SHARE"),
    (r"SELECT\b.*\bFROM\b", "ACCESS SHARE"),
)
PATTERNS = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), mode) for pattern, mode in MODES)


def mode(statement: str) -> str | None:
    """Return the strongest lock that `statement` takes on a table that is there already; None where it takes none that is known."""
    text = " ".join(statement.split())
    return next((mode for pattern, mode in PATTERNS if pattern.match(text)), None)
