"""The ledger: who applied which migration here, and the manifest of every build that ever ran here.

Its two tables are made the way Django makes `django_migrations`: by no migration, so going back to zero leaves them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .errors import Refused
from .manifest import Manifest, loads
from .plan import Applied, Build, Facts

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

FORWARD, BACK = "forward", "back"


@dataclass(frozen=True)
class Identity:
    """Who writes: the build whose image this is, the image's digest, the commit, and the person or system behind it."""

    build: str
    digest: str = ""
    commit: str = ""
    actor: str = ""


@lru_cache(maxsize=None)
def _models() -> tuple[Any, Any]:
    # Made on first use, like Django's own recorder: a model can't be defined before the apps are loaded.
    from django.apps.registry import Apps
    from django.db import models

    def number() -> Any:
        return models.BigAutoField(primary_key=True)

    def text(**options: Any) -> Any:
        return models.CharField(**{"max_length": 255, **options})

    def time() -> Any:
        return models.DateTimeField()

    class Entry(models.Model):
        id = number()
        app = text()
        name = text()
        direction = text(max_length=7)
        build = text()
        digest = text()
        commit = text()
        sha256 = text(max_length=64)
        started = time()
        finished = time()
        actor = text()

        class Meta:
            apps = Apps()
            app_label = "lastgood"
            db_table = "lastgood_ledger"

    class SeenBuild(models.Model):
        id = number()
        build = text(unique=True)
        digest = text()
        commit = text()
        first_seen = time()
        manifest: Any = models.TextField()

        class Meta:
            apps = Apps()
            app_label = "lastgood"
            db_table = "lastgood_build"

    return Entry, SeenBuild


class Ledger:
    """The ledger in the database of `connection`."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.entries, self.builds = (model._default_manager.using(connection.alias) for model in _models())

    def ensure(self) -> None:
        """Make the tables that are not there yet."""
        there = self._tables()
        for model in _models():
            if model._meta.db_table not in there:
                with self.connection.schema_editor() as editor:
                    editor.create_model(model)

    def record_build(self, manifest: Manifest, identity: Identity | None = None) -> None:
        """Note that the build of `manifest` was here; `identity` if it is the one that is running.

        Raise Refused when another build was here under the same name.
        """
        from django.utils.timezone import now

        text = manifest.dumps()
        seen = self.builds.filter(build=manifest.build).first()
        if seen is None:
            self.builds.create(
                build=manifest.build,
                digest=identity.digest if identity else "",
                commit=(identity.commit if identity else "") or manifest.commit or "",
                first_seen=now(),
                manifest=text,
            )
            return
        if loads(seen.manifest, f"the stored manifest of build {manifest.build}").migrations != manifest.migrations:
            raise Refused(
                f"the database knows another build {manifest.build} with other migrations: a name is one build's"
            )
        if identity and identity.digest and identity.digest != seen.digest:
            # The same code built again: the newest image is the one that is still in the registry.
            self.builds.filter(pk=seen.pk).update(digest=identity.digest)

    def write(self, direction: str, app: str, name: str, sha256: str, started: datetime, who: Identity) -> None:
        """Note that `app.name` was applied or undone; call it inside the transaction that did it."""
        from django.utils.timezone import now

        self.entries.create(
            app=app, name=name, direction=direction, sha256=sha256, started=started, finished=now(), **asdict(who)
        )

    def manifest(self, build: str) -> Manifest | None:
        """Return the manifest of the build named `build`, None when it was never here."""
        if "lastgood_build" not in self._tables():
            return None
        seen = self.builds.filter(build=build).first()
        return loads(seen.manifest, f"the stored manifest of build {build}") if seen else None

    def facts(self) -> Facts:
        """Return all that the database says; nothing is written, tables that are missing count as empty."""
        from django.db.migrations.recorder import MigrationRecorder

        there = self._tables()
        rows: dict[str, None] = {}
        if "django_migrations" in there:
            recorded = MigrationRecorder(self.connection).migration_qs.order_by("id").values_list("app", "name")
            rows = dict.fromkeys(f"{app}.{name}" for app, name in recorded)
        ledger: dict[str, Applied] = {}
        if "lastgood_ledger" in there:
            for entry in self.entries.order_by("id"):
                key = f"{entry.app}.{entry.name}"
                # A row that is there although the ledger saw it undone was applied behind our back: not known.
                ledger.pop(key, None)
                if entry.direction == FORWARD:
                    ledger[key] = Applied(entry.build, entry.digest, entry.sha256)
        builds: dict[str, Build] = {}
        if "lastgood_build" in there:
            for seen in self.builds.order_by("id"):
                what = f"the stored manifest of build {seen.build}"
                builds[seen.build] = Build(loads(seen.manifest, what), seen.digest)
        return Facts(tuple(rows), ledger, builds)

    def history(self) -> list[dict[str, str]]:
        """Return the ledger, newest first; times in ISO 8601."""
        if "lastgood_ledger" not in self._tables():
            return []
        fields = ("app", "name", "direction", "build", "digest", "commit", "sha256", "started", "finished", "actor")
        return [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in entry.items()}
            for entry in self.entries.order_by("-id").values(*fields)
        ]

    def _tables(self) -> set[str]:
        with self.connection.cursor() as cursor:
            return set(self.connection.introspection.table_names(cursor))
