"""What was found in a repository: data alone, each with where it was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Process:
    """Something that runs all the time. `command` starts it; `single` ones never run twice at a time."""

    name: str
    command: str
    origin: str
    single: bool = False


@dataclass(frozen=True)
class Variable:
    """A variable that the settings read and have no default for. `kind` is what they make of it: str, int, bool, url, …"""

    name: str
    kind: str
    origin: str

    @property
    def secret(self) -> bool:
        """Whether its name says that its value is nobody's business."""
        words = ("SECRET", "PASSWORD", "PASSWD", "TOKEN", "DSN", "PRIVATE", "CREDENTIAL")
        upper = self.name.upper()
        return upper.endswith(("KEY", "DATABASE_URL")) or any(word in upper for word in words)


@dataclass(frozen=True)
class Native:
    """The Debian packages of a requirement: what it needs to run, and what compiling it needs. `accept` is for the scan."""

    requirement: str
    packages: tuple[str, ...] = ()
    build_packages: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A build by npm: the folder of package.json below the root, the commands, and where its output seems to go."""

    folder: str
    commands: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """All that was found. `app` and the files are paths below the root; `doubts` is what could not be known, a sentence each."""

    name: str
    app: str
    settings: str
    settings_origin: str
    server: str
    module: str
    processes: tuple[Process, ...]
    source: str
    lock: str
    take_over: bool
    also: tuple[str, ...]
    groups: tuple[str, ...]
    requirements: tuple[str, ...]
    database: str
    celery: str
    native: tuple[Native, ...]
    node: Node | None
    variables: tuple[Variable, ...]
    doubts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return asdict(self)
