"""What an image weighs: its layers as the engine saves them, compressed by the same compressors for everybody, and its merged files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard
from lastgood.cache import store

GZIP = 6  # what `docker push` uses
ZSTD = 19
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Entry:
    """One path of the merged image: where its content lies. `size` is in bytes, 0 for what is no regular file."""

    layer: int
    member: tarfile.TarInfo
    size: int


@dataclass(frozen=True)
class Saved:
    """An image's layers as tars, lowest first, and their diff ids."""

    layers: tuple[Path, ...]
    diff_ids: tuple[str, ...]


@contextmanager
def saved(client: Any, image: str, folder: Path) -> Iterator[Saved]:
    """The layers of `image` below `folder`, for the time of the block."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="saved-") as scratch:
        archive = Path(scratch) / "image.tar"
        with archive.open("wb") as file:
            for chunk in client.images.get(image).save(chunk_size=1 << 21):
                file.write(chunk)
        layers = []
        with tarfile.open(archive) as opened:
            index = json.load(_content(opened, "manifest.json"))
            for number, name in enumerate(index[0]["Layers"]):
                target = Path(scratch) / f"{number}.tar"
                with target.open("wb") as file:
                    shutil.copyfileobj(_content(opened, name), file)
                layers.append(target)
        archive.unlink()
        yield Saved(tuple(layers), tuple(client.images.get(image).attrs["RootFS"]["Layers"]))


def _content(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    content = archive.extractfile(name)
    assert content is not None, name
    return content


def compressed(layers: Iterable[Path], cache: Path, kinds: Sequence[str] = ("gzip", "zstd")) -> dict[str, int]:
    """{kind: bytes} of the layers together, each layer by itself as registries keep them. Remembered in `cache` by content."""
    known: dict[str, int] = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    files = {_sha256(layer): layer for layer in layers}
    new = [(kind, digest) for kind in kinds for digest in files if f"{kind} {digest}" not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = pool.map(lambda one: _COMPRESSORS[one[0]](files[one[1]]), new)
        known |= {f"{kind} {digest}": size for (kind, digest), size in zip(new, sizes, strict=True)}
    if new:
        with store.replacing(cache) as part:
            part.write_text(json.dumps(known), encoding="utf-8")
    return {kind: sum(known[f"{kind} {digest}"] for digest in files) for kind in kinds}


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from iter(lambda: opened.read(1 << 20), b"")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _gzip(file: Path) -> int:
    compressor = zlib.compressobj(GZIP, wbits=31)
    return sum(len(compressor.compress(chunk)) for chunk in _chunks(file)) + len(compressor.flush())


def _zstd(file: Path) -> int:
    compressor = zstandard.ZstdCompressor(level=ZSTD).compressobj(size=file.stat().st_size)
    return sum(len(compressor.compress(chunk)) for chunk in _chunks(file)) + len(compressor.flush())


_COMPRESSORS = {"gzip": _gzip, "zstd": _zstd}


def merged(layers: Iterable[Path]) -> dict[str, Entry]:
    """Path → entry of the image as a container sees it: upper layers over lower ones, whiteouts applied."""
    found: dict[str, Entry] = {}
    for number, layer in enumerate(layers):
        with tarfile.open(layer) as archive:
            members = [(one.name.removeprefix("./").strip("/"), one) for one in archive]
        for name, _member in members:
            parent, _, base = name.rpartition("/")
            if base == _OPAQUE:
                _hide(found, parent, itself=False)
            elif base.startswith(_WHITEOUT):
                _hide(found, f"{parent}/{base.removeprefix(_WHITEOUT)}".lstrip("/"), itself=True)
        for name, member in members:
            if name and not name.rpartition("/")[2].startswith(_WHITEOUT):
                found[name] = Entry(number, member, member.size if member.isreg() else 0)
    return found


def _hide(found: dict[str, Entry], path: str, *, itself: bool) -> None:
    for name in [name for name in found if name.startswith(f"{path}/") or (itself and name == path)]:
        del found[name]


def measure(client: Any, image: str, folder: Path) -> dict[str, int]:
    """files (all but folders), unpacked (bytes of the merged files), gzip and zstd (bytes of the layers)."""
    with saved(client, image, folder) as found:
        weights = compressed(found.layers, folder / "compressed.json")
        entries = merged(found.layers).values()
    return {
        "files": sum(not entry.member.isdir() for entry in entries),
        "unpacked": sum(entry.size for entry in entries),
    } | weights
