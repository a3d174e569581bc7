"""Deterministic layers: the same files give the same bytes on every machine.

Entries are sorted, owned by root, of one time, with every parent folder written out, so that no engine adds its own. The format is
ustar, with a PAX header only for what does not fit (a long or non-ASCII name), which holds that and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import compress
from lastgood.report.text import readable

RECIPE = 1  # counted up when the same files give other bytes
_WORLD_WRITABLE = {"tmp": 0o1777}
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


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


def write(trees: Iterable[tuple[Path, str]], target: Path) -> None:
    """Writes `target`, a tar of each (tree, prefix) with the tree's content below the prefix (as `app`, or empty for the top).

    Raises UsageError for a name that is not UTF-8, and for what is no file, folder or link.
    """
    entries: dict[str, Path | None] = {}
    for tree, prefix in trees:
        for path in _walk(tree):
            relative = os.path.relpath(path, tree)
            name = "/".join(part for part in (prefix, "" if relative == "." else relative) if part)
            if name:
                entries[_readable(name)] = path
    for name in list(entries):
        for parent in Path(name).parents:
            if parent.as_posix() != ".":
                entries.setdefault(parent.as_posix(), None)
    with store.replacing(target) as part, tarfile.open(part, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(entries):
            _add(archive, name, entries[name])


def _walk(tree: Path) -> Iterable[Path]:
    yield tree
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            yield Path(folder, name)


def _readable(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name of {readable(name)} is not UTF-8: rename it, then build again") from None
    return name


def _add(archive: tarfile.TarFile, name: str, path: Path | None) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = 0
    mode = stat.S_IFDIR if path is None else path.lstat().st_mode
    if path is None or stat.S_ISDIR(mode):
        info.type, info.mode = tarfile.DIRTYPE, _WORLD_WRITABLE.get(name, 0o755)
        archive.addfile(info)
    elif stat.S_ISLNK(mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, _readable(str(path.readlink())), 0o777
        archive.addfile(info)
    elif stat.S_ISREG(mode):
        # A second name of one file is written as a file of its own: whether two names share one is the disk's affair.
        body = path.read_bytes()
        info.size = len(body)
        info.mode = 0o755 if mode & 0o100 else 0o644
        archive.addfile(info, io.BytesIO(body))
    else:
        raise UsageError(
            f"{path} is {_KINDS[stat.S_IFMT(mode)]}, which has no place in an image: remove it, then build again"
        )


def seal(name: str, tar: Path, method: str = "zstd", *, once: bool = True) -> Layer:
    """Compresses a layer tar beside itself, and names both forms by their sha256. `once` takes the level for what is kept."""
    body = tar.read_bytes()
    packed = compress.compress(body, method, once=once)
    blob = tar.with_suffix(f".tar.{compress.SUFFIXES[method]}")
    store.write(blob, packed)
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        size = sum(member.size for member in archive)
    return Layer(
        name=name,
        tar=tar,
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
