"""The graph of a build's atoms: a squashed migration stands for its originals only where their files are gone.

Django chooses by what the database has: with nothing applied it runs the squashed migration, with a part applied the originals.
Ours always runs the originals where it can, so that one build has one graph, whatever the database has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db.migrations.graph import MigrationGraph
from django.db.migrations.loader import MigrationLoader

from .squash import below, expanded

if TYPE_CHECKING:
    from django.db.migrations import Migration

Key = tuple[str, str]


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
                self.graph.remove_replaced_nodes(key, below(key, replaces))
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
