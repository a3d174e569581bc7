"""What a plan will do, before it is done: every operation, its SQL, the lock that takes, and whether the build before can go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import cause
from ..manifest.operations import breaks, inner, irreversible
from . import table_locks
from .executor import Executor
from .objects import drops

if TYPE_CHECKING:
    from django.db.migrations import Migration
    from django.db.migrations.state import ProjectState

NOT_SQL = "-- THIS OPERATION CANNOT BE WRITTEN AS SQL"


class Explainer(Executor):
    """Runs nothing: where a migration would be run, its SQL is collected, with the models as they are at that point."""

    def explain(self, keys: Iterable[str], *, backwards: bool) -> list[dict[str, Any]]:
        """Return a description of each migration of `keys`, which this build would run in that order; nothing is written."""
        self.told: list[dict[str, Any]] = []
        self.recorder.ensure_schema = lambda: None  # type: ignore[method-assign]
        plan = [(self.loader.disk_migrations[tuple(key.split(".", 1))], backwards) for key in keys]  # type: ignore[index]
        self.migrate(None, plan=plan)
        return self.told

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Describe `migration`."""
        self._tell(migration, state.clone(), backwards=False)
        return migration.mutate_state(state, preserve=False)

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        """Describe undoing `migration`."""
        self._tell(migration, state.clone(), backwards=True)
        return state

    def _tell(self, migration: Migration, state: ProjectState, *, backwards: bool) -> None:
        facts = self.manifest[str(migration)]
        told: dict[str, Any] = {
            "migration": facts.key,
            "atomic": facts.atomic,
            "reversible": not list(irreversible(migration)),
            "lossy": list(facts.holds if backwards else facts.lossy),
            "rollback": facts.rollback,
            "operations": [],
            "stays": [],
            "unknown": None,
        }
        self.told.append(told)
        run = migration.unapply if backwards else migration.apply
        editor = self.connection.schema_editor(collect_sql=True, atomic=False)
        try:
            with editor:
                run(state, editor, collect_sql=True)
        except Exception as error:  # Django looks names up in a database that is not there yet
            told["unknown"] = f"Django can't say the rest before it is run: {cause(error)}"
        told["operations"] = list(self._operations(editor.collected_sql))
        if backwards and self.connection.vendor == "postgresql":
            self._leave(migration, told)

    def _leave(self, migration: Migration, told: dict[str, Any]) -> None:
        """Say what will not be dropped, for the migration had not made it."""
        for operation in told["operations"]:
            statements = operation["sql"]
            operation["sql"] = []
            for sql in statements:
                kept, left = (
                    self.found.parts(sql["statement"], self.known_as(migration))
                    if drops(sql["statement"])
                    else ([], [])
                )
                told["stays"] += [f"{one}, {why}" for one, why in left]
                operation["sql"] += [{**sql, "statement": one} for one in kept] if left else [sql]

    def _operations(self, collected: list[str]) -> Iterator[dict[str, Any]]:
        """Cut what Django collected at its comments, which name the operations: a line "--", the name, a line "--"."""
        operation: dict[str, Any] | None = None
        lines = [line for text in collected for line in ([text] if not text.startswith("--") else text.splitlines())]
        for at, line in enumerate(lines):
            if line == "--" or line.startswith("-- (no-op)"):
                continue
            if line.startswith("-- ") and line != NOT_SQL and at and lines[at - 1] == "--":
                if operation:
                    yield operation
                operation = {"description": line[3:], "sql": [], "is_sql": True}
            elif operation and line == NOT_SQL:
                operation["is_sql"] = False
            elif operation and not line.startswith("--"):
                lock = table_locks.mode(line) if self.connection.vendor == "postgresql" else None
                operation["sql"].append({"statement": line, "lock": lock})
        if operation:
            yield operation


def broken(loader: Any, order: Iterable[str], state: ProjectState) -> list[str]:
    """Return what of the forward migrations `order` the code of the build before can't live with; `state` is as it knows the models.

    That code goes on reading and writing while the new one starts, and again while it comes back.
    """
    found: list[str] = []
    known = set(state.models)
    for key in order:
        app, name = key.split(".", 1)
        for operation in loader.disk_migrations[app, name].operations:
            for one in inner(operation):
                why = breaks(one, app, known, state)
                if why:
                    found.append(f"{key}: {one.describe()}: {why}")
            operation.state_forwards(app, state)
    return found
