"""Runs segments of migrations in one direction, each in a transaction of its own; tries again what somebody was in the way of."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from itertools import count
from time import monotonic, sleep
from typing import Any

from django.db import transaction

from ..decision.facts import BACK
from ..decision.steps import Segment
from ..errors import Busy, LeftBehind, MigratorError, TooMuchAtOnce, cause, pause_before
from ..output import progress
from . import lock
from .executor import Executor
from .signals import send_post_migrate, send_pre_migrate


def run(executor: Executor, segments: Iterable[Segment], direction: str, done: list[str], *, retry: float = 0) -> None:
    """Run `segments` one after the other; `done` grows by what is committed.

    A segment that a lock was in the way of is tried again for `retry` seconds, and one that needs more locks than the server has room for
    goes in halves. Raise MigratorError for the migration that fails: of its segment nothing is left, unless it is not atomic.
    """
    connection, segments = executor.connection, list(segments)
    backwards = direction == BACK
    migrations = {str(migration): migration for migration in executor.loader.disk_migrations.values()}
    plan = [(migrations[key], backwards) for segment in segments for key in segment.migrations]
    before = executor._create_project_state(with_applied_migrations=True)  # type: ignore[attr-defined]
    send_pre_migrate(connection, before.apps, plan)
    state = before.clone()
    until = executor.until = monotonic() + retry
    while segments:
        segment = segments.pop(0)
        part = [(migrations[key], backwards) for key in segment.migrations]
        try:
            state = _segment(executor, part, None if backwards else state, until)
        except TooMuchAtOnce as error:
            if len(part) == 1:
                raise MigratorError(f"{error}: raise it, or make several migrations of this one") from error
            progress(f"{error}: going on in two halves")
            segments[:0] = segment.halves()
            state = None
        else:
            done.extend(segment.migrations)
    if executor.untidy:
        executor.tidy()
    try:
        send_post_migrate(connection, state, plan)
    except Exception as error:
        raise MigratorError(f"post_migrate: {cause(error)}") from error


def _segment(executor: Executor, part: list[Any], state: Any, until: float) -> Any:
    """Run one segment until it is done or `until` (of the monotonic clock) has come; returns the state after it."""
    connection = executor.connection
    # One migration alone brings its own transaction, if it wants any.
    several = executor.together = len(part) > 1
    before = executor.remember()
    for attempt in count():
        clock = monotonic()
        try:
            with transaction.atomic(using=connection.alias) if several else nullcontext():
                lock.assert_held(connection)
                state = executor.migrate(None, plan=part, state=state)
                executor.ledger.flush()
        except BaseException as error:
            if several:
                progress(f"nothing of these {len(part)} migrations was committed")
            pause = pause_before(attempt)
            executor.go_back_to(before)
            if not isinstance(error, Busy) or isinstance(error, LeftBehind) or monotonic() + pause > until:
                raise
            progress(f"a lock was in the way: trying again in {pause:.1f} s")
            sleep(pause)
            state = None  # what was there is half changed: Django works it out again from what is applied
        else:
            if several:
                progress(f"committed {len(part)} migrations in one transaction  {monotonic() - clock:.2f} s")
            break
    return state
