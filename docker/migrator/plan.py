"""Decides what to do. Pure: facts and manifests in, a decision out; nothing here reads or writes anything.

The order is always the same: *back*, by builds that have the files of what must go, then *forward*, by the build that is wanted. What
must go is what is applied and not wanted, and all that stands on it; nothing else is undone. Where no build can do all of that, several
do, over the fewest steps (a breadth-first search over what is applied); a build serves as a stepping stone forward, too, where the wanted
one has only the squashed migration of something that is applied in part. What these rules can't do, they refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from .manifest import Manifest, Migration
from .world import Applied, Build, Facts, KnowsSquashes, Names, Unit, World

__all__ = ["Applied", "Build", "Decision", "Facts", "Phase", "Segment", "back", "compare", "forward", "route"]

MAX_PHASES = 8  # the release function runs no more tasks for one request
MAX_STATES = 500  # that a search looks at before it gives up


@dataclass(frozen=True)
class Decision:
    """What this image is to do: `migrations` in the order to run; `status` is run, nothing, needs or refused.

    After `run`, `rest` says what is left for the build `needs`, which goes `needs_direction` (back or forward).
    """

    status: str
    migrations: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    needs: str | None = None
    needs_digest: str | None = None
    needs_direction: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Segment:
    """Migrations that run in one transaction, or, if not `atomic`, one migration that runs outside any."""

    atomic: bool
    migrations: tuple[str, ...]


@dataclass(frozen=True)
class Phase:
    """One call of one build's image."""

    build: str
    direction: str
    migrations: tuple[str, ...]


def compare(
    rows: Iterable[str], wanted: Manifest, others: Iterable[KnowsSquashes] = ()
) -> tuple[str, list[str], list[str]]:
    """Return how `rows` stand to `wanted` (in step, ahead, behind, diverged), what is missing and what is extra.

    `others`: manifests that know of squashed migrations which `wanted` does not.
    """
    names = Names((*others, wanted))
    rows = list(dict.fromkeys(rows))
    state, target = names.state(rows), names.target(wanted)
    missing = [migration.key for migration in wanted.atoms if not names.originals(migration.key) <= state]
    extra = [row for row in rows if row in state and row not in target]
    extra += sorted(state - target - {*extra})  # applied by the squashed migration's row alone
    if missing and extra:
        return "diverged", missing, extra
    return ("behind" if missing else "ahead" if extra else "in step"), missing, extra


def forward(
    facts: Facts, image: Manifest, wanted: Manifest, *, accept_loss: bool = False, via: Iterable[Manifest] = ()
) -> Decision:
    """Decide what the build `image` applies so that the database is what `wanted` wants."""
    world = World(facts, *via, wanted, image)
    phases, reason = _route(world, image, wanted)
    if reason:
        return _nobody_knows(world, wanted) or Decision("refused", reason=reason)
    if not phases:
        return Decision("nothing")
    first, *others = phases
    if first.build != image.build or first.direction != "forward":
        return _handed_over(world, first, image, wanted)
    if facts.rows and not accept_loss:
        reason = _gate(image[key] for key in first.migrations)
        if reason:
            return Decision("refused", reason=reason)
    decision = Decision("run", first.migrations)
    return _and_then(decision, world, others, image, wanted)


def back(facts: Facts, image: Manifest, wanted: Manifest, *, via: Iterable[Manifest] = ()) -> Decision:
    """Decide what the build `image` undoes of what `wanted` does not want.

    Refused when nobody could finish, what comes after included: nothing is undone that would strand the database between two builds.
    """
    world = World(facts, *via, wanted, image)
    if world.applied <= world.names.target(wanted):
        return Decision("nothing")
    phases, reason = _route(world, image, wanted)
    if reason:
        return Decision("refused", reason=reason)
    first, *others = phases
    if first.build != image.build:
        return _handed_over(world, first, image, wanted)
    decision = Decision("run", first.migrations)
    return _and_then(decision, world, [phase for phase in others if phase.direction == "back"], image, wanted)


