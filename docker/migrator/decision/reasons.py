"""Words for what can't be done, and for whom to ask instead."""

from __future__ import annotations

from ..manifest.document import Manifest
from .steps import Phase
from .world import World


def two_leaves(manifest: Manifest) -> str | None:
    """Return which app has two newest migrations; Django refuses that too."""
    parents = {(parent, migration.app) for migration in manifest.atoms for parent in migration.dependencies}
    newest: dict[str, str] = {}
    for migration in manifest.atoms:
        if (migration.key, migration.app) in parents:
            continue
        if migration.app in newest:
            return (
                f"build {manifest.build} has two newest migrations of app {migration.app}, {newest[migration.app]} "
                f"and {migration.key}: merge them with `makemigrations --merge`"
            )
        newest[migration.app] = migration.key
    return None


def out_of_order(world: World, wanted: Manifest) -> str | None:
    """Return which wanted migration is applied before one it depends on; `run_before` can do that to an existing database."""
    stays = world.applied - world.must_go(world.applied, world.names.target(wanted))
    for unit in world.units(wanted.build):
        if unit.needs <= world.applied:
            continue
        # Of a squashed migration that is applied in part, what was needed is there: a stepping stone may apply the rest.
        lacking = sorted(one for one in unit.needs - world.applied if not _in_part(world, wanted.build, one))
        if unit.provides <= stays and lacking:
            return f"{unit.key} is applied, but {lacking[0]}, on which it depends in build {wanted.build}, is not"
    return None


def would_lose(world: World, redo: frozenset[str], wanted: Manifest) -> str | None:
    """Return which wanted migration would have to be undone and done again, with the data that it holds."""
    for key in sorted(redo):
        for build in (wanted.build, *reversed(world.builds)):
            unit = world.unit(build, key)
            if unit and (unit.migration.holds or unit.migration.lossy or unit.migration.irreversible):
                below = min(world.parents(key) - world.names.target(wanted) or world.parents(key))
                return (
                    f"{key}, which build {wanted.build} wants, depends on {below}, which it does not want: undoing it would lose what "
                    f"{(unit.migration.holds or unit.migration.lossy or unit.migration.irreversible)[0]} holds; the histories have "
                    "diverged, which needs a person"
                )
    return None


def no_way(world: World, target: frozenset[str], wanted: Manifest) -> str:
    """Return why nobody can take the database to `target`."""
    must = world.must_go(world.applied, target)
    for key in [row for row in reversed(world.facts.rows) if row in must] + sorted(must - {*world.facts.rows}):
        start = f"{key} is applied, but not in build {wanted.build}"
        having = [build for build in world.candidates(must, wanted.build) if world.unit(build, key)]
        if not having:
            if key in world.names.squashes:
                return f"{start}, and no known build has its file alone; pass the manifest of one that has with --via"
            return f"{start}, and no known build has its file"
        applied = world.ledger.get(key)
        units = [unit for build in having if (unit := world.unit(build, key))]
        entitled = [unit for unit in units if world.entitled(unit, loose=True)]
        if not entitled and applied:
            return (
                f"{key}: applied, but not in build {wanted.build}; the ledger says that build {applied.build} applied it, which no "
                "longer has that file"
            )
        stuck = next((unit.migration for unit in entitled if unit.migration.irreversible), None)
        if stuck:
            accepted = f" (accepted: {stuck.rollback})" if stuck.rollback else ""
            return f"{stuck.key} can't be undone: {', '.join(stuck.irreversible)} has no reverse{accepted}"
        apps = [(build, unit.migration.app) for build in having if (unit := world.unit(build, key))]
        if all(app in world.blind(build, world.applied) for build, app in apps):
            unknown = min(one for one in world.applied if not world.unit(having[0], one))
            return f"{start}; build {having[0]} has its file, but does not know {unknown}, which is applied and would be left out"
        whole = next((unit for unit in entitled if not unit.provides <= must), None)
        if whole:
            keeps = ", ".join(sorted(unit_key for unit_key in whole.provides - must))
            return (
                f"{key} must go and {keeps} must stay, but known builds have only the squashed migration {whole.key} of both: pass the "
                "manifest of a build that has the originals with --via"
            )
    if must:
        return f"{', '.join(sorted(must))} must go, and no order of the known builds can undo it"
    return _no_way_forward(world, target, wanted)


def _no_way_forward(world: World, target: frozenset[str], wanted: Manifest) -> str:
    state = world.applied
    for unit in world.units(wanted.build):
        if unit.provides <= state:
            continue
        if unit.provides & state:
            lacking = ", ".join(sorted(unit.provides - state))
            return (
                f"build {wanted.build} has only the squashed migration {unit.key}, of which {lacking} is not applied yet: a build that "
                "has the originals must run first; pass its manifest with --via"
            )
        needed = sorted(unit.needs - state)
        if needed:
            return (
                f"{unit.key} depends on {needed[0]} in build {wanted.build}, which is neither applied nor in that build"
            )
    return f"build {wanted.build} can't be reached from {len(state)} applied migrations"


def why(world: World, phase: Phase, image: Manifest, wanted: Manifest) -> str:
    newest, *others = phase.migrations
    what = newest + (f" and {len(others)} more" if others else "")
    if phase.direction == "back":
        return f"{what}: applied, but not in build {wanted.build}; build {phase.build} must undo it first"
    if phase.build == wanted.build:
        return f"{newest} is not in build {image.build} as build {wanted.build} has it: that build must apply it"
    return f"{what}: build {phase.build} must apply it first, of which build {wanted.build} has only the squashed migration"


def _in_part(world: World, build: str, original: str) -> bool:
    """Return whether something is applied of the atom of `build` that provides `original`."""
    unit = world.unit(build, original)
    return unit is not None and bool(unit.provides & world.applied)
