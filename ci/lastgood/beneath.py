"""Writing into a tree that archives of strangers were unpacked into: never through a link of theirs that leads out of it.

`/etc` may be a link to this machine's own `/etc` there: an absolute one is right where the tree will be the root, and leads astray here.
Whatever we write, make, look through or remove in such a tree goes by one of these.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lastgood.errors import UsageError


def folder(root: Path, name: str) -> Path:
    """The folder `name` below `root`, made with those above it where it is missing; links inside the tree are followed.

    Raises UsageError for one that a link leads out of the tree, or that is a file.
    """
    return _folder(root.resolve(), name, make=True)


def there(root: Path, name: str) -> Path | None:
    """The folder `name` below `root`, or None where there is none. Raises as `folder` does, and makes nothing."""
    top = root.resolve()
    return _folder(top, name, make=False) if (top / name).is_dir() or (top / name).is_symlink() else None


def place(root: Path, name: str) -> Path:
    """Where to write the file or link `name` below `root`: its folder is there, and nothing of that name that a write could follow.

    Raises as `folder` does, and where `name` is a folder.
    """
    parent, _, last = name.strip("/").rpartition("/")
    target = _folder(root.resolve(), parent, make=True) / last
    if target.is_symlink() or target.is_file():
        target.unlink()  # also a second name of a file: what it shares its content with is not to change
    elif target.exists():
        raise UsageError(
            f"{target} is no file, and lastgood has to write one there: choose another version of the package that has it"
        )
    return target


def write(root: Path, name: str, content: bytes | str) -> Path:
    """Writes the file `name` below `root`; returns its path. Raises as `place` does."""
    target = place(root, name)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def remove(root: Path, name: str) -> None:
    """Removes what is at `name` below `root`, if anything is: a link itself, a folder with all that is in it."""
    parent, _, last = name.strip("/").rpartition("/")
    found = there(root, parent) if parent else root.resolve()
    if found is None:
        return
    target = found / last
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def files(root: Path, name: str, suffix: str) -> Iterator[Path]:
    """The files with that suffix in the folder `name` below `root` and below it, sorted; links are no files, and none is followed."""
    top = there(root, name)
    for path in sorted(top.rglob(f"*{suffix}")) if top else ():
        if path.is_file() and not path.is_symlink():
            yield path


def _folder(top: Path, name: str, *, make: bool) -> Path:
    current = top
    for part in filter(None, name.split("/")):
        found = current / part
        if part == ".." or (found.is_symlink() and not found.resolve().is_relative_to(top)):
            where = f"a link to {os.readlink(found)}" if found.is_symlink() else "a way up"  # noqa: PTH115  also one that dangles
            raise UsageError(
                f"{found.relative_to(top)} in {top} is {where}, which leads out of the tree: nothing is read or written there; choose "
                "another version of the package that has it"
            )
        if make and not found.exists() and not found.is_symlink():
            found.mkdir()
        if not found.is_dir():
            raise UsageError(
                f"{found.relative_to(top)} in {top} is no folder, and has to be one: choose another version of the package that has it"
            )
        current = found.resolve()
    return current
