"""Source distributions, read without running anything of them."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lastgood import limits
from lastgood.debian.unpack import leaves
from lastgood.errors import UsageError
from lastgood.report.text import readable

Files = dict[str, tuple[int, bytes]]  # path → (mode, content)


@dataclass(frozen=True)
class Source:
    """A source distribution: its normalised name, its version, the file."""

    name: str
    version: str
    file: Path


def unpack(source: Source) -> Files:
    """{path: (mode, content)} of a source distribution, below its one folder.

    Raises UsageError for a damaged one, one that becomes far more than it is, a name in no encoding, and a path or link that leaves the
    folder or leads to no file.
    """
    counts = limits.Unpacking(source.file.name, source.file.stat().st_size)
    try:
        return dict(_zipped(source, counts)) if source.file.suffix == ".zip" else _files(source, counts)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, EOFError, OSError, UnicodeError) as error:
        raise UsageError(
            f"{source.file.name} can't be unpacked ({error}): choose another version of {source.name}"
        ) from None


def _zipped(source: Source, counts: limits.Unpacking) -> Iterator[tuple[str, tuple[int, bytes]]]:
    with zipfile.ZipFile(source.file) as archive:
        for info in archive.infolist():
            counts.entry(info.filename, info.file_size)
            if not info.is_dir() and (name := _inside(source, info.filename)):
                yield name, (0o755 if info.external_attr >> 16 & 0o100 else 0o644, archive.read(info))


def _files(source: Source, counts: limits.Unpacking) -> Files:
    """Of a tar; a link becomes what it leads to, which must be there."""
    found: Files = {}
    links: dict[str, str] = {}
    with source.file.open("rb") as file, limits.tar(file, counts) as members:
        for member, opened in members:
            name = _inside(source, member.name)
            if not name or member.isdir():
                continue
            if opened is not None:
                found[name] = (0o755 if member.mode & 0o100 else 0o644, opened.read())
            elif member.issym():
                if member.linkname.startswith("/") or leaves(name, member.linkname):
                    raise _unsafe(
                        source,
                        f"{readable(member.name)}, a link to {readable(member.linkname)}, which lies outside its folder",
                    )
                links[name] = os.path.normpath(f"{PurePosixPath(name).parent}/{member.linkname}")
            elif member.islnk() and (target := _inside(source, member.linkname)) in found:
                found[name] = found[target]
            else:
                raise _unsafe(source, f"{readable(member.name)}, which is no file")
    for name in links:
        target, steps = name, 0
        while target in links and steps <= len(links):
            target, steps = links[target], steps + 1
        if target not in found:
            raise _unsafe(source, f"{readable(name)}, a link to no file of it")
        counts.bytes(len(found[target][1]))
        found[name] = found[target]
    return found


def _inside(source: Source, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _unsafe(source, f"{readable(name)}, which lies outside its folder")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise _unsafe(source, f"a file whose name is no UTF-8 ({name.encode('utf-8', 'surrogateescape')!r})")
    return "/".join(path.parts[1:])


def _unsafe(source: Source, what: str) -> UsageError:
    return UsageError(f"{source.file.name} holds {what}: it is not compiled; choose another version of {source.name}")
