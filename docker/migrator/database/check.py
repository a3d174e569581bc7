"""How the database stands to this build; cheap enough for a health check."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import manifest
from ..decision.facts import FORWARD
from ..decision.standing import compare
from .ledger import Ledger, Stored

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def state(connection: BaseDatabaseWrapper, wanted: manifest.Manifest | None = None) -> dict[str, Any]:
    """Return how the database stands to `wanted`, else to this build, with two small queries, or three where something looks extra.

    {"state": "in step" | "ahead" | "behind" | "diverged", "build": name, "missing": [...], "extra": [...], "tampered": [...],
    "interrupted": [...]}

    `interrupted` are those that were begun outside a transaction, and not seen to end. `tampered` are those whose file here is not the
    one that the ledger saw applied. Raise what Django raises when the database does not answer, and a MigratorError when there is no
    manifest to compare with.
    """
    wanted = wanted or own_manifest()
    rows = _rows(connection)
    name, missing, extra = compare(rows, wanted)
    if extra:
        # Perhaps squashed migrations that other builds know.
        name, missing, extra = compare(rows, wanted, _builds(connection))
    hashes, interrupted = _ledger(connection)
    there = set(rows)
    return {
        "state": name,
        "build": wanted.build,
        "missing": missing,
        "extra": extra,
        "tampered": [key for key in there & hashes.keys() & wanted.by_key.keys() if wanted[key].sha256 != hashes[key]],
        "interrupted": sorted(interrupted),
    }


def own_manifest() -> manifest.Manifest:
    """Return this image's manifest: the file LASTGOOD_MANIFEST, else computed; LASTGOOD_BUILD then names the build."""
    return _own_manifest(os.environ.get("LASTGOOD_MANIFEST", ""), os.environ.get("LASTGOOD_BUILD", ""))


@lru_cache(maxsize=1)
def _own_manifest(path: str, build: str) -> manifest.Manifest:
    return manifest.load(Path(path)) if path else manifest.compute(build or "unnamed")


def _rows(connection: BaseDatabaseWrapper) -> list[str]:
    from django.db.migrations.recorder import MigrationRecorder

    recorder = MigrationRecorder(connection)
    ask = recorder.migration_qs.order_by("id").values_list("app", "name")
    return [f"{app}.{name}" for app, name in _ask(connection, recorder.Migration._meta.db_table, ask)]


def _builds(connection: BaseDatabaseWrapper) -> list[Any]:
    ledger = Ledger(connection)
    return [
        Stored(ledger, build, "", replaces)
        for build, replaces in _ask(connection, "lastgood_build", ledger.builds.values_list("build", "replaces"))
    ]


def _ledger(connection: BaseDatabaseWrapper) -> tuple[dict[str, str], set[str]]:
    """Return the hash of the file that was applied last, by migration, and what was interrupted; only what is new is read."""
    known = _known_hashes(str(connection.settings_dict["NAME"]), connection.alias)
    fields = ("id", "app", "name", "direction", "sha256", "finished")
    if not known.there:  # asking for a table that is not there would be an error in the server's log, time and again
        with connection.cursor() as cursor:
            known.there = "lastgood_ledger" in connection.introspection.table_names(cursor)
        if not known.there:
            return {}, set()
    entries = Ledger(connection).entries.order_by("id").values_list(*fields)
    news = list(_ask(connection, "lastgood_ledger", entries.filter(id__gte=known.newest)))
    if known.newest and (not news or news[0][0] != known.newest):  # another database under the same name
        known.newest, known.hashes = 0, {}
        news = list(_ask(connection, "lastgood_ledger", entries))
    hashes, interrupted = dict(known.hashes), set[str]()
    for number, app, name, direction, sha256, finished in news:
        key = f"{app}.{name}"
        hashes.pop(key, None)
        interrupted.discard(key)
        if finished is None:
            interrupted.add(key)
        elif direction == FORWARD:
            hashes[key] = sha256
        if not interrupted:  # else the next call reads it again: it may have ended by then
            known.newest, known.hashes = number, dict(hashes)
    return hashes, interrupted


class _Known:
    """What this process has read of a ledger."""

    def __init__(self) -> None:
        self.there = False
        self.newest = 0
        self.hashes: dict[str, str] = {}


@lru_cache(maxsize=8)
def _known_hashes(name: str, alias: str) -> _Known:
    return _Known()


def _ask(connection: BaseDatabaseWrapper, table: str, query: Any) -> list[Any]:
    """Return the answer of `query`; nothing where its table is missing, or a column that only a newer migrator makes."""
    from django.db import DatabaseError, transaction

    try:
        # Inside somebody's transaction a failing query would spoil it; a savepoint keeps that to ourselves.
        with transaction.atomic(using=connection.alias) if connection.in_atomic_block else nullcontext():
            return list(query)
    except DatabaseError:
        with connection.cursor() as cursor:
            there = table in connection.introspection.table_names(cursor)
        if there and table != "lastgood_build":
            raise
        return []