def route(
    facts: Facts, image: Manifest, wanted: Manifest, *, accept_loss: bool = False, via: Iterable[Manifest] = ()
) -> tuple[tuple[Phase, ...], Decision]:
    """Return the phases from here to `wanted`, each by the build that must run it, and the decision they end with."""
    world = World(facts, *via, wanted, image)
    phases, reason = _route(world, image, wanted)
    if reason:
        return (), Decision("refused", reason=reason)
    if not phases:
        return (), Decision("nothing")
    for phase in phases:
        if phase.direction == "forward" and facts.rows and not accept_loss:
            reason = reason or _gate(world.builds[phase.build][key] for key in phase.migrations)
    return tuple(phases), Decision("refused", reason=reason) if reason else Decision("run", phases[-1].migrations)


def interrupted(facts: Facts) -> str | None:
    """Return why nothing can be decided: of some migration nobody knows how much of it is there, and nobody can find out."""
    for key, started in facts.started.items():
        if _mended_by(facts, key):
            continue
        what = "apply" if started.direction == "forward" else "undo"
        return (
            f"{key}: build {started.by.build} began to {what} it at {started.when[:19]}, outside a transaction, and nobody saw it end, "
            "so a part of it may be there: clear that away, or make sure that its operations bear it (IF EXISTS), and pass --resume"
        )
    return None


def hand_over_interrupted(facts: Facts, image: Manifest) -> Decision | None:
    """Return that another build must go on, where only that build can run again what it was interrupted in."""
    for key in facts.started:
        build = _mended_by(facts, key)
        if build and build != image.build:
            reason = f"{key}: build {build} was interrupted in it, outside a transaction, and must run it again first"
            digest = facts.builds[build].digest or None
            return Decision("needs", needs=build, needs_digest=digest, needs_direction="back", reason=reason)
    return None


def _mended_by(facts: Facts, key: str) -> str | None:
    """Return the build that began `key`, if that bears to be run again."""
    by = facts.started[key].by
    known = facts.builds.get(by.build)
    migration = known.manifest.by_key.get(key) if known else None
    return by.build if migration and migration.again and migration.sha256 == by.sha256 else None


def resumed(facts: Facts, wanted: Manifest, names: Names) -> Facts:
    """Return `facts` as if each interrupted migration had to be run again: applied where `wanted` wants it, else undone."""
    rows, ledger = dict.fromkeys(facts.rows), dict(facts.ledger)
    target = names.target(wanted)
    for key, started in facts.started.items():
        for one in sorted(names.originals(key)):
            if one in target:
                rows.pop(one, None)
                ledger.pop(one, None)
            else:
                rows[one] = None
                ledger.setdefault(one, started.by)
        if key in names.replaces and names.originals(key) <= target:
            rows.pop(key, None)
    return replace(facts, rows=tuple(rows), ledger=ledger, started={})


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


def segments(
    order: Iterable[str], image: Manifest, *, together: bool, transactional: bool = True
) -> tuple[Segment, ...]:
    """Cut `order` into what runs in one transaction.

    `together`: the database can run several migrations in one; `transactional`: it can undo changes of the schema at all.
    """
    cut: list[Segment] = []
    for key in order:
        atomic = image[key].atomic and transactional
        if cut and together and atomic and cut[-1].atomic:
            cut[-1] = Segment(True, (*cut[-1].migrations, key))
        else:
            cut.append(Segment(atomic, (key,)))
    return tuple(cut)


def changed(facts: Facts, wanted: Manifest) -> list[str]:
    """Return the applied migrations whose file in `wanted` is not the one that was applied."""
    there = set(facts.rows)
    return [
        key
        for key, applied in facts.ledger.items()
        if key in wanted and not applied.key and applied.sha256 != wanted[key].sha256 and key in there
    ]


# --- The route: what must go, what each build can do, the fewest steps ---


def _route(world: World, image: Manifest, wanted: Manifest) -> tuple[list[Phase], str | None]:
    """Return the phases, or why there are none."""
    reason = _two_leaves(wanted) or _out_of_order(world, wanted)
    if reason:
        return [], reason
    target = world.names.target(wanted)
    must = _must_go(world, world.applied, target)
    reason = _would_lose(world, must & target, wanted)
    if reason:
        return [], reason
    # Whatever the way back, it ends at the same place; so both halves have their own search.
    middle = world.applied - must
    if any(not _somebody(world, one) for one in must):
        return [], _no_way(world, target, wanted)
    ways = [
        _search(world, world.applied, middle, _ways_back(world, middle, image.build, loose))
        for loose in (False, True)
        if must
    ]
    back: list[Phase] | None = next((way for way in ways if way is not None), None if must else [])
    onward = None if back is None else _search(world, middle, target, _ways_forward(world, target, image.build, wanted))
    if back is None or onward is None or len(back) + len(onward) > MAX_PHASES:
        return [], _no_way(world, target, wanted)
    return [*back, *onward], None


