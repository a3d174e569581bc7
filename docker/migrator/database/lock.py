"""One migrator at a time: a session's advisory lock on PostgreSQL, a named lock on MySQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

from ..errors import Busy, MigratorError
from ..output import progress
from . import pooler

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# PostgreSQL keeps advisory locks apart by database, so one number serves all: "lastgood" in ASCII.
KEY = int.from_bytes(b"lastgood", "big")
HIGH, LOW = KEY >> 32, KEY & 0xFFFFFFFF
HELD = (
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND pid = pg_backend_pid() AND classid::bigint = %s AND objid::bigint = %s"
)


@contextmanager
def held(
    connection: BaseDatabaseWrapper, *, what: str, wait: float, lock_timeout: float, statement_timeout: float = 0
) -> Iterator[None]:
    """Hold the lock, waiting at most `wait` seconds for it; on SQLite do nothing.

    While it is held, no statement waits longer than `lock_timeout` seconds for a lock on a table, or runs longer than
    `statement_timeout` seconds (0: as long as it takes). `what` is what others see in pg_stat_activity. Raise Busy, naming the
    holder, when the lock can't be had in time.
    """
    if connection.vendor == "mysql":
        with _held_by_name(connection, wait, lock_timeout):
            yield
        return
    if connection.vendor != "postgresql":
        yield
        return
    pooler.refuse(connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', %s, false)", [f"lastgood {what}"[:63]])
    try:
        _wait_for(connection, wait)
        with connection.cursor() as cursor:
            _limit(cursor, lock_timeout)
            if statement_timeout:
                _limit(cursor, statement_timeout, "statement_timeout")
        yield
    finally:
        # A connection that broke has released its lock with its session; asking it again would hide what broke it.
        if connection.connection is not None and connection.is_usable():
            with connection.cursor() as cursor:
                # Nobody who gets this session next is to find our settings in it.
                for name in ("lock_timeout", "statement_timeout", "application_name"):
                    cursor.execute(f"RESET {name}")
                cursor.execute(HELD, [HIGH, LOW])
                if cursor.fetchone():
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [KEY])


def _wait_for(connection: BaseDatabaseWrapper, wait: float) -> None:
    """Take the lock, asking for it again and again: who waits inside a statement holds a snapshot, and whoever has the lock may wait for
    that (CREATE INDEX CONCURRENTLY waits for all older ones), which is a deadlock.
    """
    until, pause = monotonic() + wait, 0.02
    told = False
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [KEY])
            if cursor.fetchone()[0]:
                return
        left = until - monotonic()
        if left <= 0:
            raise Busy(f"another migrator is at work on this database{_holder(connection)}: try again later")
        if not told:
            told = True
            progress(f"waiting for another migrator{_holder(connection)}")
        sleep(min(pause, left))
        pause = min(0.5, pause * 1.5)


def assert_held(connection: BaseDatabaseWrapper) -> None:
    """Raise MigratorError unless this very session holds the lock: a pooler may have put another in its place."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(HELD, [HIGH, LOW])
        if cursor.fetchone() is None:
            raise MigratorError("the lock was lost: connect to PostgreSQL directly, not through a transaction pooler")


@contextmanager
def _held_by_name(connection: BaseDatabaseWrapper, wait: float, lock_timeout: float) -> Iterator[None]:
    name = "CONCAT('lastgood ', DATABASE())"  # named locks are the whole server's
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK({name}, %s)", [wait])
        if cursor.fetchone() != (1,):
            raise Busy("another migrator is at work on this database: try again later")
        cursor.execute("SET SESSION lock_wait_timeout = %s", [max(1, round(lock_timeout))])
    try:
        yield
    finally:
        if connection.connection is not None and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT RELEASE_LOCK({name})")


def _limit(cursor: object, seconds: float, what: str = "lock_timeout") -> None:
    # 0 would mean no limit at all.
    milliseconds = max(1, round(seconds * 1000))
    cursor.execute("SELECT set_config(%s, %s, false)", [what, str(milliseconds)])  # type: ignore[attr-defined]


def _holder(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND l.classid::bigint = %s AND l.objid::bigint = %s",
            [HIGH, LOW],
        )
        row = cursor.fetchone()
    return f" (pid {row[0]}, {row[1] or 'no application name'})" if row else ""
