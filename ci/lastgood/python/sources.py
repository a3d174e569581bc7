"""Source distributions, read without running anything of them."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lastgood.debian.unpack import leaves
from lastgood.errors import UsageError


@dataclass(frozen=True)
class Source:
    """A source distribution: its normalised name, its version, the file."""

    name: str
    version: str
    file: Path


def unpack(source: Source) -> dict[str, tuple[int, bytes]]:
    """{path: (mode, content)} of a source distribution, below its one folder.

    Raises UsageError for a damaged one, a name in no encoding, and a path or link that leaves the folder.
    """
    try:
        found = dict(_entries(source))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, UnicodeError) as error:
        raise UsageError(
            f"{source.file.name} can't be unpacked ({error}): choose another version of {source.name}"
        ) from None
    return found


def _entries(source: Source) -> Iterator[tuple[str, tuple[int, bytes]]]:
    if source.file.suffix == ".zip":
        with zipfile.ZipFile(source.file) as archive:
            for info in archive.infolist():
                if not info.is_dir() and (name := _inside(source, info.filename)):
                    yield name, (0o755 if info.external_attr >> 16 & 0o100 else 0o644, archive.read(info))
        return
    with tarfile.open(source.file) as archive:
        for member in archive:
            name = _inside(source, member.name)
            if not name or member.isdir():
                continue
            if member.issym() or member.islnk():
                link = member.linkname if member.issym() else f"/{member.linkname}"
                if member.issym() and (link.startswith("/") or leaves(name, link)):
                    raise _unsafe(source, f"{member.name}, a link to {link}, which lies outside its folder")
            opened = archive.extractfile(member) if member.isfile() or member.issym() or member.islnk() else None
            if opened is None:
                raise _unsafe(source, f"{member.name}, which is no file")
            yield name, (0o755 if member.mode & 0o100 else 0o644, opened.read())


def _inside(source: Source, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _unsafe(source, f"{name}, which lies outside its folder")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise _unsafe(source, f"a file whose name is no UTF-8 ({name.encode('utf-8', 'surrogateescape')!r})")
    return "/".join(path.parts[1:])


def _unsafe(source: Source, what: str) -> UsageError:
    return UsageError(f"{source.file.name} holds {what}: it is not compiled; choose another version of {source.name}")
