"""One layer, read once: every entry with its share of the compressed bytes, and the facts that the checks need of some files.

What is read comes out of the blob that is pushed, and is kept in the cache by that blob's digest: the next scan of it opens nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import zstandard

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import layers
from lastgood.image.layers import Layer
from lastgood.report.text import readable
from lastgood.scan import elf, loads, secrets

# Counted up whenever what is read below changes, so that no cache entry of an older recipe is used.
RECIPE = 2

_KINDS = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "fifo",
          tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device"}  # fmt: skip
_PLAIN = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, *_KINDS})
# The files that say whose files there are: Python's RECORD and METADATA, Debian's control data and lists.
_TEXTS = re.compile(
    r"\.(dist|egg)-info/(RECORD|METADATA|PKG-INFO)$|^var/lib/dpkg/(status$|status\.d/|info/[^/]+\.list$)|^etc/ld\.so\.conf"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PROGRAM = 0o111


@dataclass(frozen=True)
class Entry:
    """One entry of a layer. `packed` is its share of the layer's compressed bytes; `target` is a link's. No leading slash."""

    path: str
    kind: str
    size: int
    packed: int
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    sha256: str = ""

    @property
    def is_file(self) -> bool:
        """A file, or a second name of one."""
        return self.kind in ("file", "hard link")


@dataclass(frozen=True)
class Facts:
    """What was read of one layer. `texts` are files that name owners, `shebangs` first lines of programs, `secrets` what was found.

    `owners` is what the build wrote down of its own files, `claims` what another job says that it wrote down.
    """

    name: str
    digest: str
    compressed: int
    entries: tuple[Entry, ...]
    elves: Mapping[str, elf.Elf] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    shebangs: Mapping[str, str] = field(default_factory=dict)
    loads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: Mapping[str, tuple[secrets.Hit, ...]] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def unpacked(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def files(self) -> int:
        """How many files."""
        return sum(entry.is_file for entry in self.entries)


def read(layer: Layer) -> Facts:
    """The facts of a layer, from the cache or from its blob; owners from its owners.json, where it has one.

    Raises UsageError where the blob is not what the image says of it, or holds what engines and this scan might read differently.
    """
    given = f"{RECIPE} {secrets.RECIPE} {codec(layer)} {layer.digest} {layer.diff_id} {layer.compressed}"
    kept = store.cache() / "scans" / f"{hashlib.sha256(given.encode()).hexdigest()[:24]}.json.gz"
    data = _kept(kept)
    if data is None:
        data = _read(layer)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with store.replacing(kept) as part:
            part.write_bytes(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), 1, mtime=0))
    return Facts(
        name=layer.name,
        digest=layer.digest,
        compressed=layer.compressed,
        entries=tuple(Entry(*row) for row in data["entries"]),
        elves={path: elf.Elf.of(one) for path, one in data["elves"].items()},
        texts=data["texts"],
        shebangs=data["shebangs"],
        loads={path: tuple(names) for path, names in data["loads"].items()},
        secrets={path: tuple(secrets.Hit(*hit) for hit in hits) for path, hits in data["secrets"].items()},
        owners={} if layer.claimed else _owners(layer.owners),
        claims=_owners(layer.owners) if layer.claimed else {},
    )


def _kept(file: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, ValueError, EOFError, zlib.error):
        return None
    return data


def _owners(file: Path | None) -> dict[str, str]:
    if file is None or not file.is_file():
        return {}
    data: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return data


def codec(layer: Layer) -> str:
    """`zstd` or `gzip`: how the layer is compressed."""
    named = str(getattr(layer, "media_type", "")) + layer.blob.suffix
    return "zstd" if "zst" in named else "gzip"


def _read(layer: Layer) -> dict[str, Any]:
    rows: list[list[Any]] = []
    read: dict[str, Any] = {"elves": {}, "texts": {}, "shebangs": {}, "loads": {}}
    suspects: dict[str, bytes] = {}
    stream = Shares(codec(layer))
    with layers.unpacked(layer) as raw:
        members = _members(layer, raw)
        # An entry's bytes go up to where the next one's begin: its headers and padding are its own.
        starts = [0, *(archive_end(member) for member in members)]
        for member, start, end in zip(members, starts, starts[1:], strict=False):
            raw.seek(start)
            body = raw.read(end - start)
            content = body[member.offset_data - start :][: member.size] if member.isreg() else b""
            rows.append(_row(member, stream.add(body), content))
            if member.isreg():
                _examine(read, str(rows[-1][0]), member.mode, content)
                if secrets.suspicious(rows[-1][0], content):
                    suspects[rows[-1][0]] = content
        _nothing_behind(layer, raw, starts[-1])
    for row, packed in zip(rows, scaled([row[3] for row in rows], layer.compressed), strict=True):
        row[3] = packed
    read["secrets"] = {path: [list(hit) for hit in hits] for path, hits in secrets.search(suspects).items()}
    return {"entries": rows, **read}


def _members(layer: Layer, raw: IO[bytes]) -> list[tarfile.TarInfo]:
    """The tar's members. Raises UsageError for a kind or a name that engines might take for another one than this scan does."""
    try:
        with tarfile.open(fileobj=raw, mode="r:") as archive:
            members = list(archive)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"layer {layer.name} is no tar that can be read ({error}): build again") from None
    for member in members:
        if member.type not in _PLAIN or member.issparse():
            raise UsageError(
                f"layer {layer.name}: {readable(member.name)} is of a kind that is not scanned: leave it out"
            )
        # No engine minds the second kind; a terminal, a log and a job's summary do.
        if ".." in member.name.split("/") or _CONTROL.search(member.name):
            raise UsageError(
                f"layer {layer.name}: {member.name!r} has a name that leads up or holds control characters: give it another one"
            )
    return members


