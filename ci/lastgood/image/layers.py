"""Layers: a deterministic tar, compressed, and both forms named by their sha256."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import compress


@dataclass(frozen=True)
class Layer:
    """One layer: its files lie in `tar` (unpacked form) and `blob` (compressed, as `media_type` says). Sizes are in bytes.

    `owners` is the file that says which package or distribution each path is of, where one does.
    """

    name: str
    tar: Path
    blob: Path
    diff_id: str
    digest: str
    size: int
    compressed: int
    media_type: str = compress.TYPES["zstd"]
    owners: Path | None = None

    def as_dict(self) -> dict[str, object]:
        """JSON-able facts."""
        paths = {"tar": str(self.tar), "blob": str(self.blob), "owners": str(self.owners) if self.owners else None}
        return vars(self) | paths

    @classmethod
    def of(cls, data: Mapping[str, object]) -> Layer:
        """From `as_dict`."""
        paths = {name: Path(str(data[name])) if data[name] else None for name in ("tar", "blob", "owners")}
        return cls(**dict(data) | paths)  # type: ignore[arg-type]

    def whole(self) -> bool:
        """Whether its files are still there."""
        try:
            return self.blob.stat().st_size == self.compressed and self.tar.is_file()
        except FileNotFoundError:
            return False


def seal(name: str, file: Path, method: str = "zstd", *, once: bool = True) -> Layer:
    """Compresses a layer tar beside itself, and names both forms by their sha256. `once` takes the level for what is kept."""
    import tarfile  # not for a build that is there already

    body = file.read_bytes()
    packed = compress.compress(body, method, once=once)
    blob = file.with_suffix(f".tar.{compress.SUFFIXES[method]}")
    store.write(blob, packed)
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        size = sum(member.size for member in archive)
    return Layer(
        name=name,
        tar=file,
        blob=blob,
        diff_id=f"sha256:{hashlib.sha256(body).hexdigest()}",
        digest=f"sha256:{hashlib.sha256(packed).hexdigest()}",
        size=size,
        compressed=len(packed),
        media_type=compress.TYPES[method],
    )


def moved(layer: Layer, folder: Path) -> Layer:
    """The same layer, its files now in `folder`."""
    return replace(layer, tar=folder / layer.tar.name, blob=folder / layer.blob.name)


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
