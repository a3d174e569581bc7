"""The ledger: who applied which migration here, and the manifest of every build that ever ran here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..decision.facts import FORWARD, Facts, SeenBuild
from ..decision.names import Names
from ..decision.provenance import provenance
from ..errors import Refused
from ..manifest.document import SCHEMA, Manifest, loads
from . import tables

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True)
class Identity:
    """Who writes: the build whose image this is, the image's digest, the commit, and the person or system behind it."""

    build: str
    digest: str = ""
    commit: str = ""
    actor: str = ""


class Stored:
    """A build that the database has met: its manifest is read from there when somebody asks for it."""

    def __init__(
        self, ledger: Ledger, name: str, digest: str, replaces: str | None, first_seen: datetime | None = None
    ) -> None:
        self.ledger, self.name, self.digest, self.first_seen = ledger, name, digest, first_seen
        if replaces is not None:  # else written before there was such a column
            self.replaces = {key: tuple(inside) for key, inside in json.loads(replaces).items()}

    @cached_property
    def text(self) -> str:
        """The manifest of this build as it was stored."""
        return str(self.ledger.builds.values_list("manifest", flat=True).get(build=self.name))

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest of this build."""
        return loads(self.text, f"the stored manifest of build {self.name}", checked=True)

    @cached_property
    def replaces(self) -> Mapping[str, tuple[str, ...]]:
        """What each squashed migration of this build replaces."""
        return self.manifest.replaces


class Ledger:
    """The ledger in the database of `connection`."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.entries, self.builds = (model._default_manager.using(connection.alias) for model in tables.models())
        self._written: list[Any] = []

    def ensure(self) -> None:
        """Make the tables and columns that are not there yet."""
        tables.make(self.connection)

    def record_build(self, manifest: Manifest, facts: Facts, identity: Identity | None = None) -> None:
        """Note that the build of `manifest` was here; `identity` if it is the one that is running.

        Raise Refused when another build was here under the same name.
        """
        from django.utils.timezone import now

        replaces = json.dumps({key: list(inside) for key, inside in sorted(manifest.replaces.items())})
        seen = facts.builds.get(manifest.build)
        if seen is None:
            self.builds.create(
                build=manifest.build,
                digest=identity.digest if identity else "",
                commit=(identity.commit if identity else "") or manifest.commit or "",
                first_seen=now(),
                manifest=manifest.dumps(),
                replaces=replaces,
            )
            return
        same = manifest.text is not None and seen.text == manifest.text
        if not same and not seen.manifest.same_files(manifest):
            raise Refused(
                f"the database knows another build {manifest.build} with other migrations: a name is one build's"
            )
        row = self.builds.filter(build=manifest.build)
        if not same and seen.manifest.schema != SCHEMA and manifest.schema == SCHEMA:
            row.update(manifest=manifest.dumps(), replaces=replaces)
        if identity and identity.digest and identity.digest != seen.digest:
            # The same code built again: the newest image is the one that is still in the registry.
            row.update(digest=identity.digest)

    def fingerprint(self, build: str) -> Mapping[str, str] | None:
        """Return the schema that was there when `build` was last known to be right; None where nobody noted it."""
        there = tables.names(self.connection)
        if "lastgood_build" not in there or "fingerprint" not in tables.columns(self.connection, "lastgood_build"):
            return None
        text = self.builds.filter(build=build).values_list("fingerprint", flat=True).first()
        return json.loads(text) if text else None

    def note_fingerprint(self, build: str, schema: Mapping[str, str]) -> None:
        """Note what the schema is like, now that the database is what `build` wants."""
        self.builds.filter(build=build).update(fingerprint=json.dumps(schema))

    def begin(self, direction: str, app: str, name: str, sha256: str, started: datetime, who: Identity) -> None:
        """Note that `app.name` is about to be applied or undone outside a transaction."""
        self.entries.create(
            app=app, name=name, direction=direction, sha256=sha256, started=started, finished=None, **vars(who)
        )

    def withdraw(self, direction: str, app: str, name: str, started: datetime) -> None:
        """Take back what `begin` has noted."""
        self.entries.filter(app=app, name=name, direction=direction, started=started, finished=None).delete()

    def write(
        self,
        direction: str,
        app: str,
        name: str,
        sha256: str,
        started: datetime,
        who: Identity,
        *,
        begun: bool = False,
        found: Iterable[str] | None = None,
    ) -> None:
        """Note that `app.name` was applied or undone; after `begin`, in a transaction that follows it.

        `found` is what was there already, and is not made by it.

        Else it is `flush`, inside the transaction that did it, that brings this to the database, with all that was written before.
        """
        from django.utils.timezone import now

        told = None if found is None else json.dumps(sorted(found))
        if begun:
            begun_entry = self.entries.filter(app=app, name=name, direction=direction, started=started)
            begun_entry.update(finished=now(), found=told)
            return
        entry = self.entries.model(
            app=app,
            name=name,
            direction=direction,
            sha256=sha256,
            started=started,
            finished=now(),
            found=told,
            **vars(who),
        )
        self._written.append(entry)

    def flush(self) -> None:
        """Bring what was written to the database, in the order of the writing."""
        self.entries.bulk_create(self._written, batch_size=1000)
        self._written = []

    def forget(self) -> None:
        """Forget what was written and not yet brought to the database: it was undone."""
        self._written = []

    def found(self) -> dict[str, tuple[int, set[str] | None]]:
        """Return what each migration that is applied has found there, with the number of its entry; None where nobody looked."""
        there: dict[str, tuple[int, set[str] | None]] = {}
        known = "lastgood_ledger" in tables.names(self.connection) and tables.columns(
            self.connection, "lastgood_ledger"
        )
        if not known or "found" not in known:
            return {}
        for number, app, name, direction, finished, found in self.entries.order_by("id").values_list(
            "id", "app", "name", "direction", "finished", "found"
        ):
            if direction != FORWARD:
                there.pop(f"{app}.{name}", None) if finished else None
            elif finished:
                there[f"{app}.{name}"] = number, None if found is None else set(json.loads(found))
        return there

    def note_found(self, number: int, found: Iterable[str]) -> None:
        """Note anew what the migration of that entry has found there."""
        self.entries.filter(id=number).update(found=json.dumps(sorted(found)))

    def rows(self) -> tuple[str, ...]:
        """Return what django_migrations says is applied, oldest first."""
        return self._rows(tables.names(self.connection))

    def facts(self) -> Facts:
        """Return all that the database says; nothing is written, tables that are missing count as empty."""
        there = tables.names(self.connection)
        rows = self._rows(there)
        builds: dict[str, SeenBuild] = {}
        if "lastgood_build" in there:
            columns = tables.columns(self.connection, "lastgood_build")
            fields = ("build", "digest", "first_seen", *(("replaces",) if "replaces" in columns else ()))
            for name, digest, seen, *replaces in self.builds.order_by("id").values_list(*fields):
                builds[name] = Stored(self, name, digest, replaces[0] if replaces else None, seen)
        if "lastgood_ledger" not in there:
            return Facts(rows, {}, builds)
        entries = self.entries.order_by("id").values_list(
            "app", "name", "direction", "build", "digest", "sha256", "started", "finished"
        )
        ledger, started = provenance(entries, Names(builds.values()))
        return Facts(rows, ledger, builds, started)

    def history(self) -> list[dict[str, str]]:
        """Return the ledger, newest first; times in ISO 8601."""
        if "lastgood_ledger" not in tables.names(self.connection):
            return []
        fields = ("app", "name", "direction", "build", "digest", "commit", "sha256", "started", "finished", "actor")
        return [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in entry.items()}
            for entry in self.entries.order_by("-id").values(*fields)
        ]

    def _rows(self, there: set[str]) -> tuple[str, ...]:
        from django.db.migrations.recorder import MigrationRecorder

        if "django_migrations" not in there:
            return ()
        recorded = MigrationRecorder(self.connection).migration_qs.order_by("id").values_list("app", "name")
        return tuple(dict.fromkeys(f"{app}.{name}" for app, name in recorded))
