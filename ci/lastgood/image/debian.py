"""Fetches the packages of a Debian lock into a content-addressed cache, and unpacks them without root, dpkg or their scripts."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from debian.debfile import DebError, DebFile

from lastgood.errors import UsageError
from lastgood.lock import parallel
from lastgood.lock.debian import Package
from lastgood.lock.mask import masked
from lastgood.lock.mirror import Mirror, Snapshot

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


def _download(package: Package, url: str, target: Path) -> str | None:
    """Fetches one file; returns what went wrong: _VANISHED, or the sentence for a person."""
    shown = masked(url)
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  the scheme is checked where mirrors are named
            right = store(target, iter(lambda: answer.read(1 << 16), b""), package.sha256)
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


def unpack(
    files: Iterable[tuple[str, Path]], root: Path, wanted: Callable[[str], bool] = lambda _path: True
) -> dict[str, str]:
    """Unpacks (name, deb) pairs into `root`; `wanted` is asked for each path, as `usr/bin/python3.13`.

    Of each package the control data is kept as var/lib/dpkg/status.d/NAME, where scanners look in images without dpkg.
    Returns {path: name of the package it is from} for every file and link. Raises UsageError for a damaged package, and for a path or
    link that leads out of the root.
    """
    root.mkdir(parents=True, exist_ok=True)
    owners: dict[str, str] = {}
    # base-files first: it brings the links /lib → /usr/lib and so on, which the others' files must go through.
    for name, file in sorted(files, key=lambda pair: (pair[0] != "base-files", pair[0])):
        try:
            with file.open("rb") as opened:
                package = DebFile(fileobj=opened)
                with package.data.tgz() as archive:
                    owners |= dict.fromkeys(_extract(name, archive, root, wanted), name)
                control = package.control.debcontrol().dump()
        except (DebError, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, UnicodeError) as error:
            raise UsageError(
                f"the package {name} can't be unpacked: {error or 'it ends too early'}; remove {file} and run it again"
            ) from None
        status = root / "var/lib/dpkg/status.d" / name
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(control, encoding="utf-8")
        owners[status.relative_to(root).as_posix()] = name
    return owners


def _extract(package: str, archive: tarfile.TarFile, root: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Extracts what is wanted; yields the path of every file and link, below the root and through the links in it."""
    top = root.resolve()
    for member in archive:
        path = member.name.removeprefix("./").rstrip("/")
        if path in ("", ".") or not wanted(path):
            continue
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            raise UsageError(f"{package} holds {path}, which lies outside the root file system: it is not used")
        if member.issym() and leaves(path, member.linkname):
            raise UsageError(
                f"{package} holds {path}, a link to {member.linkname}, which lies outside the root file system: it is not used"
            )
        # A link of the package itself must not carry what comes after it to another place of this machine.
        parent = (root / path).parent.resolve()
        if not parent.is_relative_to(top):
            raise UsageError(f"{package} holds {path}, which a link takes outside the root file system: it is not used")
        # Permissions are the package's but for write access, which our own next steps need; owners are set in the layer.
        member.mode |= 0o200
        if member.isdir() and (root / path).is_symlink():
            continue
        name = (parent / PurePosixPath(path).name).relative_to(top).as_posix()
        _place(archive, member, top, name)
        if not member.isdir():
            yield name


def leaves(path: str, link: str) -> bool:
    """Whether the relative link at `path` (below some root) leads out of the root; absolute ones start at the root where they are used."""
    return not link.startswith("/") and os.path.normpath(f"{PurePosixPath(path).parent}/{link}").split("/")[0] == ".."


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, name: str) -> None:
    target = root / name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        origin = root / member.linkname.removeprefix("./")
        if not origin.resolve().is_relative_to(root):
            raise UsageError(f"{name} is a link to {member.linkname}, outside the root file system: it is not used")
        os.link(origin, target)
    elif member.isfile():
        source = archive.extractfile(member)
        if source is None:
            raise UsageError(f"{name} can't be read from its package: remove the cache and run it again")
        with target.open("wb") as file:
            shutil.copyfileobj(source, file)
        target.chmod(member.mode & 0o777)