Moves = Callable[[frozenset[str]], Iterator[tuple[Phase, frozenset[str]]]]


def _search(world: World, start: frozenset[str], goal: frozenset[str], moves: Moves) -> list[Phase] | None:
    """Return the fewest phases from `start` to `goal`, breadth first; of as many, those whose builds `moves` names first."""
    waiting: list[tuple[frozenset[str], list[Phase]]] = [(start, [])]
    seen = {start}
    # Who does more leaves less to do, unless what is left is half of a squashed migration.
    more_is_better = not world.names.squashes.keys() & (start ^ goal)
    for state, phases in waiting:  # grows while it is walked
        if state == goal:
            return phases
        if len(phases) == MAX_PHASES or len(waiting) > MAX_STATES:
            continue
        found: dict[frozenset[str], list[Phase]] = {}
        for phase, after in moves(state):
            if after == goal:
                return [*phases, phase]
            if after not in seen:
                seen.add(after)
                found[after] = [*phases, phase]
        left = {after: after ^ goal for after in found}
        for after, way in found.items():
            if not more_is_better or not any(other < left[after] for other in left.values()):
                waiting.append((after, way))
    return None


def _somebody(world: World, original: str) -> bool:
    """Return whether any build has a file with which it might undo `original`."""
    units = (world.unit(build, original) for build in (*world.at_hand, *reversed(world.builds)))
    return any(unit and not unit.migration.irreversible and world.entitled(unit, loose=True) for unit in units)


def _ways_back(world: World, middle: frozenset[str], image: str, loose: bool) -> Moves:
    def moves(state: frozenset[str]) -> Iterator[tuple[Phase, frozenset[str]]]:
        must = state - middle
        for build in _candidates(world, must, image):
            units = _undoable(world, build, state, must, loose=loose)
            if units:
                order = tuple(unit.key for unit in units)
                yield Phase(build, "back", order), state.difference(*(unit.provides for unit in units))

    return moves


def _ways_forward(world: World, target: frozenset[str], image: str, wanted: Manifest) -> Moves:
    def moves(state: frozenset[str]) -> Iterator[tuple[Phase, frozenset[str]]]:
        for build in dict.fromkeys((image, wanted.build, *reversed(world.builds))):
            units = _applicable(world, build, state, target, wanted)
            if units:
                order = tuple(unit.key for unit in units)
                yield Phase(build, "forward", order), state.union(*(unit.provides for unit in units))

    return moves


def _must_go(world: World, state: frozenset[str], target: frozenset[str]) -> frozenset[str]:
    """Return what is applied and not wanted, and what stands on it."""
    waiting = list(state - target)
    must = set(waiting)
    while waiting:
        for child in world.children.get(waiting.pop(), ()):
            if child in state and child not in must:
                must.add(child)
                waiting.append(child)
    return frozenset(must)


def _candidates(world: World, must: frozenset[str], image: str) -> Iterable[str]:
    """Return the builds to ask, best first."""
    rows = [row for row in reversed(world.facts.rows) if row in must]
    applied = [world.ledger[row].build for row in rows if row in world.ledger]
    return dict.fromkeys((image, *(build for build in applied if build in world.builds), *reversed(world.builds)))


def _undoable(world: World, build: str, state: frozenset[str], must: frozenset[str], *, loose: bool) -> list[Unit]:
    """Return what `build` can undo of `must`, newest first: it has the files, they have a way back, and nothing that stays stands on it."""
    blind = world.blind(build, state)
    chosen = {
        unit.key: unit
        for unit in reversed(world.units(build))
        if unit.provides <= must
        and not unit.migration.irreversible
        and unit.migration.app not in blind
        and world.entitled(unit, loose=loose)
    }
    held: set[str] = set()
    waiting = list(state.difference(*(unit.provides for unit in chosen.values())))
    while chosen and waiting:
        for one in waiting:
            stays = world.unit(build, one)
            held |= world.parents(one) | (stays.needs if stays else frozenset())
        waiting = [one for key, unit in chosen.items() if unit.provides & held for one in unit.provides]
        chosen = {key: unit for key, unit in chosen.items() if not unit.provides & held}
    return list(chosen.values())


