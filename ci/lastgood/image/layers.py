"""Layers: a deterministic tar, compressed, and both forms named by their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import compress

TYPE_CHECKING = False  # typing's own costs 2 ms at every start; type checkers know the name
if TYPE_CHECKING:
    from typing import IO

LARGEST = 16 << 30  # bytes that a layer may unpack to: what unpacks to more than a task's disk holds is no image
_PIECE = 1 << 20


@dataclass(frozen=True)
class Layer:
    """One layer: its files lie in `blob`, a tar that is compressed as `media_type` says. Sizes are in bytes.

    There is one copy of them: what is scanned or loaded is taken from the very bytes that are pushed (`unpacked`).
    `owners` is the file that says which package or distribution each path is of, where one does; `claimed` where another job says so, which
    may explain a report and decides nothing.
    """

    name: str
    blob: Path
    diff_id: str
    digest: str
    size: int
    compressed: int
    media_type: str = compress.TYPES["zstd"]
    owners: Path | None = None
    claimed: bool = False

    def as_dict(self) -> dict[str, object]:
        """JSON-able facts."""
        paths = {"blob": str(self.blob), "owners": str(self.owners) if self.owners else None}
        return vars(self) | paths

    @classmethod
    def of(cls, data: Mapping[str, object]) -> Layer:
        """From `as_dict`. What an older lastgood wrote there beside it (the path of a tar) is passed over."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        paths = {name: Path(str(data[name])) if data[name] else None for name in ("blob", "owners")}
        return cls(**known | paths)  # type: ignore[arg-type]

    def whole(self) -> bool:
        """Whether its blob is still there."""
        try:
            return self.blob.stat().st_size == self.compressed
        except FileNotFoundError:
            return False


class _Counted:
    """A file to read from, with the sha256 and the number of the bytes that were read."""

    def __init__(self, file: compress.Readable) -> None:
        self._file = file
        self._seen = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        body = self._file.read(size)
        self._seen.update(body)
        self.size += len(body)
        return body

    @property
    def digest(self) -> str:
        return f"sha256:{self._seen.hexdigest()}"


@contextlib.contextmanager
def unpacked(layer: Layer) -> Iterator[IO[bytes]]:
    """The tar that is in the layer's blob, in a file that is gone after the block.

    Raises UsageError where the blob is not what `digest` names, or unpacks to anything but what `diff_id` names.
    """
    folder = store.cache() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    with store.room(folder), tempfile.TemporaryFile(dir=folder) as file:
        try:
            with layer.blob.open("rb") as blob:
                packed = _Counted(blob)
                tar = _Counted(compress.expanding(packed, layer.media_type))
                while piece := tar.read(_PIECE):
                    if tar.size > LARGEST:
                        raise UsageError(
                            f"layer {layer.name} unpacks to more than {LARGEST} bytes: it is neither scanned nor pushed"
                        )
                    file.write(piece)
                while packed.read(_PIECE):
                    pass
        except FileNotFoundError:
            raise UsageError(f"{layer.blob}, the layer {layer.name}, is not there: build again") from None
        except compress.errors(layer.media_type) as error:
            raise _damaged(layer, str(error)) from None
        if packed.digest != layer.digest:
            raise _damaged(layer, f"its blob is {packed.digest}, not {layer.digest}")
        if tar.digest != layer.diff_id:
            raise _damaged(layer, f"it unpacks to {tar.digest}, not {layer.diff_id}")
        file.seek(0)
        yield file


def _damaged(layer: Layer, why: str) -> UsageError:
    return UsageError(
        f"layer {layer.name} is not what the image says of it ({why}): it is neither scanned nor pushed; remove it with `lastgood cache "
        "--clear`, and build again"
    )


def seal(name: str, file: Path, method: str = "zstd", *, once: bool = True) -> Layer:
    """Replaces a layer's tar by its compressed form, and names both forms by their sha256. `once` takes the level for what is kept."""
    import tarfile  # not for a build that is there already

    body = file.read_bytes()
    packed = compress.compress(body, method, once=once)
    blob = file.with_suffix(f".tar.{compress.SUFFIXES[method]}")
    store.write(blob, packed)
    file.unlink()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        size = sum(member.size for member in archive)
    return Layer(
        name=name,
        blob=blob,
        diff_id=f"sha256:{hashlib.sha256(body).hexdigest()}",
        digest=f"sha256:{hashlib.sha256(packed).hexdigest()}",
        size=size,
        compressed=len(packed),
        media_type=compress.TYPES[method],
    )


def moved(layer: Layer, folder: Path) -> Layer:
    """The same layer, its files now in `folder`."""
    return replace(layer, blob=folder / layer.blob.name)


def kept(name: str, key: str, method: str, trees: Callable[[], list[tuple[Path, str]]], *, once: bool = True) -> Layer:
    """The layer of that key, written from `trees()` unless the cache has it."""
    from lastgood import tar

    recipe = hashlib.sha256(f"{key}\0{tar.RECIPE}\0{compress.RECIPE}\0{once}".encode()).hexdigest()
    target = store.cache() / "layers" / f"{name}-{recipe[:24]}-{method}"

    def make(folder: Path) -> None:
        tar.write(trees(), folder / "layer.tar")
        sealed = seal(name, folder / "layer.tar", method, once=once)
        (folder / "layer.json").write_text(json.dumps(sealed.as_dict()), encoding="utf-8")

    for _ in range(2):
        folder = store.entry(target, make)
        found = moved(Layer.of(json.loads((folder / "layer.json").read_bytes())), folder)
        if found.whole():
            return found
        store.remove(folder)  # somebody damaged it: it is made again
    raise UsageError(f"{target} changes while it is used: run the command again")
