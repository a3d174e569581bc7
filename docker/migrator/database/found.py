"""What a migration found already there, and so did not make: noted on the way forward, and left on the way back.

`CREATE EXTENSION IF NOT EXISTS`, which an administrator has made long ago, does nothing; undoing it would drop what others use. The same is
true of schemas, tables, indexes, columns and whatever else is made IF NOT EXISTS. PostgreSQL only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..output import progress
from . import objects
from .ledger import Ledger


class Found:
    """What the migrations that are applied have found, by the ledger."""

    def __init__(self, connection: Any, ledger: Ledger) -> None:
        self.connection, self.ledger = connection, ledger
        self._noted: dict[str, tuple[int, set[str] | None]] | None = None
        self._own = False  # a statement of ours

    @contextmanager
    def noting(self) -> Iterator[set[str] | None]:
        """Note what the statements that are run meanwhile find there; None on other databases, where nobody looks."""
        if self.connection.vendor != "postgresql":
            yield None
            return
        there: set[str] = set()
        seen: set[str] = set()

        def watch(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
            for one in () if self._own else objects.made_unless_there(sql, params):
                if str(one) not in seen and self._exists(one):
                    there.add(str(one))
                seen.add(str(one))  # from here on it is there by this very migration
            return execute(sql, params, many, context)

        with self.connection.execute_wrapper(watch):
            yield there

    @contextmanager
    def leaving(self, keys: Iterable[str]) -> Iterator[None]:
        """Leave what the migration that is undone meanwhile had found; `keys` are the names under which it may have been applied."""
        if self.connection.vendor != "postgresql":
            yield
            return
        keys = tuple(keys)

        def watch(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
            if self._own or not isinstance(sql, str) or params or not objects.drops(sql):
                return execute(sql, params, many, context)
            kept, left = self.parts(sql, keys)
            if not left:
                return execute(sql, params, many, context)
            for one, why in left:
                progress(f"left     {one}, {why}")
            self._hand_on([one for one, _ in left], keys)
            for part in kept:
                execute(part, params, many, context)
            return None

        with self.connection.execute_wrapper(watch):
            yield
        if self._noted:
            for key in keys:
                self._noted.pop(key, None)

    def parts(self, sql: str, keys: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the statements of `sql` that remain where the migration `keys` is undone, and what is left of the rest, and why."""
        keys = tuple(keys)
        return objects.without(sql, lambda one: self._why_left(one, keys))

    def forget(self) -> None:
        """Read it anew: a transaction was rolled back."""
        self._noted = None

    def _why_left(self, one: objects.Object, keys: tuple[str, ...]) -> str | None:
        noted = self._read()
        mine = [noted[key][1] for key in keys if key in noted]
        known = [each for each in mine if each is not None]
        if any(str(one) in each for each in known):
            return "which was there before"
        other = next((key for key, (_, found) in noted.items() if key not in keys and str(one) in (found or ())), None)
        if other:
            return f"which {other} has found, too"
        if not known and one.kind == "extension" and self._ask(objects.NOT_OURS, one):
            return "which is not ours to drop"
        return None

    def _hand_on(self, left: Iterable[str], keys: tuple[str, ...]) -> None:
        """Make the first of the other migrations that found what this one had made the one that has made it."""
        noted = self._read()
        mine = [noted[key][1] for key in keys if key in noted]
        if not mine or any(each is None for each in mine):
            return
        for one in left:
            heir = next((key for key, (_, found) in noted.items() if key not in keys and one in (found or ())), None)
            if heir and not any(one in (each or ()) for each in mine):
                number, found = noted[heir]
                noted[heir] = number, (found or set()) - {one}
                self._own = True
                try:
                    self.ledger.note_found(number, noted[heir][1] or ())
                finally:
                    self._own = False

    def _read(self) -> dict[str, tuple[int, set[str] | None]]:
        if self._noted is None:
            self._own = True
            try:
                self._noted = self.ledger.found()
            finally:
                self._own = False
        return self._noted

    def _exists(self, one: objects.Object) -> bool:
        return self._ask(objects.EXISTS[one.kind], one)

    def _ask(self, query: str, one: objects.Object) -> bool:
        self._own = True
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(query, {"name": one.text, "plain": one.name, "table": one.table})
                return cursor.fetchone() is not None
        finally:
            self._own = False
