"""What is known of a database and its builds, in one vocabulary: what each file stands for, what is applied, who applied it.

Squashed migrations make names ambiguous: the same schema is called `a.1, a.2` by one build and `a.1_squashed` by another. So everything is
said in *originals*: a migration that replaces others stands for these, expanded recursively, by the union of what any known manifest says.
Pure, like all that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .manifest import Manifest, Migration
from .squash import expanded


@dataclass(frozen=True)
class Applied:
    """What the ledger says of the run that applied a migration; `key` is the squashed migration that was run in its place."""

    build: str
    digest: str
    sha256: str
    key: str = ""


@dataclass(frozen=True)
class Build:
    """A build that has run against this database."""

    manifest: Manifest
    digest: str = ""


@dataclass(frozen=True)
class Facts:
    """What the database says: `rows` of django_migrations and `builds`, both oldest first; `ledger` by original migration."""

    rows: tuple[str, ...] = ()
    ledger: Mapping[str, Applied] = field(default_factory=dict)
    builds: Mapping[str, Build] = field(default_factory=dict)


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
    """What migrations stand for, by all manifests at once."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self.replaces: dict[str, tuple[str, ...]] = {}
        for manifest in manifests:
            for migration in manifest.migrations:
                if migration.replaces:
                    known = self.replaces.get(migration.key, ())
                    self.replaces[migration.key] = (*known, *(one for one in migration.replaces if one not in known))
        self._expanded: dict[str, frozenset[str]] = {}

    def originals(self, key: str) -> frozenset[str]:
        """Return what `key` stands for: itself where it replaces nothing."""
        if key not in self.replaces:
            return frozenset((key,))
        if key not in self._expanded:
            self._expanded[key] = expanded(key, self.replaces)
        return self._expanded[key]

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

    def rows(self, state: frozenset[str], touched: Iterable[str]) -> Mapping[str, bool]:
        """Return which rows belong there (or do not) for `state`, of the originals `touched` and the squashed ones they are part of."""
        wanted: dict[str, bool] = {}
        for original in touched:
            wanted[original] = original in state
            for squash in self.squashes.get(original, ()):
                wanted[squash] = self.originals(squash) <= state
        return wanted

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


class World:
    """Facts and manifests, put together for one decision."""

    def __init__(self, facts: Facts, *manifests: Manifest) -> None:
        self.facts = facts
        # A manifest that is passed wins over what is stored under its name, and the newest build is asked first.
        self.builds: dict[str, Manifest] = {name: build.manifest for name, build in facts.builds.items()}
        for manifest in manifests:
            self.builds.pop(manifest.build, None)
            self.builds[manifest.build] = manifest
        self.names = Names(self.builds.values())
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
        """Return what `original`, which is applied, stands on: by the build that applied it, else by the newest that has it."""
        if original not in self._parents:
            by = self.facts.ledger.get(original)
            known = [by.build] if by and by.build in self.builds else []
            found: Unit | None = None
            for build in (*known, *reversed(self.builds)):
                found = self.unit(build, original)
                if found:
                    break
            self._parents[original] = found.needs if found else frozenset()
        return self._parents[original]

    def entitled(self, unit: Unit, *, loose: bool) -> bool:
        """Return whether a build with `unit` may undo it: it has the file that was applied, or nobody knows which that was.

        `loose`: also where originals were applied and this is their squashed migration, or the other way round.
        """
        for original in unit.provides:
            applied = self.facts.ledger.get(original)
            if applied is None:
                continue
            ran = applied.key or original
            if ran == unit.key and applied.sha256 != unit.migration.sha256:
                return False
            if ran != unit.key and not loose:
                return False
        return True
