"""Runs one migration: its rows and its ledger in the transaction of the change that they record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import Error, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from ..decision.facts import BACK, FORWARD
from ..decision.names import Names
from ..manifest import Manifest, operations
from ..output import progress
from . import deferred
from .failure import failure
from .found import Found
from .ledger import Identity, Ledger
from .outside import Outside

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.migrations import Migration
    from django.db.migrations.state import ProjectState

    from ..manifest.graph import AtomLoader


class Executor(MigrationExecutor):
    """Django's executor, which works out the states; the way a migration is run and recorded is ours.

    Django records a migration after its transaction (always when undoing, often when applying): a process killed in
    between leaves a schema that its own record denies.
    """

    def __init__(self, connection: BaseDatabaseWrapper, loader: AtomLoader, manifest: Manifest, who: Identity) -> None:
        # Django's own would build its own loader, which chooses between squashed and original by the rows.
        self.connection = connection
        self.loader: AtomLoader = loader
        self.recorder = MigrationRecorder(connection)
        self.progress_callback = None
        self.ledger = Ledger(connection)
        self.found = Found(connection, self.ledger)
        self.identity, self.manifest = who, manifest
        self.names, self.rows = Names([manifest]), set[str]()
        self.applied: set[str] = set()
        self.untidy: dict[str, bool] = {}
        self.together = False  # several migrations in one transaction, which is open
        self.until = 0.0  # of the monotonic clock: how long what a lock is in the way of is tried again
        self.interrupted: frozenset[str] = frozenset()  # what was begun here outside a transaction, and not seen to end
        self._whole: Any = None

    def start_from(self, rows: Iterable[str], names: Names, applied: Iterable[str] | None = None) -> None:
        """Set what is applied: what `rows` of django_migrations say, read with `names`, or `applied` (originals) where they are wrong."""
        self.names, self.rows = names, set(rows)
        self.applied = set(names.state(self.rows) if applied is None else applied)
        # Squashed migrations known by now may have rows that are stale, or lack theirs.
        whole = names.rows(self.applied, self.applied.union(*(names.originals(row) for row in self.rows)))
        self.untidy = {key: there for key, there in whole.items() if there != (key in self.rows)}
        atoms = (tuple(migration.key.split(".", 1)) for migration in self.manifest.atoms)
        self.loader.set_applied((app, name) for app, name in atoms if names.originals(f"{app}.{name}") <= self.applied)

    def remember(self) -> tuple[Any, ...]:
        """Return what `go_back_to` needs when a transaction was rolled back."""
        return set(self.rows), set(self.applied), dict(self.untidy), dict(self.loader.applied_migrations)

    def go_back_to(self, before: tuple[Any, ...]) -> None:
        """Know again what was known at `before`."""
        self.rows, self.applied, self.untidy, self.loader.applied_migrations = (type(one)(one) for one in before)
        self.ledger.forget()
        self.found.forget()

    def tidy(self) -> None:
        """Write the rows that belong there, in a transaction; they say nothing else of what is applied."""
        with transaction.atomic(using=self.connection.alias):
            self._set_rows(self.untidy)
        self.untidy = {}

    def _set_rows(self, rows: Mapping[str, bool]) -> None:
        for key, there in rows.items():
            app, name = key.split(".", 1)
            if there and key not in self.rows:
                self.recorder.record_applied(app, name)
                self.rows.add(key)
            elif not there and key in self.rows:
                self.recorder.record_unapplied(app, name)
                self.rows.discard(key)

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Apply `migration` and record it; in one transaction unless it is not atomic."""
        with self.found.noting() as found, self._step(migration, FORWARD, found) as editor:
            return migration.apply(state, editor)

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        """Undo `migration` and record that; in one transaction unless it is not atomic."""
        with (
            _as_they_were(migration.operations),
            self.found.leaving(self.known_as(migration)),
            self._step(migration, BACK) as editor,
        ):
            return migration.unapply(state, editor)

    def known_as(self, migration: Migration) -> frozenset[str]:
        """Return the names under which `migration` may have been applied: its own, its originals', and of what was squashed of these."""
        originals = self.names.originals(str(migration))
        return originals.union((str(migration),), *(self.names.squashes.get(one, ()) for one in originals))

    def migration_plan(self, targets: Any, clean_start: bool = False) -> Any:
        """Return Django's plan; the one of everything is asked for again and again, and always the same."""
        if not clean_start:
            return super().migration_plan(targets)
        if self._whole is None:
            self._whole = super().migration_plan(targets, clean_start=True)
        return list(self._whole)

    def _migrate_all_backwards(self, plan: Any, full_plan: Any, fake: bool) -> Any:
        # Django gives each migration the state of what its plan has before it, by the apps' names; what stays belongs there, too: to rename
        # a content type back, for one, the models of contenttypes must be known.
        going = {migration for migration, _ in plan}
        stays = [step for step in full_plan if step[0] not in going]
        ordered = stays + [step for step in full_plan if step[0] in going]
        return super()._migrate_all_backwards(plan, ordered, fake)  # type: ignore[misc]

    @contextmanager
    def _step(self, migration: Migration, direction: str, found: set[str] | None = None) -> Iterator[Any]:
        from django.utils.timezone import now

        started, clock = now(), monotonic()
        atomic = self.atomic(migration)
        outside = Outside(self.connection, self.until, interrupted=str(migration) in self.interrupted)
        try:
            if not atomic:
                self._begin(migration, direction, started)
            with self._editor(migration) as editor, nullcontext() if atomic else outside.watch():
                with deferred.settled(editor, unseen=not operations.schema_alone(migration)):
                    yield editor
                    # What the editor keeps for the end (foreign keys, indexes) must come before the record, not after it.
                    while editor.deferred_sql:
                        editor.execute(editor.deferred_sql.pop(0), None)
                if atomic:
                    self._record(migration, direction, started, found)
            if not atomic:
                with transaction.atomic(using=self.connection.alias):
                    self._record(migration, direction, started, found, begun=True)
        except Exception as error:
            stayed = not atomic and (outside.touched or not self._withdraw(migration, direction, started))
            raise failure(self.manifest[str(migration)], error, stayed=stayed) from error
        done = "applied" if direction == FORWARD else "undone"
        progress(f"{done}  {migration}  {monotonic() - clock:.2f} s")

    @contextmanager
    def _editor(self, migration: Migration) -> Iterator[Any]:
        """Django's schema editor in a transaction, unless `migration` wants none; in one that is open already it needs no savepoint."""
        with self.connection.schema_editor(atomic=migration.atomic and not self.together) as editor:
            if not self.together:
                yield editor
                return
            editor.atomic_migration = True  # as it is: else Django would open a savepoint for each operation
            try:
                yield editor
            finally:
                editor.atomic_migration = False

    def atomic(self, migration: Migration) -> bool:
        """Return whether `migration` is done as a whole or not at all here."""
        return bool(migration.atomic) and bool(self.connection.features.can_rollback_ddl)

    def _begin(self, migration: Migration, direction: str, started: datetime) -> None:
        sha256 = self.manifest[str(migration)].sha256
        self.ledger.begin(direction, migration.app_label, migration.name, sha256, started, self.identity)

    def _withdraw(self, migration: Migration, direction: str, started: datetime) -> bool:
        """Take back that `migration` has begun, for nothing came of it; return whether that could be written."""
        try:
            self.ledger.withdraw(direction, migration.app_label, migration.name, started)
        except Error:  # the connection is gone
            return False
        return True

    def _record(
        self, migration: Migration, direction: str, started: datetime, found: set[str] | None, *, begun: bool = False
    ) -> None:
        app, name = migration.app_label, migration.name
        touched = self.names.originals(str(migration))
        if direction == FORWARD:
            self.applied |= touched
            self.loader.applied_migrations[app, name] = migration
        else:
            self.applied -= touched
            self.loader.applied_migrations.pop((app, name), None)
        # For every build, plain Django's included: what is applied, and each squashed migration all of which is.
        self._set_rows({**self.untidy, **self.names.rows(self.applied, touched)})
        self.untidy = {}
        self.ledger.write(
            direction, app, name, self.manifest[str(migration)].sha256, started, self.identity, begun=begun, found=found
        )
        if not self.together:
            self.ledger.flush()


@contextmanager
def _as_they_were(operations: Iterable[Any]) -> Iterator[None]:
    """Put operations back when undoing them fails: Django's renames turn themselves round while they are undone."""
    every = list(operations)
    for operation in every:  # grows while it is walked
        every += getattr(operation, "database_operations", ())
    was = [(operation, dict(vars(operation))) for operation in every]
    try:
        yield
    except BaseException:
        for operation, values in was:
            vars(operation).clear()
            vars(operation).update(values)
        raise
