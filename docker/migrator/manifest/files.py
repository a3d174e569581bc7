"""Makes the manifest of the project on the path, of its migration files: touches no database."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, cause
from . import effect, served
from .document import Manifest, Migration
from .operations import Loss, again, irreversible, losses

if TYPE_CHECKING:
    from .graph import AtomLoader


def compute(build: str, commit: str | None = None) -> Manifest:
    """Return the manifest of the project on the path, touching no database.

    Raise UsageError, with the cause, when its migrations can't be loaded, and for what the migrator would pass over.
    """
    served.check()
    return from_loader(load_files(), build, commit)


def load_files() -> AtomLoader:
    """Return the loaded migration files of the project on the path. Raise UsageError, with the cause, when they can't be loaded."""
    from .graph import AtomLoader

    try:
        return AtomLoader()
    except Exception as error:  # whatever the project's own files raise
        raise UsageError(f"the project's migrations do not load: {cause(error)}") from error


def hashes(loader: AtomLoader) -> Mapping[str, str]:
    """Return the sha256 of each migration file that `loader` has loaded, by migration."""
    return {f"{app}.{name}": _sha256(loader, (app, name)) for app, name in loader.disk_migrations}


def from_loader(loader: AtomLoader, build: str, commit: str | None = None) -> Manifest:
    """Return the manifest of the files that `loader` has loaded."""
    import django

    order = _order(loader)
    told = losses(loader, order)
    return Manifest(
        build=build,
        commit=commit or None,
        django=django.get_version(),
        migrations=tuple(_describe(loader, key, told.get(key, Loss())) for key in order),
    )


def _order(loader: AtomLoader) -> list[tuple[str, str]]:
    """Return every migration on disk: the atoms in Django's own order, and behind what they replace those that are none."""
    order: dict[tuple[str, str], None] = {}
    for leaf in loader.graph.leaf_nodes():
        order |= dict.fromkeys(loader.graph.forwards_plan(leaf))
    aside = [key for key in sorted(loader.disk_migrations) if key not in order]
    found = list(order)
    for key in sorted(aside, key=lambda one: len(loader.disk_migrations[one].replaces)):
        inside = [found.index(one) for one in map(tuple, loader.disk_migrations[key].replaces) if one in found]
        found.insert(max(inside, default=len(found) - 1) + 1, key)
    return found


def _describe(loader: AtomLoader, key: tuple[str, str], told: Loss) -> Migration:
    migration = loader.disk_migrations[key]
    rollback = getattr(migration, "rollback", None)
    if rollback is not None and not (isinstance(rollback, str) and rollback.strip()):
        raise UsageError(f"{migration}: `rollback` must be a text that says why losing the way back is acceptable")
    # The graph knows better than the file: it has __first__ resolved and other migrations' run_before turned round.
    node = loader.graph.node_map.get(key)
    parents = (parent.key for parent in node.parents) if node else migration.dependencies
    return Migration(
        app=key[0],
        name=key[1],
        sha256=_sha256(loader, key),
        dependencies=tuple(sorted(f"{app}.{name}" for app, name in parents)),
        replaces=tuple(f"{app}.{name}" for app, name in migration.replaces),
        atomic=bool(migration.atomic),
        irreversible=tuple(irreversible(migration)),
        lossy=told.lossy,
        holds=told.holds,
        rollback=rollback,
        again=() if migration.atomic else tuple(again(migration)),
        effect=effect.of(migration),
        breaks=told.breaks,
    )


def _sha256(loader: AtomLoader, key: tuple[str, str]) -> str:
    module = sys.modules[f"{loader.migrations_module(key[0])[0]}.{key[1]}"]
    path = Path(module.__file__ or "")
    if path.suffix != ".py":
        raise UsageError(f"{key[0]}.{key[1]} has no source file: migrations must be shipped as .py files")
    return hashlib.sha256(path.read_bytes()).hexdigest()
