"""A database that exists in thought only, and the search for a route by trying everything: what `plan.route` is measured against."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from migrator.decision.facts import Applied, Build, Facts
from migrator.decision.names import Names, Unit
from migrator.decision.steps import Phase
from migrator.decision.world import World
from migrator.manifest import Manifest


@dataclass
class Simulated:
    """What a database would say: its rows, its ledger and the builds that it has met."""

    rows: list[str] = field(default_factory=list)
    entries: list[tuple[str, str, Applied]] = field(default_factory=list)
    builds: dict[str, Build] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        return Names(build.manifest for build in self.builds.values())

    @property
    def ledger(self) -> dict[str, Applied]:
        """Who applied what, in originals, as far as anybody knows today what a squashed migration stands for."""
        names, found = self.names, {}
        for direction, key, ran in self.entries:
            for one in names.originals(key):
                found.pop(one, None)
                if direction == "forward":
                    found[one] = replace(ran, key=key if key in names.replaces else "")
        return found

    def facts(self) -> Facts:
        return Facts(tuple(self.rows), self.ledger, dict(self.builds))

    def meet(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            self.builds.setdefault(manifest.build, Build(manifest, f"sha256:{manifest.build}"))

    def fill(self, manifest: Manifest, *, by: str) -> None:
        """Be what an empty database is after `manifest`'s build ran: by our migrator, or by plain Django with no ledger."""
        for migration in manifest.atoms:
            if by == "django":
                self.rows += [one for one in migration.replaces if one not in self.rows]
                self.rows.append(migration.key)
        if by != "django":
            self.meet(manifest)
            self.run(Phase(manifest.build, "forward", tuple(one.key for one in manifest.atoms)))
        elif any(migration.replaces for migration in manifest.migrations):
            # Django writes the squashed migration's row, too, where it is not an atom.
            there = set(self.rows)
            self.rows += [m.key for m in manifest.migrations if m.key not in there and there.issuperset(m.replaces)]

    def run(self, phase: Phase) -> None:
        """Do what a phase says. Fail where a real database or Django would: a missing file, a missing table, a table too many."""
        names = self.names
        manifest = self.builds[phase.build].manifest
        units = {unit.key: unit for unit in names.units(manifest)}
        state = set(names.state(self.rows))
        touched = set(state)  # the first segment makes the rows of all that is applied explicit
        for key in phase.migrations:
            assert key in units, f"build {phase.build} does not run {key} alone"
            unit = units[key]
            touched |= unit.provides
            if phase.direction == "forward":
                assert not unit.provides & state, f"{key} is applied in part"
                assert unit.needs <= state, f"{key} stands on {sorted(unit.needs - state)}"
                state |= unit.provides
            else:
                assert unit.provides <= state, f"{key} is not applied"
                assert not manifest[key].irreversible
                state -= unit.provides
                dependent = self.dependents(unit.provides, state) | {
                    one for other in units.values() for one in other.provides & state if other.needs & unit.provides
                }
                assert not dependent, f"{key} is undone under {sorted(dependent)}"
            ran = Applied(phase.build, f"sha256:{phase.build}", manifest[key].sha256)
            self.entries.append((phase.direction, key, ran))
        belongs = names.rows(frozenset(state), touched)
        self.rows = [row for row in self.rows if belongs.get(row, True)]
        self.rows += [row for row, there in belongs.items() if there and row not in self.rows]

    def dependents(self, gone: frozenset[str] | set[str], state: set[str]) -> set[str]:
        """Return what of `state` stands on `gone`, by the files that were applied (the newest known, where nobody noted which)."""
        names, ledger = self.names, self.ledger
        found = set()
        for one in state:
            by = ledger.get(one)
            known = [by.build] if by else []
            for name in (*known, *reversed(self.builds)):
                units = [unit for unit in names.units(self.builds[name].manifest) if one in unit.provides]
                if units:
                    found |= {one} if units[0].needs & gone else set()
                    break
        return found

    def must_go(self, target: frozenset[str]) -> frozenset[str]:
        """Return what is applied and not wanted, with all that stands on it."""
        names = self.names
        state = set(names.state(self.rows))
        gone = state - target
        while more := self.dependents(gone, state - gone):
            gone |= more
        return frozenset(gone)


def fewest(known: Simulated, wanted: Manifest, most: int, *, loose: bool) -> int | None:
    """Return the fewest phases in which `wanted` can be reached, None if in no more than `most`; one migration at a time, all tried.

    The rules: back first, only what must go, by builds that have the file that was applied, nothing under what stays; then forward,
    the files that `wanted` has where it has them.
    """
    world = World(known.facts(), wanted)
    target = world.names.target(wanted)
    must = known.must_go(target)
    start = (world.names.state(known.rows), "", "")
    best = {start: 0}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        state, build, direction = at
        if state == target:
            return best[at]
        for move, after in _moves(world, known, state, target, must, wanted, loose=loose):
            cost = best[at] + (move != (build, direction))
            new = (after, *move)
            if cost <= most and cost < best.get(new, most + 1):
                best[new] = cost
                if move == (build, direction):
                    waiting.appendleft(new)
                else:
                    waiting.append(new)
    return None


def _moves(
    world: World,
    known: Simulated,
    state: frozenset[str],
    target: frozenset[str],
    must: frozenset[str],
    wanted: Manifest,
    *,
    loose: bool,
) -> Iterator[tuple[tuple[str, str], frozenset[str]]]:
    for build in world.builds:
        for unit in world.units(build):
            if state & must and _may_undo(world, known, build, unit, state, must, loose=loose):
                yield (build, "back"), state - unit.provides
            if not state & must and unit.provides <= target - state and unit.needs <= state:
                same = wanted.by_key.get(unit.key)
                if same is None or same.sha256 == unit.migration.sha256:
                    yield (build, "forward"), state | unit.provides


def _may_undo(
    world: World, known: Simulated, build: str, unit: Unit, state: frozenset[str], must: frozenset[str], *, loose: bool
) -> bool:
    if not unit.provides <= must & state or unit.migration.irreversible or not world.entitled(unit, loose=loose):
        return False
    left = set(state - unit.provides)
    return not known.dependents(unit.provides, left) and not any(
        other.needs & unit.provides for other in world.units(build) if other.provides & left
    )
