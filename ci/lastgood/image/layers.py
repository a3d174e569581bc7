"""Deterministic layers: the same files give the same bytes on every machine.

Entries are sorted, owned by root, of one time, with every parent folder written out, so that no engine adds its own.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lastgood.image import store

_WORLD_WRITABLE = {"tmp": 0o1777}


@dataclass(frozen=True)
class Layer:
    """One layer: its files lie in `tar` (unpacked form) and `blob` (gzip). Sizes are in bytes."""

    name: str
    tar: Path
    blob: Path
    diff_id: str
    digest: str
    size: int
    compressed: int


def write(trees: Iterable[tuple[Path, str]], target: Path) -> None:
    """Writes `target`, a tar of each (tree, prefix) with the tree's content below the prefix (as `app`, or empty for the top)."""
    entries: dict[str, Path | None] = {}
    for tree, prefix in trees:
        for path in [tree, *tree.rglob("*")]:
            relative = path.relative_to(tree).as_posix()
            name = "/".join(part for part in (prefix, "" if relative == "." else relative) if part)
            if name:
                entries[name] = path
    for name in list(entries):
        for parent in Path(name).parents:
            if parent.as_posix() != ".":
                entries.setdefault(parent.as_posix(), None)
    with store.replacing(target) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(entries):
            _add(archive, name, entries[name])


def _add(archive: tarfile.TarFile, name: str, path: Path | None) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = 0
    if path is not None and path.is_symlink():
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        archive.addfile(info)
    elif path is None or path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, _WORLD_WRITABLE.get(name, 0o755)
        archive.addfile(info)
    else:
        body = path.read_bytes()
        info.size = len(body)
        info.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
        archive.addfile(info, io.BytesIO(body))


def seal(name: str, tar: Path) -> Layer:
    """Compresses a layer tar beside itself (gzip without name or time) and names both forms by their sha256."""
    blob = tar.with_suffix(".tar.gz")
    body = tar.read_bytes()
    if not blob.is_file():
        with (
            store.replacing(blob) as part,
            part.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        ):
            packed.write(body)
    with tarfile.open(tar) as archive:
        size = sum(member.size for member in archive)
    return Layer(
        name=name,
        tar=tar,
        blob=blob,
        diff_id=f"sha256:{hashlib.sha256(body).hexdigest()}",
        digest=f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}",
        size=size,
        compressed=blob.stat().st_size,
    )
