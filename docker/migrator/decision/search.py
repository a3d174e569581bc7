"""Finds the phases from what is applied to what is wanted.

Where no build can do all of it, several do, over the fewest steps (a breadth-first search over what is applied); a build serves as a
stepping stone forward, too, where the wanted one has only the squashed migration of something that is applied in part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..manifest.document import Manifest
from . import reasons
from .names import Unit
from .steps import Phase
from .world import World

MAX_PHASES = 8  # the release function runs no more tasks for one request
MAX_STATES = 500  # that a search looks at before it gives up


def find(world: World, image: Manifest, wanted: Manifest) -> tuple[list[Phase], str | None]:
    """Return the phases that take the database to what `wanted` wants, or why there are none."""
    reason = reasons.two_leaves(wanted) or reasons.out_of_order(world, wanted)
    if reason:
        return [], reason
    target = world.names.target(wanted)
    must = world.must_go(world.applied, target)
    reason = reasons.would_lose(world, must & target, wanted)
    if reason:
        return [], reason
    # Whatever the way back, it ends at the same place; so both halves have their own search.
    middle = world.applied - must
    if any(not _somebody(world, one) for one in must):
        return [], reasons.no_way(world, target, wanted)
    ways = [
        _search(world, world.applied, middle, _ways_back(world, middle, image.build, loose))
        for loose in (False, True)
        if must
    ]
    back: list[Phase] | None = next((way for way in ways if way is not None), None if must else [])
    onward = None if back is None else _search(world, middle, target, _ways_forward(world, target, image.build, wanted))
    if back is None or onward is None or len(back) + len(onward) > MAX_PHASES:
        return [], reasons.no_way(world, target, wanted)
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
        for build in world.candidates(must, image):
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
