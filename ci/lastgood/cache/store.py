"""Prepared folders and files, keyed by what they are made from. An entry is there whole or not at all.

The cache's folders are kinds (`base`, `layers`, …), and each child of a kind is one entry. Its time says when it was used last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from lastgood.errors import UsageError

PART = ".part-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache() -> Path:
    """The folder of downloads and prepared layers, shared by projects; every entry can be made again."""
    base = os.environ.get("LASTGOOD_CACHE")
    if base:
        return Path(base).resolve()
    return (Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lastgood").resolve()


@contextlib.contextmanager
def using(folder: Path) -> Iterator[None]:
    """Says that entries of the cache `folder` are in use: nothing is pruned until the block ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".in-use").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the cache; then nobody begins to until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".in-use").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Holds a lock file: two builds at once make an entry once. The file is removed by whoever held it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # The one we waited for has removed the file that we opened: whoever comes next would hold another one.
            if not _same(handle.fileno(), file):
                continue
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _same(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def room(folder: Path) -> Iterator[None]:
    """Turns a full disk into one sentence. Raises UsageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UsageError(
            f"there is no room left to write in {folder} ({error.strerror}): nothing half done was kept; make room (`lastgood cache "
            "--prune`), or point LASTGOOD_CACHE to another disk, and run the command again"
        ) from None


def entry(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made by `make(folder)` in a temporary folder beside it and moved into place when it is complete.

    A kill leaves only the temporary folder, which the next run removes. Raises UsageError where the disk is full.
    """
    if target.is_dir():
        touch(target)
        return target
    with room(target.parent), _alone(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return target
        for left in target.parent.glob(f"{PART}{target.name}-*"):
            remove(left)
        temporary = _folder(target.parent, f"{PART}{target.name}-")
        try:
            make(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            remove(temporary)
            raise
    return target


def touch(target: Path) -> None:
    """Notes that an entry was used now. A cache that we may only read is no reason to fail."""
    with contextlib.suppress(OSError):
        os.utime(target)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to, beside `target`; it becomes `target` at the end of the block, and is removed where the block fails."""
    part = target.with_name(f"{PART}{os.getpid()}-{threading.get_ident()}-{target.name}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write(file: Path, content: bytes) -> None:
    """Replaces `file` by `content`, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.write_bytes(content)


def _folder(parent: Path, prefix: str) -> Path:
    import tempfile  # what is asked for is there, mostly

    return Path(tempfile.mkdtemp(dir=parent, prefix=prefix))


@contextlib.contextmanager
def workspace(parent: Path, prefix: str) -> Iterator[Path]:
    """An empty folder `parent`/`prefix`… for the time of the block; those that killed runs left are removed first.

    A run holds a lock on its folder until that is gone, or the run is: what can be locked is nobody's. One folder at a time is made or
    looked at, whatever its prefix, since one prefix may begin with another.
    """
    with room(parent), _alone(parent / ".workspaces.lock"):
        for left in parent.glob(f"{prefix}*"):
            if nobodys(left):
                remove(left)
        folder = _folder(parent, prefix)
        own = os.open(folder, os.O_RDONLY)
        fcntl.flock(own, fcntl.LOCK_EX)
    try:
        with room(folder):
            yield folder
    finally:
        remove(folder)
        os.close(own)


def nobodys(path: Path) -> bool:
    """Whether nobody holds a lock on that file or folder."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def remove(path: Path) -> None:
    """Removes a file or a folder, also where its own modes forbid it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    path.chmod(0o700)
    for name, inside, _ in os.walk(path):
        for child in inside:  # mended before the walk goes into them
            if not (Path(name) / child).is_symlink():
                (Path(name) / child).chmod(0o700)
    shutil.rmtree(path)
