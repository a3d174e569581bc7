"""Prepared folders and files, keyed by what they are made from. An entry is there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Holds a lock file: two builds at once make an entry once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def entry(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made by `make(folder)` in a temporary folder beside it and moved into place when it is complete.

    A kill or a full disk leaves only the temporary folder, which the next run removes.
    """
    if target.is_dir():
        return target
    with _alone(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return target
        for left in target.parent.glob(f".part-{target.name}-*"):
            remove(left)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".part-{target.name}-"))
        try:
            make(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            remove(temporary)
            raise
    return target


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to, beside `target`; it becomes `target` at the end of the block, and is removed where the block fails."""
    part = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def workspace(parent: Path, prefix: str) -> Iterator[Path]:
    """An empty folder `parent`/`prefix`… for the time of the block; those that killed runs left are removed first.

    A run holds a lock on its folder, which ends with it: what can be locked is nobody's.
    """
    with _alone(parent / f".{prefix}.lock"):
        for left in parent.glob(f"{prefix}*"):
            handle = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(left)
            except BlockingIOError:
                continue
            finally:
                os.close(handle)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        own = os.open(folder, os.O_RDONLY)
        fcntl.flock(own, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        os.close(own)
        remove(folder)


def remove(folder: Path) -> None:
    """Removes a folder, also where its own modes forbid it."""
    folder.chmod(0o700)
    for name, inside, _ in os.walk(folder):
        for child in inside:  # mended before the walk goes into them
            if not (Path(name) / child).is_symlink():
                (Path(name) / child).chmod(0o700)
    shutil.rmtree(folder)
