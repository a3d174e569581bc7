"""What the database says of itself and of the builds that ran against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ..manifest.document import Manifest

FORWARD, BACK = "forward", "back"


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
