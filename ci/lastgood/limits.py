"""How much an archive of a stranger may become. 14 MB can unpack to gigabytes; what is real stays far below these figures.

The largest wheels (torch with CUDA: 0.9 GB, 2.5 GB unpacked) and Debian packages (debug information of a kernel: 1 GB, 6 GB unpacked) are
what the figures leave room for. Where something real needs more, LASTGOOD_UNPACK_FACTOR on the machine multiplies them all; a project
can't, since a pull request writes its settings.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any

from lastgood.errors import UsageError
from lastgood.report.text import line

FACTOR = "LASTGOOD_UNPACK_FACTOR"
TOTAL = 16_000_000_000  # bytes, unpacked
RATIO = 100  # unpacked to packed; looked at only beyond SMALL
SMALL = 256_000_000  # bytes, unpacked
ENTRIES = 500_000
NAME = 1024  # characters of a path
DEPTH = 64  # folders
Member = tuple[tarfile.TarInfo, IO[bytes] | None]
Members = AbstractContextManager[Iterator[Member]]
_HEADER = 1 << 20  # bytes that tell of one entry: long names, PAX records
_MAGIC = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open), (b"]\x00\x00", lzma.open))
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Unpacking:
    """Counts what an archive becomes. `what` names it for people, `packed` is its size in bytes."""

    def __init__(self, what: str, packed: int) -> None:
        given = os.environ.get(FACTOR, "1")
        if not given.isascii() or not given.isdigit() or not int(given):
            raise UsageError(f"{FACTOR} is {line(given)!r}: it must be a whole number, 1 or more")
        self.what = what
        self.factor = int(given)
        self.most = min(TOTAL, max(SMALL, RATIO * packed)) * self.factor
        self._packed = packed
        self._bytes = self._entries = 0

    def entry(self, name: str, size: int = 0) -> None:
        """Counts one entry and its bytes. Raises UsageError where that is too much."""
        self._entries += 1
        if self._entries > ENTRIES * self.factor:
            raise self._refused(f"more than {ENTRIES * self.factor:,} entries")
        if len(name) > NAME * self.factor or name.count("/") > DEPTH * self.factor:
            raise self._refused(f"a path of {len(name)} characters and {name.count('/')} folders ({line(name[:60])}…)")
        self.bytes(size)

    def bytes(self, count: int) -> None:
        """Counts bytes. Raises UsageError where they are too many."""
        self._bytes += count
        if self._bytes > self.most:
            raise self._refused(f"more than {self.most / 1e6:,.0f} MB in {self._packed / 1e6:.1f} MB")

    def _refused(self, what: str) -> UsageError:
        return UsageError(
            f"{self.what} holds {what}, which nothing real does: it is not unpacked; choose another version of it, or, where it is right "
            f"so, set {FACTOR}={2 * self.factor} on this machine"
        )


class Counted(io.RawIOBase):
    """What is read of a decompressed stream, counted."""

    def __init__(self, origin: IO[bytes], counts: Unpacking) -> None:
        self._origin = origin
        self._counts = counts

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads as much as fits."""
        body = self._origin.read(len(buffer))
        self._counts.bytes(len(body))
        buffer[: len(body)] = body
        return len(body)


class _Member(tarfile.TarInfo):
    """An entry of a tar whose own headers are of a size that headers have: tarfile reads each whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _HEADERS and found.size > _HEADER:
            raise UsageError(
                f"an archive holds a header of {found.size:,} bytes, which nothing real does: it is not unpacked"
            )
        return found


@contextmanager
def tar(file: Any, counts: Unpacking, *, zstandard: bool = False) -> Iterator[Iterator[Member]]:
    """The (entry, content) of a tar in `file`, compressed or not, in their order; a content is to be read before the next entry.

    Raises UsageError where it becomes too much, and what `tarfile` and the decompressor raise for a damaged one.
    """
    with tarfile.open(
        fileobj=io.BufferedReader(Counted(_opened(file, zstandard), counts), 1 << 18),
        mode="r|",
        tarinfo=_Member,
        bufsize=1 << 16,
    ) as archive:
        yield _members(archive, counts)


def _members(archive: tarfile.TarFile, counts: Unpacking) -> Iterator[Member]:
    known: list[tarfile.TarInfo] = vars(archive)["members"]
    while (member := archive.next()) is not None:
        counts.entry(member.name)
        yield member, archive.extractfile(member) if member.isreg() else None
        known.clear()  # nothing is asked for again; half a million entries would stay in memory


def _opened(file: Any, zstd: bool) -> Any:
    if zstd:
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(file)
    start = file.read(6)
    file.seek(-len(start), os.SEEK_CUR)
    opener: Any = next((one for magic, one in _MAGIC if start.startswith(magic)), None)
    return opener(file) if opener else file


def gunzip(body: bytes, most: int) -> bytes:
    """What was compressed by gzip. Raises ValueError where it is more than `most` bytes, and zlib.error or EOFError for a damaged one."""
    opened = zlib.decompressobj(wbits=31)
    found = opened.decompress(body, most + 1)
    if len(found) > most:
        raise ValueError(f"more than {most:,} bytes")
    if not opened.eof:
        raise EOFError("it ends too early")
    return found
