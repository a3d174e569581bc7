"""The application's own files, as git knows them: copied once, so that what is compiled, run and shipped is one state of them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lastgood.errors import UsageError
from lastgood.image import catalogues, commit, excluded
from lastgood.report.text import readable

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(ext-\S+ .*\n)*oid sha256:[0-9a-f]{64}\nsize \d+\n"
)
# {path: why} of what stays out, by the folder and the paths below it.
Leave = Callable[[Path, list[str]], dict[str, str]]


@dataclass(frozen=True)
class Source:
    """What was copied: path below the app folder → a sha256 of it, and the bytes of what is to be compiled.

    `made` names what git lacks, `left` what was not copied, and why.
    """

    files: dict[str, str]
    modules: dict[str, bytes]
    digest: str
    made: tuple[str, ...] = ()
    left: dict[str, str] = field(default_factory=dict)


def signature(folder: Path) -> str:
    """Changes whenever git's files below `folder` may have changed: from their names, sizes and times, not their content."""
    seen = hashlib.sha256()
    for name in commit.files(folder):
        found = os.lstat(folder / name)
        facts = (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino)
        seen.update(os.fsencode(name) + repr(facts).encode())
    return seen.hexdigest()


def copy(app: Path, target: Path, leave: Leave | None = None) -> Source:
    """Copies what git knows of the folder `app` to `target`, and compiles the translations that git does not have compiled.

    What `leave` says stays out, and lastgood's own table where it says anything.

    Raises UsageError for a name that is not UTF-8, for a link that leads out of the folder, or to what git does not know, and for a pointer
    in place of a file.
    """
    names = commit.files(app)
    left = leave(app, names) if leave else {}
    known = {*names, *(parent.as_posix() for name in names for parent in PurePosixPath(name).parents)}
    names = [name for name in names if name not in left]
    files: dict[str, str] = {}
    modules: dict[str, bytes] = {}
    seen = hashlib.sha256()
    made: set[Path] = set()
    for name in names:
        _check_name(app, name)
        origin, copied = app / name, target / name
        if copied.parent not in made:
            copied.parent.mkdir(parents=True, exist_ok=True)
            made.add(copied.parent)
        if origin.is_symlink():
            link = _checked_link(app, name, known)
            copied.symlink_to(link)
            body, mode = os.fsencode(link), "link"
        else:
            body = origin.read_bytes()
            if _POINTER.fullmatch(body) and commit.of_lfs(origin):
                raise UsageError(
                    f"{app.name}/{readable(name)} is a pointer of Git LFS and not the file: run `git lfs pull` (in the workflows, "
                    "`lfs: true`)"
                )
            if leave and name == "pyproject.toml":
                whole, body = body, excluded.without_table(body)
                left |= {name: excluded.OWN} if body != whole else {}
                if not body:
                    continue
            copied.write_bytes(body)
            executable = origin.stat().st_mode & 0o100
            copied.chmod(0o755 if executable else 0o644)
            mode = "program" if executable else "file"
            if name.endswith(".py"):
                modules[name] = body
        files[name] = hashlib.sha256(body).hexdigest()
        seen.update(f"{name}\0{mode}\0{files[name]}\n".encode())
    compiled = catalogues.add(target, files)
    seen.update(repr(sorted(compiled.items())).encode())
    return Source(files | compiled, modules, seen.hexdigest(), tuple(compiled), left)


def leaving(exclude: Collection[str], keep: Collection[str]) -> Leave:
    """What stays out of the image by default and by a project's patterns, as `copy` takes it."""

    def leave(app: Path, names: list[str]) -> dict[str, str]:
        plain = [name for name in names if not (app / name).is_symlink()]
        return excluded.chosen(plain, lambda name: (app / name).read_bytes(), exclude, keep)

    return leave


def _check_name(app: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name of {app.name}/{readable(name)} is not UTF-8: rename it, then build again") from None


def _checked_link(app: Path, name: str, known: set[str]) -> str:
    link = str((app / name).readlink())
    leads = os.path.normpath(PurePosixPath(name).parent / link)
    real = os.path.realpath(app / name)
    top = os.path.realpath(app)
    if leads.startswith(("/", "../")) or leads == ".." or not (real == top or real.startswith(f"{top}/")):
        raise UsageError(
            f"{app.name}/{name} is a link to {readable(link)}, which leaves {app}: nothing outside gets into the image; put the "
            "file itself there, or remove the link"
        )
    if leads not in known:
        raise UsageError(
            f"{app.name}/{name} is a link to {readable(link)}, which is not there or not known to git: add what it leads to, or "
            "remove the link"
        )
    return link


def package(folder: Path, target: Path) -> dict[str, bytes]:
    """Copies a package of the bundle to `target`; returns its modules."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in sorted(target.rglob("*.py"))}
