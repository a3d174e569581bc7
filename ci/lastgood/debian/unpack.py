"""Unpacks Debian packages without root, dpkg or their scripts."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from debian.arfile import ArError, ArFile
from debian.deb822 import Deb822

from lastgood import beneath, limits
from lastgood.errors import UsageError
from lastgood.report.text import readable

STATUS = "var/lib/dpkg/status.d"
_CONTROL = 4_000_000  # bytes


def unpack(
    files: Iterable[tuple[str, Path]], root: Path, wanted: Callable[[str], bool] = lambda _path: True
) -> dict[str, str]:
    """Unpacks (name, deb) pairs into `root`; `wanted` is asked for each path, as `usr/bin/python3.13`.

    Of each package the control data is kept as var/lib/dpkg/status.d/NAME, where scanners look in images without dpkg.
    Returns {path: name of the package it is from} for every file and link. Raises UsageError for a damaged package, for a path or link
    that leads out of the root, and for one that becomes far more than it is.
    """
    root.mkdir(parents=True, exist_ok=True)
    owners: dict[str, str] = {}
    # base-files first: it brings the links /lib → /usr/lib and so on, which the others' files must go through.
    for name, file in sorted(files, key=lambda pair: (pair[0] != "base-files", pair[0])):
        try:
            with file.open("rb") as opened:
                package = ArFile(fileobj=opened)
                counts = limits.Unpacking(f"the package {name}", file.stat().st_size)
                control = _control(name, package, counts)
                with _part(package, "data.tar", counts) as members:
                    owners |= dict.fromkeys(_extract(name, members, root, wanted), name)
        except (ArError, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, UnicodeError) as error:
            raise UsageError(
                f"the package {name} can't be unpacked: {error or 'it ends too early'}; remove {file} and run it again"
            ) from None
        status = f"{STATUS}/{name}"
        owners[beneath.write(root, status, control).relative_to(root.resolve()).as_posix()] = name
    return owners


def _part(package: ArFile, name: str, counts: limits.Unpacking) -> limits.Members:
    """The tar of a package whose name begins so; its end says how it is compressed (https://manpages.debian.org/deb.5)."""
    found = next((one for one in package.getmembers() if str(one.name).startswith(name)), None)
    if found is None:
        raise ArError(f"it has no {name}")
    return limits.tar(found, counts, zstandard=str(found.name).endswith(".zst"))


def _control(name: str, package: ArFile, counts: limits.Unpacking) -> str:
    with _part(package, "control.tar", counts) as members:
        for member, source in members:
            if source and member.name.removeprefix("./") == "control":
                found = Deb822(source.read(_CONTROL))
                if found.get("Package") != name.partition(":")[0]:
                    raise UsageError(
                        f"the package {name} says that it is {readable(found.get('Package', 'none'))}: the lock names another file than it "
                        "says; restore it from git, or run `lastgood lock`"
                    )
                return str(found.dump())
    raise ArError("it has no control data")


def _extract(
    package: str, members: Iterable[limits.Member], root: Path, wanted: Callable[[str], bool]
) -> Iterator[str]:
    """Extracts what is wanted; yields the path of every file and link, below the root and through the links in it."""
    top = root.resolve()
    for member, source in members:
        path = member.name.removeprefix("./").rstrip("/")
        if path in ("", ".") or not wanted(path):
            continue
        shown, link = readable(path), readable(member.linkname)
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            raise UsageError(f"{package} holds {shown}, which lies outside the root file system: it is not used")
        if member.issym() and leaves(path, member.linkname):
            raise UsageError(
                f"{package} holds {shown}, a link to {link}, which lies outside the root file system: it is not used"
            )
        # A link of the package itself must not carry what comes after it to another place of this machine.
        parent = (root / path).parent.resolve()
        if not parent.is_relative_to(top):
            raise UsageError(
                f"{package} holds {shown}, which a link takes outside the root file system: it is not used"
            )
        # Permissions are the package's but for write access, which our own next steps need; owners are set in the layer.
        member.mode |= 0o200
        if member.isdir() and (root / path).is_symlink():
            continue
        name = (parent / PurePosixPath(path).name).relative_to(top).as_posix()
        _place(member, source, top, name)
        if not member.isdir():
            yield name


def leaves(path: str, link: str) -> bool:
    """Whether the relative link at `path` (below some root) leads out of the root; absolute ones start at the root where they are used."""
    return not link.startswith("/") and os.path.normpath(f"{PurePosixPath(path).parent}/{link}").split("/")[0] == ".."


def _place(member: tarfile.TarInfo, source: IO[bytes] | None, root: Path, name: str) -> None:
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
        if ".." in PurePosixPath(member.linkname).parts or not origin.resolve().is_relative_to(root):
            raise UsageError(
                f"{readable(name)} is a link to {readable(member.linkname)}, outside the root file system: it is not used"
            )
        if not origin.is_file():
            raise UsageError(
                f"{readable(name)} is a link to {readable(member.linkname)}, which is no file before it: it is not used"
            )
        os.link(origin, target)
    elif source is not None:
        with target.open("wb") as file:
            shutil.copyfileobj(source, file)
        target.chmod(member.mode & 0o777)
