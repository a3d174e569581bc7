"""Statements outside a transaction, on PostgreSQL: each is run again when a lock was in the way, for what fails there leaves nothing.

But for an index that is made concurrently: it stays behind, invalid. Where it was not there before, or an earlier try of the same migration
was interrupted, it is ours, and goes first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic, sleep
from typing import Any

from ..errors import TRY_AGAIN, MigratorError, pause_before, sqlstate
from ..output import progress

NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)'
INDEX = re.compile(
    rf"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(?!ON\b){NAME}\s+ON\s+(?:ONLY\s+)?{NAME}",
    re.IGNORECASE,
)
PATIENT = re.compile(r"\s*(CREATE\s+(UNIQUE\s+)?|DROP\s+|RE)INDEX\b.*\bCONCURRENTLY\b", re.IGNORECASE | re.DOTALL)
# What may have committed a part of itself, or leaves something half done that is not an index of one name.
ONCE = re.compile(
    r"\b(CALL|DO|COMMIT|ROLLBACK|REINDEX|DETACH)\b|\bINDEX\s+CONCURRENTLY\s+(IF\s+NOT\s+EXISTS\s+)?ON\b", re.IGNORECASE
)
READS = re.compile(
    r"\s*(SELECT\b(?!.*\b(nextval|setval|pg_\w*lock\w*)\b).*\bFROM\b|SHOW\b|SET\b|RESET\b|$)", re.IGNORECASE | re.DOTALL
)

INVALID = """
SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s) AND indrelid = to_regclass(%s)
"""


class Outside:
    """Watches the statements of one migration; `touched` says whether anything of it has stayed."""

    def __init__(self, connection: Any, until: float, *, interrupted: bool) -> None:
        self.connection, self.until, self.interrupted = connection, until, interrupted
        self.touched = False
        self._own = False  # a statement of ours

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch what is run meanwhile; on other databases than PostgreSQL only say that something may have stayed."""
        if self.connection.vendor != "postgresql":
            self.touched = True
            yield
            return
        with self.connection.execute_wrapper(self):
            yield

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Run a statement, as Django's `execute_wrapper` asks for it."""
        if self._own:
            return execute(sql, params, many, context)
        text = sql if isinstance(sql, str) else ""
        if self.connection.in_atomic_block:
            if not text or not READS.match(text):
                self.connection.on_commit(self._stayed)
            return execute(sql, params, many, context)
        index = INDEX.match(text)
        if index and self._valid(index) is False:
            self._make_room(index)
        bears = bool(text) and not many and not ONCE.search(text)
        for attempt in count():
            try:
                if index and attempt:
                    self._drop(index)
                with self._patience(text):
                    result = execute(sql, params, many, context)
            except Exception as error:
                pause = pause_before(attempt)
                if not bears or sqlstate(error) not in TRY_AGAIN or monotonic() + pause > self.until:
                    self.touched = self.touched or self._left(text, index, bears=bears)
                    raise
                progress(f"a lock was in the way: trying again in {pause:.1f} s")
                sleep(pause)
            else:
                self.touched = self.touched or not text or READS.match(text) is None
                return result
        raise AssertionError  # count() has no end

    def _stayed(self) -> None:
        self.touched = True

    def _make_room(self, index: re.Match[str]) -> None:
        if not self.interrupted:
            raise MigratorError(
                f"the index {index[1]} is there, and invalid: an attempt that nobody noted was broken off, or still runs; if it does not, "
                f"DROP INDEX CONCURRENTLY {index[1]}, and try again"
            )
        progress(f"the index {index[1]} of an earlier try is invalid: it is dropped first")
        self._drop(index)

    def _left(self, text: str, index: re.Match[str] | None, *, bears: bool) -> bool:
        """Return whether a statement that failed has left something behind; its index is dropped."""
        from django.db import Error

        if index is None:
            return not bears or PATIENT.match(text) is not None
        try:
            self._drop(index)
        except Error:  # somebody is in the way of this, too, or the server is gone
            return True
        return False

    def _drop(self, index: re.Match[str]) -> None:
        """Drop an index that was not there before, or is known to be ours, and is invalid."""
        if self._valid(index) is False:
            self._run(f"DROP INDEX CONCURRENTLY IF EXISTS {index[1]}")

    def _valid(self, index: re.Match[str]) -> bool | None:
        """Return whether that index is valid; None where there is none on that table."""
        rows = self._run(INVALID, [index[1], index[2]])
        return bool(rows[0][0]) if rows else None

    @contextmanager
    def _patience(self, text: str) -> Iterator[None]:
        """Let what stops nobody's reads and writes wait for older transactions until the end, and not be cut off at lock_timeout."""
        left = self.until - monotonic()
        if left <= 0 or not PATIENT.match(text):
            yield
            return
        ((before,),) = self._run("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'")
        if int(before) >= left * 1000 or before == "0":
            yield
            return
        self._run("SELECT set_config('lock_timeout', %s, false)", [str(round(left * 1000))])
        try:
            yield
        finally:
            if self.connection.is_usable():
                self._run("SELECT set_config('lock_timeout', %s, false)", [before])

    def _run(self, sql: str, params: Any = None) -> list[Any]:
        self._own = True
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, params)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            self._own = False
