"""What git says of the project: the commit that a build is made from, and the files that belong to it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lastgood.errors import Refused, UsageError
from lastgood.report.text import readable


@dataclass(frozen=True)
class Commit:
    """`build` is the build's name; `version` what `git describe` says; `created` the commit's time (RFC 3339, UTC)."""

    sha: str
    build: str
    version: str
    created: str
    source: str


_STATUS = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignore-submodules=none", "--", ".")
_LOG = ("log", "-1", "--format=%H %ct", "HEAD")
_DESCRIBE = ("describe", "--tags", "--always", "--abbrev=12")
_REMOTE = ("config", "--get", "remote.origin.url")
_FILES = ("ls-files", "-z", "-v", "--cached", "--others", "--exclude-standard", "--", ".")
_IGNORED = (
    "ls-files",
    "-z",
    "--others",
    "--ignored",
    "--exclude-standard",
    "--directory",
    "--no-empty-directory",
    "--",
    ".",
)
_NOISE = re.compile(r"(^|/)(__pycache__|\.DS_Store|\.lastgood)(/|$)|\.py[co]$")


def _start(folder: Path, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """git, without its writing to the index: two builds at once then never meet there."""
    try:
        return subprocess.Popen(
            # A folder of the project that looks like a bare repository brings a configuration of its own, which may name programs.
            ["git", "-c", "safe.bareRepository=explicit", "-C", str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UsageError("git is not installed: a build is named by its commit; install git") from None


def _answer(folder: Path, done: subprocess.Popen[bytes]) -> str:
    output, errors = done.communicate()
    _check(folder, done.returncode, errors)
    return os.fsdecode(output)


def _check(folder: Path, status: int, errors: bytes) -> None:
    if status:
        said = (errors.decode(errors="replace").strip() or "git failed").splitlines()[0]
        raise UsageError(
            f"{folder} is not in a git repository with a commit ({said}): a build is made from one commit; commit, then build"
        )


def read(folder: Path, *, allow_dirty: bool) -> Commit:
    """The commit of the project at `folder`. Raises Refused for changes that are not committed, unless they are allowed."""
    # At the same time: together they cost as much as the slowest of them.
    running = [_start(folder, arguments) for arguments in (_LOG, _STATUS, _DESCRIBE, _REMOTE)]
    answers = [one.communicate() for one in running]
    for one, (_, errors) in zip(running[:3], answers, strict=False):
        _check(folder, one.returncode, errors)
    log, status, version, source = (os.fsdecode(output).strip() for output, _ in answers)
    sha, time = log.split()
    changed = [entry for entry in status.split("\0") if entry and not entry.startswith("# ")]
    build = sha[:12]
    if changed:
        names = _names(changed)
        if not allow_dirty:
            raise Refused(
                f"{folder} has changes that are not committed ({names[0]}, {len(names)} in all): commit them, or build with "
                "--allow-dirty"
            )
        build += f"-dirty-{_difference(folder, changed, names)[:8]}"
    created = datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Commit(sha, build, version, created, source if source.startswith("https://") and "@" not in source else "")


def _names(changed: list[str]) -> list[str]:
    """The paths in entries of `git status --porcelain=v2 -z`, from the repository's top (git-status(1), "Porcelain Format Version 2")."""
    fields = {"1": 8, "2": 9, "u": 10, "?": 1}
    names = []
    entries = iter(changed)
    for entry in entries:
        kind = entry[0]
        names.append(entry.split(" ", fields[kind])[-1])
        if kind == "2":
            next(entries)  # the name that it had before
    return names


def _difference(folder: Path, changed: list[str], names: list[str]) -> str:
    """A sha256 of all that is not committed, so that two builds of one name hold the same files."""
    top = _top(folder)
    seen = hashlib.sha256(os.fsencode("\0".join(sorted(changed))))
    for name in sorted(names):
        path = top / name
        if path.is_symlink():
            seen.update(os.fsencode(path.readlink()))
        for one in [path / inner for inner in files(path)] if path.is_dir() and not path.is_symlink() else [path]:
            if one.is_file() and not path.is_symlink():
                seen.update(f"{one.stat().st_mode & 0o100}".encode() + hashlib.sha256(one.read_bytes()).digest())
    return seen.hexdigest()


def _top(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return Path(_answer(folder, _start(folder, ("rev-parse", "--show-toplevel"))).rstrip("\n"))


def files(folder: Path) -> list[str]:
    """The files and links below `folder` that git knows or would not ignore, those of submodules too, sorted, as paths below it.

    A name in no encoding is as Python has it, with surrogates. Raises UsageError for a submodule that is not checked out, and for what git
    was told not to look at: what is there may not be what the commit holds.
    """
    found: set[str] = set()
    for entry in filter(None, _answer(folder, _start(folder, _FILES)).split("\0")):
        tag, name = entry[0], entry[2:]
        path = folder / name
        if tag == "S" or tag.islower():
            how = (
                ("assume-unchanged", "--no-assume-unchanged") if tag == "h" else ("skip-worktree", "--no-skip-worktree")
            )
            raise UsageError(
                f"git was told not to look at {folder.name}/{readable(name)} ({how[0]}), so the build could be another than the commit's: "
                f"run `git update-index {how[1]} {readable(name)}` there, or `git sparse-checkout disable`"
            )
        if path.is_symlink() or path.is_file():
            found.add(name)
        elif path.is_dir():
            found |= {f"{name.rstrip('/')}/{inner}" for inner in _submodule(folder, name.rstrip("/"))}
    return sorted(found)


def _submodule(folder: Path, name: str) -> list[str]:
    if not (folder / name / ".git").exists():
        raise UsageError(
            f"{folder.name}/{readable(name)} is a submodule that is not checked out: run `git submodule update --init --recursive` (in the "
            "workflows, `submodules: recursive`), or remove it"
        )
    return files(folder / name)


def ignored(folder: Path) -> list[str]:
    """What git ignores below `folder`, as paths below it, folders with `/`; not what Python and lastgood itself leave there."""
    listed = _answer(folder, _start(folder, _IGNORED)).split("\0")
    return sorted(name for name in listed if name and not _NOISE.search(name))


def of_lfs(file: Path) -> bool:
    """Whether git keeps the content of that file elsewhere (Git LFS)."""
    said = _answer(file.parent, _start(file.parent, ("check-attr", "-z", "filter", "--", file.name)))
    return said.split("\0")[2:3] == ["lfs"]
