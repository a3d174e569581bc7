"""Deferred checks on PostgreSQL: rows that wait for theirs stop every statement that would alter their table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|WITH|COPY|TRUNCATE|CALL|DO)\b", re.IGNORECASE)


def settle(connection: Any) -> None:
    """Have all that waits checked now; what comes after may wait again."""
    if connection.vendor != "postgresql" or not connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


@contextmanager
def settled(editor: Any, *, unseen: bool) -> Iterator[None]:
    """Before each statement of the schema `editor`, and at the end, settle what rows were written since the last.

    So a migration may write rows and alter their table, in either order: going back it does it in the other. `unseen`: rows may be written
    in ways that do not look it (a function that is selected, a COPY), so settle each time.
    """
    connection, run = editor.connection, editor.execute
    waiting = False

    def watch(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal waiting
        waiting = waiting or not isinstance(sql, str) or WRITES.match(sql) is not None
        return execute(sql, params, many, context)

    def execute(sql: Any, params: Any = ()) -> Any:
        nonlocal waiting
        if waiting or unseen:
            waiting = False
            settle(connection)
        return run(sql, params)

    editor.execute = execute
    with connection.execute_wrapper(watch):
        yield
    if waiting or unseen:
        settle(connection)
