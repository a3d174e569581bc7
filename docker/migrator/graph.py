"""The graph of a build's atoms: a squashed migration stands for its originals only where their files are gone.

Django chooses by what the database has: with nothing applied it runs the squashed migration, with a part applied the originals.
Ours always runs the originals where it can, so that one build has one graph, whatever the database has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db.migrations.graph import MigrationGraph
from django.db.migrations.loader import MigrationLoader

if TYPE_CHECKING:
    from django.db.migrations import Migration

Key = tuple[str, str]


def expanded(key: Any, replaces: Mapping[Any, Iterable[Any]]) -> frozenset[Any]:
    """Return what `key` stands for in the end: what it replaces, and what that replaces in turn; itself if it replaces nothing."""
    found: set[Any] = set()
    waiting, seen = [key], set()
    while waiting:
        one = waiting.pop()
        if one in seen:  # a circle: Django refuses it, and we must not turn for ever
            continue
        seen.add(one)
        inside = tuple(replaces.get(one, ()))
        waiting.extend(inside)
        if not inside:
            found.add(one)
    return frozenset(found or {key})


def set_aside(files: Iterable[Any], replaces: Mapping[Any, Iterable[Any]]) -> frozenset[Any]:
    """Return which of `files` are no atoms.

    A squashed migration is none where the files of all it replaces are there. Where one is missing it is the atom, and what is left of
    those files is none.
    """
    there = frozenset(files)
    aside: set[Any] = set()
    for key in there:
        inside = tuple(replaces.get(key, ()))
        if inside and there.issuperset(inside):
            aside.add(key)
        elif inside:
            aside |= _below(key, replaces) & there
    return frozenset(aside)


def _below(key: Any, replaces: Mapping[Any, Iterable[Any]]) -> set[Any]:
    found: set[Any] = set()
    waiting = list(replaces.get(key, ()))
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(replaces.get(one, ()))
    return found - {key}


class AtomLoader(MigrationLoader):
    """Django's loader of migration files, with the graph of atoms. What is applied is for the caller to say."""

    def __init__(self, connection: Any = None, applied: Iterable[Key] = ()) -> None:
        self.known_as_applied = tuple(applied)
        super().__init__(connection)

    def build_graph(self) -> None:
        """Read the files and connect them. Raise what Django raises for files that do not fit together."""
        self.load_disk()
        self.graph = MigrationGraph()
        for key, migration in self.disk_migrations.items():
            self.graph.add_node(key, migration)
        for key, migration in self.disk_migrations.items():
            self.add_internal_dependencies(key, migration)
        for key, migration in self.disk_migrations.items():
            self.add_external_dependencies(key, migration)
        replaces: dict[Key, list[Key]] = {
            key: [(app, name) for app, name in migration.replaces]
            for key, migration in self.disk_migrations.items()
            if migration.replaces
        }
        # The widest first: what it hands its children to is then cut in turn.
        for key in sorted(replaces, key=lambda one: (-len(expanded(one, replaces)), one)):
            if key not in self.graph.node_map:
                continue  # replaced itself
            if all(one in self.disk_migrations for one in replaces[key]):
                self.graph.remove_replacement_node(key, replaces[key])
            else:
                self.graph.remove_replaced_nodes(key, _below(key, replaces))
        self.graph.validate_consistency()
        self.graph.ensure_not_cyclic()
        # Without these Django's executor writes no rows of its own for squashed migrations.
        self.replacements = {}
        self.set_applied(self.known_as_applied)

    def set_applied(self, keys: Iterable[Key]) -> None:
        """Say which atoms are applied."""
        self.applied_migrations: dict[Key, Migration] = {
            key: self.disk_migrations[key] for key in keys if key in self.disk_migrations
        }
