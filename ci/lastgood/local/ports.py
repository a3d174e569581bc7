"""Ports of this machine: whether one is free, and who holds it if not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lastgood.errors import UsageError

LISTEN = "0A"


@dataclass(frozen=True)
class Port:
    """A port that the instance needs. `key` is its name in [tool.lastgood.local], `variable` its environment variable."""

    number: int
    what: str
    key: str
    variable: str


@dataclass(frozen=True)
class Process:
    """A process by number and name."""

    pid: int
    name: str


def is_free(number: int, address: str = "127.0.0.1") -> bool:
    """Whether something could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, number))
        except OSError:
            return False
    return True


def listening(table: str, number: int) -> set[str]:
    """The inodes of sockets that listen on the port, from the text of /proc/net/tcp or tcp6."""
    found = set()
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[3] == LISTEN and int(columns[1].rpartition(":")[2], 16) == number:
            found.add(columns[9])
    return found


def holder(number: int, proc: Path = Path("/proc")) -> Process | None:
    """The process that listens on the port, as far as this user may see it."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            inodes |= listening((proc / "net" / name).read_text(), number)
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in wanted for link in _links(folder / "fd")):
                return Process(int(folder.name), (folder / "comm").read_text().strip())
    return None


def _links(folder: Path) -> Iterable[Path]:
    for link in folder.iterdir():
        with contextlib.suppress(OSError):
            link.readlink()
            yield link


def check(ports: Iterable[Port], container: Callable[[int], str | None]) -> None:
    """Raises UsageError for the first port that is taken: by whom, and how to choose another.

    `container` names the Docker container that publishes a port, or returns None.
    """
    for port in ports:
        if is_free(port.number):
            continue
        raise UsageError(
            f"port {port.number} ({port.what}) is taken by {_who(port.number, container)}: stop that, or choose another port with "
            f"[tool.lastgood.local] {port.key} or {port.variable}"
        )


def _who(number: int, container: Callable[[int], str | None]) -> str:
    name = container(number)
    if name:
        return f"the container {name}"
    process = holder(number)
    if process:
        return f"{process.name} (process {process.pid})"
    return "a process of another user"
