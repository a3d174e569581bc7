"""What git says of the project: the commit that a build is made from."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lastgood.errors import Refused, UsageError


@dataclass(frozen=True)
class Commit:
    """`build` is the build's name; `version` what `git describe` says; `created` the commit's time (RFC 3339, UTC)."""

    sha: str
    build: str
    version: str
    created: str
    source: str


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(
            f"{folder} is not in a git repository with a commit ({(done.stderr.strip() or 'git failed').splitlines()[0]}): "
            "a build is made from one commit; commit, then build"
        )
    return done.stdout.rstrip()


def _difference(folder: Path, changed: str) -> str:
    """A sha256 of all that is not committed, so that two builds of one name hold the same files."""
    seen = hashlib.sha256((_git(folder, "diff", "HEAD", "--binary", "--", ".") + changed).encode())
    for name in sorted(_git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--", ".").split("\0")):
        if (folder / name).is_file():
            seen.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    return seen.hexdigest()


def read(folder: Path, *, allow_dirty: bool) -> Commit:
    """The commit of the project at `folder`. Raises Refused for changes that are not committed, unless they are allowed."""
    try:
        sha = _git(folder, "rev-parse", "HEAD")
    except FileNotFoundError:
        raise UsageError("git is not installed: a build is named by its commit; install git") from None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    if changed and not allow_dirty:
        first = changed.splitlines()[0][3:]
        raise Refused(
            f"{folder} has changes that are not committed ({first}, {len(changed.splitlines())} in all): commit them, or build with "
            "--allow-dirty"
        )
    build = sha[:12]
    if changed:
        build += f"-dirty-{_difference(folder, changed)[:8]}"
    created = datetime.fromtimestamp(int(_git(folder, "log", "-1", "--format=%ct")), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    remote = subprocess.run(
        ["git", "-C", str(folder), "config", "--get", "remote.origin.url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    version = _git(folder, "describe", "--tags", "--always", "--abbrev=12")
    return Commit(sha, build, version, created, remote if remote.startswith("https://") and "@" not in remote else "")


def files(folder: Path) -> list[str]:
    """The files below `folder` that git knows or would not ignore, sorted, as paths below it."""
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".")
    return sorted(name for name in listed.split("\0") if name and (folder / name).is_file())
