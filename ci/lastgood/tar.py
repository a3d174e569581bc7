"""Deterministic tars: the same files give the same bytes on every machine.

Entries are sorted, owned by root, of one time, with every parent folder written out, so that no engine adds its own. The format is
ustar, with a PAX header only for what does not fit (a long or non-ASCII name), which holds that and nothing else.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.report.text import readable

RECIPE = 1  # counted up when the same files give other bytes
_WORLD_WRITABLE = {"tmp": 0o1777}
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


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
