"""Installs what a Python lock names into a folder, as wheels that were looked at first."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath

from lastgood import limits
from lastgood.debian.unpack import leaves
from lastgood.errors import UsageError
from lastgood.platform import Platform
from lastgood.python import fetch
from lastgood.python.compiling import Compiler
from lastgood.report.text import readable


def install(lock: Path, compiler: Compiler, platform: Platform, wheels: Path, target: Path) -> None:
    """Installs what `lock` names into `target`; `wheels` is an empty or missing folder to work in.

    Raises UsageError for what can't be fetched, is not what the lock names, does not compile, or would leave `target`.
    """
    for source in fetch.download(lock, platform, wheels):
        compiler.wheel(platform, source, wheels)
        source.file.unlink()
    files = sorted(wheels.glob("*.whl"))
    for file in files:
        check(file)
    arguments = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(target)]
    done = fetch.pip([*arguments, *fetch.target(platform), *map(str, files)] if files else ["--version"])
    if done.returncode:
        raise UsageError(fetch.explain(done.stderr + done.stdout, lock, platform))


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