def _nothing_behind(layer: Layer, raw: IO[bytes], end: int) -> None:
    """Raises UsageError where more than padding follows the last member: a header that is only damaged for this scan hides what follows."""
    raw.seek(end)
    while piece := raw.read(1 << 20):
        if piece.strip(b"\0"):
            raise UsageError(
                f"layer {layer.name} holds something behind the {end} bytes that can be read of it: build again"
            )


def archive_end(member: tarfile.TarInfo) -> int:
    """Where the member's content ends in the tar, padding included."""
    size = member.size if member.isreg() else 0
    return member.offset_data + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _row(member: tarfile.TarInfo, packed: int, content: bytes) -> list[Any]:
    size = member.size if member.isreg() else 0
    sha256 = hashlib.sha256(content).hexdigest() if member.isreg() else ""
    path = posixpath.normpath(f"/{member.name}").strip("/")
    kind = _KINDS.get(member.type, "file")
    return [path, kind, size, packed, member.mode & 0o7777, member.uid, member.gid, member.linkname, sha256]


def _examine(read: dict[str, Any], path: str, mode: int, content: bytes) -> None:
    if content[:4] == elf.MAGIC:
        found = elf.parse(content)
        if found:
            read["elves"][path] = found.as_row()
    elif content[:2] == b"#!" and mode & _PROGRAM:
        read["shebangs"][path] = content[2:].split(b"\n", 1)[0].decode(errors="replace").strip()
    if _TEXTS.search(path):
        read["texts"][path] = content.decode(errors="replace")
    elif names := loads.named(path, content):
        read["loads"][path] = list(names)


class Shares:
    """How many compressed bytes each piece of a stream adds, where the pieces before it are known to the compressor.

    The stream is compressed by the layer's codec (gzip level 6, zstd level 3: quick, and the proportions are those of the higher levels)
    and ended after each piece without forgetting what came before: RFC 1951 calls it an empty stored block, RFC 8878 a block.
    """

    def __init__(self, name: str) -> None:
        self._gzip = zlib.compressobj(6) if name == "gzip" else None
        self._zstd = None if name == "gzip" else zstandard.ZstdCompressor(level=3).compressobj()

    def add(self, body: bytes) -> int:
        """The compressed bytes of the next piece."""
        if self._gzip:
            return len(self._gzip.compress(body)) + len(self._gzip.flush(zlib.Z_SYNC_FLUSH))
        assert self._zstd
        return len(self._zstd.compress(body)) + len(self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))


def scaled(weights: Sequence[int], total: int) -> list[int]:
    """`total` in whole parts in the proportion of `weights`: the largest remainders are rounded up, so that the sum is exact."""
    whole = sum(weights)
    if not whole:
        return [total if number == 0 else 0 for number in range(len(weights))]
    parts = [weight * total // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda number: -(weights[number] * total % whole))
    for number in order[: total - sum(parts)]:
        parts[number] += 1
    return parts
