"""What each migration stands for, in one vocabulary.

Squashed migrations make names ambiguous: the same schema is called `a.1, a.2` by one build and `a.1_squashed` by another. So everything is
said in *originals*: a migration that replaces others stands for these, expanded recursively, by the union of what any known manifest says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..manifest.document import Manifest, Migration
from ..manifest.squash import expanded
from .facts import KnowsSquashes


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
