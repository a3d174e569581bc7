"""Facts and manifests, put together for one decision: what is applied, who applied it, what stands on what, who may undo it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from ..manifest.document import Manifest
from .facts import Applied, Build, Facts, SeenBuild
from .names import Names, Unit
from .provenance import by_original


class Manifests(Mapping[str, Manifest]):
    """The manifests of builds, oldest first; one that the database holds is read when it is asked for."""

    def __init__(self, builds: Mapping[str, SeenBuild], manifests: Iterable[Manifest]) -> None:
        self._builds: dict[str, SeenBuild] = dict(builds)
        # A manifest that is passed wins over what is stored under its name, and the newest build is asked first.
        for manifest in manifests:
            self._builds.pop(manifest.build, None)
            self._builds[manifest.build] = Build(manifest)

    def __getitem__(self, name: str) -> Manifest:
        return self._builds[name].manifest

    def __iter__(self) -> Iterator[str]:
        return iter(self._builds)

    def __len__(self) -> int:
        return len(self._builds)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._builds)

    def __contains__(self, name: object) -> bool:
        return name in self._builds

    def names(self) -> Names:
        """Return what migrations stand for, by all of them."""
        return Names(self._builds.values())


class World:
    """Facts and manifests, put together for one decision."""

    def __init__(self, facts: Facts, *manifests: Manifest) -> None:
        self.facts = facts
        self.at_hand = tuple(manifest.build for manifest in reversed(manifests))
        self.builds = Manifests(facts.builds, manifests)
        self.names = self.builds.names()
        self.ledger = by_original(facts.ledger, self.names)
        self.applied = self.names.state(facts.rows)
        self._units: dict[str, tuple[Unit, ...]] = {}
        self._by_original: dict[str, dict[str, Unit]] = {}
        self._parents: dict[str, frozenset[str]] = {}

    def units(self, build: str) -> tuple[Unit, ...]:
        """Return the atoms of the build named `build`."""
        if build not in self._units:
            self._units[build] = self.names.units(self.builds[build])
        return self._units[build]

    def unit(self, build: str, original: str) -> Unit | None:
        """Return the atom of `build` that provides `original`."""
        if build not in self._by_original:
            self._by_original[build] = {one: unit for unit in self.units(build) for one in unit.provides}
        return self._by_original[build].get(original)

    def digest(self, build: str) -> str | None:
        """Return the digest that the database noted for a build."""
        known = self.facts.builds.get(build)
        return (known.digest if known else "") or None

    def parents(self, original: str) -> frozenset[str]:
        """Return what `original`, which is applied, stands on: by a build at hand that has the file that was applied, else by the build
        that applied it, else by the newest that has it.
        """
        if original not in self._parents:
            by = self.ledger.get(original)
            found = next((unit for build in self.at_hand if (unit := self._same(build, original, by))), None)
            known = [by.build] if by and by.build in self.builds else []
            for build in (*known, *reversed(self.builds)):
                found = found or self.unit(build, original)
                if found:
                    break
            self._parents[original] = found.needs if found else frozenset()
        return self._parents[original]

    def _same(self, build: str, original: str, by: Applied | None) -> Unit | None:
        unit = self.unit(build, original)
        if unit and by and (by.key or original) == unit.key and by.sha256 == unit.migration.sha256:
            return unit
        return None

    @cached_property
    def children(self) -> Mapping[str, list[str]]:
        """What stands on each migration, of what is applied."""
        found: dict[str, list[str]] = {}
        for original in sorted(self.applied):
            for parent in self.parents(original):
                found.setdefault(parent, []).append(original)
        return found

    def blind(self, build: str, state: frozenset[str]) -> frozenset[str]:
        """Return the apps that `build` must not touch: it does not know all that is applied to them, or stands on them.

        Django works on the models as a build knows them. One that does not know of a column, or of another table's foreign key, would not
        take it along.
        """
        self.unit(build, "")
        unknown = list(state - self._by_original[build].keys())
        if not unknown:
            return frozenset()
        apps, seen = set(), set(unknown)
        while unknown:
            one = unknown.pop()
            apps.add(one.split(".", 1)[0])
            for parent in self.parents(one) - seen:
                seen.add(parent)
                unknown.append(parent)
        return frozenset(apps)

    def entitled(self, unit: Unit, *, loose: bool) -> bool:
        """Return whether a build with `unit` may undo it: it has the file that was applied, or nobody knows which that was.

        `loose`: also where originals were applied and this is their squashed migration, or the other way round.
        """
        for original in unit.provides:
            applied = self.ledger.get(original)
            if applied is None:
                continue
            ran = applied.key or original
            if ran == unit.key and applied.sha256 != unit.migration.sha256:
                return False
            if ran != unit.key and not loose:
                return False
        return True

    def must_go(self, state: frozenset[str], target: frozenset[str]) -> frozenset[str]:
        """Return what is applied in `state` and not in `target`, and what stands on it."""
        waiting = list(state - target)
        must = set(waiting)
        while waiting:
            for child in self.children.get(waiting.pop(), ()):
                if child in state and child not in must:
                    must.add(child)
                    waiting.append(child)
        return frozenset(must)

    def candidates(self, must: frozenset[str], image: str) -> Iterable[str]:
        """Return the builds to ask to undo `must`, best first: this image, who applied the newest of it, the newest."""
        rows = [row for row in reversed(self.facts.rows) if row in must]
        applied = [self.ledger[row].build for row in rows if row in self.ledger]
        return dict.fromkeys((image, *(build for build in applied if build in self.builds), *reversed(self.builds)))
