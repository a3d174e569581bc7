"""Unpacks Debian packages without root, dpkg or their scripts."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from debian.debfile import DebError, DebFile

from lastgood.errors import UsageError


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
