"""Whether a build may have this database: what would be lost or would never happen is refused, unless somebody accepts it."""

from __future__ import annotations

from collections.abc import Iterable

from ..manifest.document import Manifest, Migration
from .facts import Facts
from .standing import changed


def refusal(facts: Facts, wanted: Manifest) -> str | None:
    """Return why `wanted` is refused before anything is planned; None where it may go on."""
    return drops_an_app(facts, wanted) or edited(facts, wanted)


def drops_an_app(facts: Facts, wanted: Manifest) -> str | None:
    """Return why a build that this database has never met is refused: it has no migration of an app that has tables here.

    A rollback looks the same but for one thing: the build that it wants was here before. Without this, an ordinary deploy of a build
    that drops an app from INSTALLED_APPS would have the tables undone, with their data.
    """
    if wanted.build in facts.builds:
        return None
    apps = {migration.app for migration in wanted.migrations}
    for key in facts.rows:
        app = key.split(".", 1)[0]
        if app not in apps and key in facts.ledger:
            return (
                f"build {wanted.build} has no migration of the app {app}, whose tables build {facts.ledger[key].build} made: they would be "
                "undone with their data; keep the app until its tables are gone by a migration of its own, or pass --accept-loss"
            )
    return None


def edited(facts: Facts, wanted: Manifest) -> str | None:
    """Return why `wanted` is refused: a migration of it was applied here as another one, and what its file says now would never happen.

    An edit that no database sees is none, and neither is one of which nobody knows. A build that was here after the migration was applied
    was accepted with it.
    """
    accepted = facts.builds.get(wanted.build)
    for key in changed(facts, wanted):
        by = facts.ledger[key]
        if accepted and accepted.first_seen and by.when and accepted.first_seen > by.when:
            continue
        seen = facts.builds.get(by.build)
        was = seen.manifest.by_key.get(key) if seen else None
        if was is None or was.sha256 != by.sha256 or not was.effect or not wanted[key].effect:
            continue
        if was.effect != wanted[key].effect:
            return (
                f"{key} was applied by build {by.build}, and does something else in build {wanted.build}, which would never happen here: "
                "put the file back as it was and say the rest in a new migration, or pass --accept-loss"
            )
    return None


def gate(migrations: Iterable[Migration]) -> str | None:
    """Return which migration could not be undone again, so that last good could not come back as it was."""
    for migration in migrations:
        if migration.rollback:
            continue
        if migration.irreversible:
            return (
                f"{migration.key} could not be undone: {', '.join(migration.irreversible)} has no reverse; give it "
                'one, say `rollback = "why this is acceptable"` in the migration, or pass --accept-loss'
            )
        if migration.lossy:
            return (
                f"{migration.key} would lose data that no rollback brings back: {', '.join(migration.lossy)}; take it out in a later "
                'release, when nothing needs it, and say `rollback = "why this is acceptable"` in the migration, or pass --accept-loss'
            )
    return None
