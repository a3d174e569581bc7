"""Which databases there are, and what they can do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..decision import steps
from ..errors import Refused, UsageError
from ..manifest import Manifest, served

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def named(chosen: str | None) -> BaseDatabaseWrapper:
    """Return the connection of the alias that was `chosen` in DATABASES, else of the one that a release moves.

    Raise UsageError where there is none or where the project has what would be passed over, Refused where it is of no kind we know.
    """
    from django.db import connections

    alias = chosen or served.DEFAULT
    if alias not in connections:
        raise UsageError(f"the settings have no database {alias!r}: there are {', '.join(connections)}")
    connection = connections[alias]
    if connection.vendor not in ("postgresql", "sqlite", "mysql"):
        raise Refused(f"{connection.display_name} is not supported: use PostgreSQL, or SQLite for development")
    served.check(chosen)
    return connection


def segments(connection: BaseDatabaseWrapper, order: Iterable[str], image: Manifest) -> tuple[steps.Segment, ...]:
    """Return `order`, cut into what this database can run in one transaction."""
    # SQLite refuses to alter tables that others refer to inside a transaction that is already open.
    together, transactional = connection.vendor == "postgresql", connection.features.can_rollback_ddl
    return steps.segments(order, image, together=together, transactional=transactional)
