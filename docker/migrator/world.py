"""What is known of a database and its builds, in one vocabulary: what each file stands for, what is applied, who applied it.

Squashed migrations make names ambiguous: the same schema is called `a.1, a.2` by one build and `a.1_squashed` by another. So everything is
said in *originals*: a migration that replaces others stands for these, expanded recursively, by the union of what any known manifest says.
Pure, like all that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

from .manifest.document import Manifest, Migration
from .manifest.squash import expanded


@dataclass(frozen=True)
class Applied:
    """What the ledger says of the run that applied a migration; `key` is the squashed migration that was run in its place."""

    build: str
    digest: str
    sha256: str
    key: str = ""
    when: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Started:
    """A run outside a transaction that the ledger saw begin and not end: which direction, by whom, when (ISO 8601)."""

    direction: str
    by: Applied
    when: str = ""


class KnowsSquashes(Protocol):
    """What can say what squashed migrations replace: a manifest, or a build whose manifest nobody has read yet."""

    @property
    def replaces(self) -> Mapping[str, tuple[str, ...]]: ...


class SeenBuild(KnowsSquashes, Protocol):
    """A build that has run against this database."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def text(self) -> str | None:
        """The manifest as it was read, which may be all that a comparison needs."""

    @property
    def digest(self) -> str: ...

    @property
    def first_seen(self) -> datetime | None: ...


@dataclass(frozen=True)
class Build:
    """A build that has run against this database, with its manifest."""

    manifest: Manifest
    digest: str = ""
    first_seen: datetime | None = None

    @property
    def replaces(self) -> Mapping[str, tuple[str, ...]]:
        return self.manifest.replaces

    @property
    def text(self) -> str | None:
        return self.manifest.text


@dataclass(frozen=True)
class Facts:
    """What the database says: `rows` of django_migrations and `builds`, both oldest first; `ledger` by original migration.

    `started` holds, by migration, what was begun outside a transaction, and not seen to end.
    """

    rows: tuple[str, ...] = ()
    ledger: Mapping[str, Applied] = field(default_factory=dict)
    builds: Mapping[str, SeenBuild] = field(default_factory=dict)
    started: Mapping[str, Started] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """One atom of a build: what it provides and what it needs, in originals."""

    migration: Migration
    provides: frozenset[str]
    needs: frozenset[str]

    @property
    def key(self) -> str:
        return self.migration.key


class Names:
    """What migrations stand for, by all that is known at once."""

    def __init__(self, sources: Iterable[KnowsSquashes]) -> None:
        self.replaces: dict[str, tuple[str, ...]] = {}
        for source in sources:
            for key, inside in source.replaces.items():
                known = self.replaces.get(key, ())
                self.replaces[key] = (*known, *(one for one in inside if one not in known))
        self._expanded: dict[str, frozenset[str]] = {}

    def originals(self, key: str) -> frozenset[str]:
        """Return what `key` stands for: itself where it replaces nothing."""
        found = self._expanded.get(key)
        if found is None:
            found = self._expanded[key] = expanded(key, self.replaces) if key in self.replaces else frozenset((key,))
        return found

    @cached_property
    def squashes(self) -> Mapping[str, tuple[str, ...]]:
        """The squashed migrations that each original is part of."""
        found: dict[str, tuple[str, ...]] = {}
        for squash in sorted(self.replaces):
            for original in self.originals(squash):
                found[original] = (*found.get(original, ()), squash)
        return found

    def state(self, rows: Iterable[str]) -> frozenset[str]:
        """Return the originals that `rows` of django_migrations say are applied.

        A squashed migration's row counts only where none of its originals is there: beside them it is derived, and stale where some of
        them are gone again (Django writes such rows and never takes them back).
        """
        found: set[str] = set()
        squashed = []
        for row in rows:
            if row in self.replaces:
                squashed.append(row)
            else:
                found.add(row)
        for row in sorted(squashed, key=lambda one: (len(self.originals(one)), one)):
            if not self.originals(row) & found:
                found |= self.originals(row)
        return frozenset(found)

    def rows(self, state: Iterable[str], touched: Iterable[str]) -> Mapping[str, bool]:
        """Return which rows belong there (or do not) for `state`, of the originals `touched` and the squashed ones they are part of."""
        wanted: dict[str, bool] = {}
        state = state if isinstance(state, (set, frozenset)) else frozenset(state)
        squashes: dict[str, bool] = {}
        for original in sorted(touched):
            wanted[original] = original in state
            for squash in self.squashes.get(original, ()):
                if squash not in squashes:
                    squashes[squash] = self.originals(squash) <= state
        return wanted | squashes

    def units(self, manifest: Manifest) -> tuple[Unit, ...]:
        """Return the atoms of a build, in its order."""
        return tuple(
            Unit(
                migration,
                self.originals(migration.key),
                frozenset().union(*(self.originals(parent) for parent in migration.dependencies))
                - self.originals(migration.key),
            )
            for migration in manifest.atoms
        )

    def target(self, manifest: Manifest) -> frozenset[str]:
        """Return what is applied once the build's migrations are."""
        return frozenset().union(*(self.originals(migration.key) for migration in manifest.atoms))


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


def by_original(ledger: Mapping[str, Applied], names: Names) -> Mapping[str, Applied]:
    """Return the ledger by original, where `names` knows more squashed migrations than who wrote it down."""
    found = {key: applied for key, applied in ledger.items() if key not in names.replaces}
    for key, applied in ledger.items():
        if key in names.replaces:
            for original in names.originals(key):
                found.setdefault(original, Applied(applied.build, applied.digest, applied.sha256, applied.key or key))
    return found


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
