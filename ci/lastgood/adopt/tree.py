"""The files of a repository that are worth reading: as git has them, or, where there is no git, all but what others made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lastgood.errors import UsageError

_LARGEST = 1_000_000  # bytes
_MOST = 50_000
_OTHERS = {"node_modules", ".git", ".tox", ".nox", "__pycache__", ".lastgood", ".venv-local", "bower_components"}


class Tree:
    """A repository's files below `root`, by their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = sorted(_listed(root))
        self._known = set(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def text(self, name: str) -> str:
        """The content of a file; empty where it is none, too large, a link or no text."""
        path = self.root / name
        try:
            if path.is_symlink() or path.stat().st_size > _LARGEST:
                return ""
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return ""

    def called(self, *names: str) -> list[str]:
        """The files of those names, the nearest to the root first."""
        return sorted(
            (one for one in self.names if PurePosixPath(one).name in names), key=lambda one: (one.count("/"), one)
        )

    def below(self, folder: str, suffix: str) -> list[str]:
        """The files below a folder (`.`: all) that end so."""
        top = "" if folder == "." else f"{folder}/"
        return [one for one in self.names if one.startswith(top) and one.endswith(suffix)]


def _listed(root: Path) -> list[str]:
    found = _of_git(root)
    names = found if found is not None else list(_walked(root))
    if len(names) > _MOST:
        raise UsageError(f"{root} holds more than {_MOST:,} files: run `lastgood init` in the folder of your project")
    return [name for name in names if (root / name).is_file() and not _OTHERS & set(PurePosixPath(name).parts)]


def _of_git(root: Path) -> list[str] | None:
    command = ["git", "-c", "safe.bareRepository=explicit", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    try:
        done = subprocess.run([*command, "--exclude-standard", "--", "."], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if done.returncode:
        return None
    return sorted({name for name in os.fsdecode(done.stdout).split("\0") if name})


def _walked(root: Path) -> Iterator[str]:
    for folder, inner, files in os.walk(root):
        if "pyvenv.cfg" in files:
            inner.clear()
            continue
        inner[:] = sorted(one for one in inner if one not in _OTHERS)
        yield from (Path(folder, file).relative_to(root).as_posix() for file in files)
