"""Installs what a Python lock names into a folder, as wheels that were looked at first."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name
from packaging.version import Version

from lastgood import limits
from lastgood.debian.unpack import leaves
from lastgood.errors import UsageError
from lastgood.platform import Platform
from lastgood.python import fetch, locked
from lastgood.python.compiling import Compiler
from lastgood.python.locked import Locked
from lastgood.report.text import readable


def install(lock: Path, compiler: Compiler, platform: Platform, wheels: Path, target: Path) -> None:
    """Installs what `lock` names into `target`; `wheels` is an empty or missing folder to work in.

    Raises UsageError for what can't be fetched, is not what the lock names, does not compile, or would leave `target`.
    """
    named = locked.read(lock, platform, compiler.stages.python(platform))
    for source in fetch.download(lock, named, platform, wheels):
        compiler.wheel(platform, source, wheels)
        source.file.unlink()
    files = sorted(wheels.glob("*.whl"))
    for file in files:
        check(file)
    arguments = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(target)]
    done = fetch.pip([*arguments, *fetch.target(platform), *map(str, files)] if files else ["--version"])
    if done.returncode:
        raise UsageError(fetch.explain(done.stderr + done.stdout, lock, platform))
    prove(lock, named, target)


def prove(lock: Path, named: Sequence[Locked], target: Path) -> None:
    """Raises UsageError unless just the distributions that `lock` names are installed in `target`, in the versions that it names."""
    there = {}
    for info in sorted(target.glob("*.dist-info")):
        facts = metadata(info)
        there[str(canonicalize_name(facts["Name"] or info.name.split("-")[0]))] = facts["Version"] or ""
    wanted = {one.name: one.version for one in named}
    for name, version in wanted.items():
        if name not in there:
            raise UsageError(
                f"{lock.name} names {name}, and what the index gave for it is not that: find out what it is, and run `lastgood lock`"
            )
        if version and Version(version) != Version(there[name]):
            raise UsageError(
                f"{lock.name} names {name} {version}, and what the index gave for it says that it is {there[name]}: find out why, and run "
                "`lastgood lock`"
            )
    more = sorted(there.keys() - wanted.keys())
    if more:
        raise UsageError(
            f"{more[0]} was installed, and {lock.name} does not name it: find out why, and run `lastgood lock`"
        )


def metadata(info: Path) -> Message:
    """The headers of a distribution's METADATA; none where it has no such file."""
    file = info / "METADATA"
    return BytesHeaderParser().parsebytes(file.read_bytes() if file.is_file() else b"")


def check(wheel: Path) -> None:
    """Raises UsageError for a wheel that is damaged or becomes far more than it is, and for a name or link in it that leaves its folder."""
    counts = limits.Unpacking(wheel.name, wheel.stat().st_size)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                counts.entry(info.filename, info.file_size)
                _check_entry(wheel, archive, info)
    except UnicodeDecodeError as error:
        raw = bytes(error.object)
        raise UsageError(
            f"{wheel.name} holds a file whose name is no UTF-8 ({raw!r}): it is not installed; choose another version of it"
        ) from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{wheel.name} is no wheel ({error}): choose another version of it") from None


def _check_entry(wheel: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
        raise UsageError(
            f"{wheel.name} holds {readable(info.filename)}, which lies outside its folder: it is not installed; choose another version"
        )
    if any(ord(letter) < 32 or "\ud800" <= letter <= "\udfff" for letter in info.filename):
        raise UsageError(
            f"{wheel.name} holds a file whose name can't be written ({info.filename!r}): it is not installed; choose another version of it"
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        link = archive.open(info).read(limits.NAME).decode(errors="replace")
        if link.startswith("/") or leaves(info.filename, link):
            raise UsageError(
                f"{wheel.name} holds {readable(info.filename)}, a link to {readable(link)}, which lies outside its folder: it is not "
                "installed; choose another version"
            )
