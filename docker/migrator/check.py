"""How the database stands to this build; cheap enough for a health check."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import manifest, plan
from .errors import Refused

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def state(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return how `connection`'s database stands to this build, with one query.

    {"state": "in step" | "ahead" | "behind" | "diverged", "build": name, "missing": [...], "extra": [...]}

    Raise what Django raises when the database does not answer, and a MigratorError when there is no manifest to compare
    with or it has squashed migrations.
    """
    wanted = own_manifest()
    reason = plan.unplannable(wanted)
    if reason:
        raise Refused(reason)
    name, missing, extra = plan.compare(_rows(connection), wanted)
    return {"state": name, "build": wanted.build, "missing": missing, "extra": extra}


def own_manifest() -> manifest.Manifest:
    """Return this image's manifest: the file LASTGOOD_MANIFEST, else computed; LASTGOOD_BUILD then names the build."""
    return _own_manifest(os.environ.get("LASTGOOD_MANIFEST", ""), os.environ.get("LASTGOOD_BUILD", ""))


@lru_cache(maxsize=1)
def _own_manifest(path: str, build: str) -> manifest.Manifest:
    return manifest.load(Path(path)) if path else manifest.compute(build or "unnamed")


def _rows(connection: BaseDatabaseWrapper) -> list[str]:
    from django.db import DatabaseError, transaction
    from django.db.migrations.recorder import MigrationRecorder

    recorder = MigrationRecorder(connection)
    try:
        # Inside somebody's transaction a failing query would spoil it; a savepoint keeps that to ourselves.
        with transaction.atomic(using=connection.alias) if connection.in_atomic_block else nullcontext():
            return [f"{app}.{name}" for app, name in recorder.migration_qs.order_by("id").values_list("app", "name")]
    except DatabaseError:
        if recorder.has_table():
            raise
        return []
