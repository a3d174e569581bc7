"""Fetches the packages of a Debian lock into a content-addressed cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from lastgood import parallel
from lastgood.debian.locks import Package
from lastgood.debian.mirror import Mirror, Snapshot
from lastgood.errors import UsageError
from lastgood.report.text import masked

_TIMEOUT = 60  # seconds, for one answer of the mirror


def store(target: Path, chunks: Iterable[bytes], sha256: str) -> bool:
    """Writes `chunks` to `target` if their sha256 is the one wanted; atomically, so that a kill leaves no half file.

    Returns whether the hash was right; the file exists only then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            return False
        Path(name).replace(target)
        return True
    finally:
        Path(name).unlink(missing_ok=True)


def fetch(
    packages: Iterable[Package], mirror: Callable[[], Mirror], cache: Path, snapshot: Snapshot | None = None
) -> dict[str, Path]:
    """Brings every package into `cache`/debs and returns {package name: file}, `name:architecture` for a name that is there twice.

    Sources, in this order: the cache, the mirror, the snapshot archive if there is one; the hash decides. `mirror` is asked only when
    something is missing. Raises UsageError for a version that vanished, a wrong hash, or a source that does not answer.
    """
    wanted = list(packages)
    count = Counter(package.name for package in wanted)
    files = {
        package.name if count[package.name] == 1 else f"{package.name}:{package.architecture}": _kept(package, cache)
        for package in wanted
    }
    missing = [package for package in wanted if not _kept(package, cache).is_file()]
    if missing:
        source = _source(mirror, snapshot)
        parallel.each(lambda package: _bring(package, source, snapshot, _kept(package, cache)), missing, workers=8)
    return files


def _source(mirror: Callable[[], Mirror], snapshot: Snapshot | None) -> Mirror | None:
    """The mirror; None where this machine knows none and the snapshot archive has to do."""
    try:
        return mirror()
    except UsageError:
        if snapshot is None:
            raise
        return None


def _kept(package: Package, cache: Path) -> Path:
    return cache / "debs" / f"{package.sha256}.deb"


def _bring(package: Package, mirror: Mirror | None, snapshot: Snapshot | None, target: Path) -> None:
    """One package from the mirror, else from the snapshot archive. Raises UsageError for the first thing that went wrong."""
    urls = [mirror.url(package.archive, package.path)] if mirror else []
    urls += snapshot.urls(package.archive, package.path) if snapshot else ()
    problems = []
    for url in urls:
        problem = _download(package, url, target)
        if problem is None:
            return
        problems.append(problem)
    raise UsageError(next((text for text in problems if text is not _VANISHED), _vanished(package, urls, snapshot)))


def _vanished(package: Package, urls: list[str], snapshot: Snapshot | None) -> str:
    where = f"no longer on the Debian mirror ({masked(urls[0])})"
    hint = ", or set [tool.lastgood.image] snapshot to the address of an archive that keeps old versions"
    if snapshot:
        old = f"in the snapshot archive ({masked(snapshot.urls(package.archive, package.path)[0])})"
        where, hint = (f"not {old}", "") if old.endswith(f"({masked(urls[0])})") else (f"{where}, nor {old}", "")
    return (
        f"{package.name} {package.version} is {where}: run `lastgood lock` (for the bundle's own lock `lastgood lock-base`) to lock the "
        f"version that replaced it{hint}"
    )


_VANISHED = "vanished"


def _at_most(size: int, answer: IO[bytes]) -> Iterator[bytes]:
    """What a source sends, but never much more than the file can be: its hash is wrong then anyway."""
    left = size + 1
    while left > 0 and (chunk := answer.read(min(left, 1 << 16))):
        left -= len(chunk)
        yield chunk


def _download(package: Package, url: str, target: Path) -> str | None:
    """Fetches one file; returns what went wrong: _VANISHED, or the sentence for a person."""
    shown = masked(url)
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  the scheme is checked where mirrors are named
            right = store(target, _at_most(package.size, answer), package.sha256)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            return _VANISHED
        return f"the Debian mirror answered {error.code} for {shown}: try again, or name another mirror"
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, FileNotFoundError):  # what 404 is for a mirror in the file system
            return _VANISHED
        return f"fetching {shown} failed: {masked(str(reason))}; check the network and the disk, then run it again"
    return (
        None
        if right
        else f"{shown} does not have the sha256 that the lock names for {package.name}: name another mirror"
    )
