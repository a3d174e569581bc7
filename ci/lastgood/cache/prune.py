"""What the cache holds, and what of it goes: entries that nobody used for long, then the oldest ones above a size. None that is in use.

In use are the layers of the newest build of every project (they are pushed and scanned later), and everything while any other build runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.errors import Refused, UsageError
from lastgood.report.terminal import megabytes, table

DAYS = 30  # unused for so long, an entry goes
SIZE = 5_000_000_000  # bytes, unless LASTGOOD_CACHE_SIZE says another
_RECENT = 3600.0  # seconds in which an entry counts as in use: not every command says that it uses the cache
_EVERY = 3600.0  # seconds between two prunings at the end of a build
_ROOTS = "builds"  # one link a project, to the description of its newest build
_HIDDEN = (_ROOTS, "work")
_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class Entry:
    """One entry: `size` is in bytes on the disk, `used` seconds since the epoch."""

    path: Path
    kind: str
    size: int
    used: float


def limit() -> int:
    """The size that the cache may have, in bytes. Raises UsageError for a variable that is none."""
    text = os.environ.get("LASTGOOD_CACHE_SIZE", "")
    if not text:
        return SIZE
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB)?", text.strip())
    if not found:
        raise UsageError(f"LASTGOOD_CACHE_SIZE is {text!r}: it must be a size, as “5 GB”")
    return int(float(found.group(1)) * _UNITS[found.group(2) or ""])


def entries(folder: Path) -> list[Entry]:
    """What the cache holds, by kind and name."""
    found = []
    for kind in sorted(_folders(folder)):
        if kind.name not in _HIDDEN:
            for path in sorted(kind.iterdir()):
                if not path.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        found.append(Entry(path, kind.name, _size(path), path.stat().st_mtime))
    return found


def _folders(folder: Path) -> list[Path]:
    return (
        [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if folder.is_dir()
        else []
    )


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    total = 0
    with os.scandir(path) as children:
        for child in children:
            if child.is_dir(follow_symlinks=False):
                total += _size(Path(child.path))
            else:
                total += child.stat(follow_symlinks=False).st_size
    return total


def superfluous(found: Iterable[Entry], used: set[Path], now: float, size: int, days: int = DAYS) -> list[Entry]:
    """Which entries go: those unused for `days`, then the ones unused for longest until the rest is at most `size` bytes.

    Never one in `used`, nor one that was used a moment ago.
    """
    free = sorted((one for one in found if one.path not in used and now - one.used > _RECENT), key=lambda one: one.used)
    total = sum(one.size for one in found)
    gone = []
    for one in free:
        if now - one.used > days * 86400 or total > size:
            gone.append(one)
            total -= one.size
    return gone


def summary(folder: Path) -> dict[str, Any]:
    """JSON-able facts: the folder, its limit, and for each kind how many entries it has, their bytes, and how many days ago the oldest
    was used."""
    found = entries(folder)
    now = time.time()
    kinds = []
    for kind in sorted({one.kind for one in found}):
        same = [one for one in found if one.kind == kind]
        oldest = max(now - one.used for one in same)
        size = sum(one.size for one in same)
        kinds.append({"kind": kind, "entries": len(same), "size": size, "oldest": round(oldest / 86400, 1)})
    return {"folder": str(folder), "size": sum(one.size for one in found), "limit": limit(), "kinds": kinds}


def render(facts: dict[str, Any]) -> str:
    """The facts for a terminal."""
    rows = [
        [one["kind"], str(one["entries"]), megabytes(one["size"]), f"{one['oldest']:.0f} days"]
        for one in facts["kinds"]
    ]
    rows.append(["total", str(sum(one["entries"] for one in facts["kinds"])), megabytes(facts["size"]), ""])
    lines = [table(["kind", "entries", "size", "unused for"], rows, right=(1, 2, 3)), ""]
    return "\n".join([*lines, f"{facts['folder']}, at most {megabytes(facts['limit'])}, at most {DAYS} days unused"])


def register(folder: Path, build: Path) -> None:
    """Notes where a project's newest build is described: its layers are in use."""
    link = folder / _ROOTS / hashlib.sha256(str(build).encode()).hexdigest()[:32]
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(build)


def in_use(folder: Path) -> set[Path]:
    """The entries that the newest builds of all projects need. Forgets projects that are gone."""
    used: set[Path] = set()
    for link in (folder / _ROOTS).glob("*"):
        try:
            data = json.loads(link.read_bytes())
            paths = [Path(layer["blob"]).parent for one in data["variants"] for layer in one["layers"]]
        except FileNotFoundError:
            link.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            continue
        else:
            used |= set(paths)
    return used


def automatic(folder: Path) -> None:
    """Prunes at the end of a build, at most once an hour, and not while another one runs."""
    stamp = folder / ".pruned"
    with contextlib.suppress(FileNotFoundError):
        if time.time() - stamp.stat().st_mtime < _EVERY:
            return
    size = limit()
    with store.unused(folder) as alone:
        if alone:
            stamp.touch()
            _prune(folder, superfluous(entries(folder), in_use(folder), time.time(), size))


def prune(folder: Path) -> tuple[int, int]:
    """Prunes now; returns how many entries went, and their bytes. Raises Refused while a build runs."""
    size = limit()
    with _alone(folder):
        return _prune(folder, superfluous(entries(folder), in_use(folder), time.time(), size))


def clear(folder: Path) -> tuple[int, int]:
    """Removes everything but what the newest builds need; returns how many entries went, and their bytes.

    Raises Refused while a build runs.
    """
    with _alone(folder):
        used = in_use(folder)
        return _prune(folder, [one for one in entries(folder) if one.path not in used])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with store.unused(folder) as alone:
        if not alone:
            raise Refused(f"{folder} is in use by another lastgood: nothing was removed; wait until it ends")
        yield


def _prune(folder: Path, gone: list[Entry]) -> tuple[int, int]:
    for one in gone:
        # Out of sight first, in one step: a kill in the middle must not leave half an entry under its name.
        hidden = one.path.with_name(f"{store.PART}gone-{one.path.name}")
        one.path.rename(hidden)
        store.remove(hidden)
    for kind in _folders(folder):
        for left in kind.glob(f"{store.PART}*"):
            if time.time() - left.lstat().st_mtime > _RECENT or left.name.startswith(f"{store.PART}gone-"):
                store.remove(left)
        if kind.name == "work":
            for left in kind.iterdir():
                if left.is_dir() and store.nobodys(left):
                    store.remove(left)
    return len(gone), sum(one.size for one in gone)