def _applicable(
    world: World, build: str, state: frozenset[str], target: frozenset[str], wanted: Manifest
) -> list[Unit]:
    """Return what `build` can apply of what is missing, in its order: as the wanted build has it, on what is there."""
    missing = target - state
    if not missing:
        return []
    blind = world.blind(build, state)
    there, chosen = set(state), []
    for unit in world.units(build):
        if not unit.provides <= missing or not unit.needs <= there or unit.migration.app in blind:
            continue
        as_wanted = wanted.by_key.get(unit.key)
        if as_wanted is not None and as_wanted.sha256 != unit.migration.sha256:
            continue
        chosen.append(unit)
        there |= unit.provides
    return chosen


# --- Words for it ---


def _handed_over(world: World, phase: Phase, image: Manifest, wanted: Manifest) -> Decision:
    reason = _why(world, phase, image, wanted)
    return Decision(
        "needs",
        needs=phase.build,
        needs_digest=world.digest(phase.build),
        needs_direction=phase.direction,
        reason=reason,
    )


def _and_then(decision: Decision, world: World, others: list[Phase], image: Manifest, wanted: Manifest) -> Decision:
    if not others:
        return decision
    after = _handed_over(world, others[0], image, wanted)
    rest = tuple(key for phase in others for key in phase.migrations)
    return replace(after, status="run", migrations=decision.migrations, rest=rest)


def _nobody_knows(world: World, wanted: Manifest) -> Decision | None:
    """Return what to say where something must go that neither the ledger nor any known build has heard of: the caller may know one."""
    extra = [row for row in reversed(world.facts.rows) if row in world.applied - world.names.target(wanted)]
    if not extra or any(row in world.ledger or any(world.unit(build, row) for build in world.builds) for row in extra):
        return None
    more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
    reason = (
        f"{extra[0]}{more}: applied, but not in build {wanted.build}, and the ledger does not know which build applied it; "
        "run `back` of a build that has it"
    )
    return Decision("needs", reason=reason, needs_direction="back")


def _why(world: World, phase: Phase, image: Manifest, wanted: Manifest) -> str:
    newest, *others = phase.migrations
    what = newest + (f" and {len(others)} more" if others else "")
    if phase.direction == "back":
        return f"{what}: applied, but not in build {wanted.build}; build {phase.build} must undo it first"
    if phase.build == wanted.build:
        return f"{newest} is not in build {image.build} as build {wanted.build} has it: that build must apply it"
    return f"{what}: build {phase.build} must apply it first, of which build {wanted.build} has only the squashed migration"


def _no_way(world: World, target: frozenset[str], wanted: Manifest) -> str:
    """Return why nobody can take the database to `target`."""
    must = _must_go(world, world.applied, target)
    for key in [row for row in reversed(world.facts.rows) if row in must] + sorted(must - {*world.facts.rows}):
        start = f"{key} is applied, but not in build {wanted.build}"
        having = [build for build in _candidates(world, must, wanted.build) if world.unit(build, key)]
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


def _would_lose(world: World, redo: frozenset[str], wanted: Manifest) -> str | None:
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


def _two_leaves(manifest: Manifest) -> str | None:
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


def _in_part(world: World, build: str, original: str) -> bool:
    """Return whether something is applied of the atom of `build` that provides `original`."""
    unit = world.unit(build, original)
    return unit is not None and bool(unit.provides & world.applied)


def _out_of_order(world: World, wanted: Manifest) -> str | None:
    """Return which wanted migration is applied before one it depends on; `run_before` can do that to an existing database."""
    stays = world.applied - _must_go(world, world.applied, world.names.target(wanted))
    for unit in world.units(wanted.build):
        if unit.needs <= world.applied:
            continue
        # Of a squashed migration that is applied in part, what was needed is there: a stepping stone may apply the rest.
        lacking = sorted(one for one in unit.needs - world.applied if not _in_part(world, wanted.build, one))
        if unit.provides <= stays and lacking:
            return f"{unit.key} is applied, but {lacking[0]}, on which it depends in build {wanted.build}, is not"
    return None


def _gate(migrations: Iterable[Migration]) -> str | None:
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
