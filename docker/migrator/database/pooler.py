"""Whether a pooler stands between this process and PostgreSQL that gives every transaction another session.

Nothing would hold there: the lock would be some session's, settings would reach whoever gets that session next, and `CREATE INDEX
CONCURRENTLY` could wait for ourselves. A pooler that gives a client one session for as long as it is connected does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Refused

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

ROUNDS = 5


def refuse(connection: BaseDatabaseWrapper) -> None:
    """Raise Refused where sessions are shared; nothing is changed in any. One question where nothing stands in between."""
    connection.ensure_connection()
    # A pooler can't pass on what the server said when it was connected to, for it was connected to before.
    if connection.connection.info.backend_pid == _session(connection):
        return
    from django.db import DatabaseError

    try:
        shared = _shared(connection)
    except DatabaseError as error:
        raise Refused(
            f"a pooler stands between this and PostgreSQL, and allows no transaction that stays open: {ADVICE}"
        ) from error
    if shared:
        raise Refused(
            f"a pooler stands between this and PostgreSQL, and gives every transaction another session: {ADVICE}"
        )


ADVICE = (
    "migrations need a session of their own, so give the release task the server's own address (the parameter MigrationDatabaseSecret; "
    "MIGRATION_DATABASE_URL where you run it yourself)"
)


def _shared(connection: BaseDatabaseWrapper) -> bool:
    """Return whether two clients meet in one session, or one client in several, while the other holds a transaction open."""
    other = connection.copy()
    try:
        for _ in range(ROUNDS):
            mine = _session(connection)
            other.set_autocommit(False)
            if _session(other) == mine or _session(connection) != mine:
                return True
            other.rollback()
            other.set_autocommit(True)
    finally:
        other.close()
    return False


def _session(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
