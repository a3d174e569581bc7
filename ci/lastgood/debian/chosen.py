"""Which Debian lock is whose: the bundle's own, or that of a project which adds packages."""

from __future__ import annotations

import functools
from pathlib import Path

from lastgood import bundle, platform
from lastgood.config.project import Project
from lastgood.debian.locks import PROJECT_LOCK, Lock
from lastgood.debian.seeds import Seeds
from lastgood.errors import UsageError


def has_own(project: Project | None) -> bool:
    """Whether the project adds Debian packages, and so has a lock of its own."""
    return project is not None and bool(project.image.packages or project.image.build_packages)


def lock_file(project: Project) -> Path:
    """The file of the project's own lock."""
    return project.root / PROJECT_LOCK


def seeds(project: Project | None = None) -> Seeds:
    """The bundle's seeds, and what the project adds to them. Raises UsageError for what is no package's name."""
    ours = Seeds.read(bundle.path("docker/base.toml"))
    if project is None or not has_own(project):
        return ours
    image = project.image
    architectures = [platform.ALL[name].debian for name in image.platforms]
    return ours.add(project.root / "pyproject.toml", image.packages, image.build_packages, architectures)


def locked(project: Project | None = None) -> Lock:
    """The lock that the project's image is made from. Raises UsageError where it is missing, damaged or not made from its seeds."""
    if project is not None and has_own(project):
        file = lock_file(project)
        found = _read(file)
        if found.seeds != seeds(project).digest:
            raise UsageError(
                f"{file} was not made from pyproject.toml and the bundle's base.toml as they are now: run `lastgood lock` and commit it"
            )
        return found
    file = bundle.path("docker/base.lock")
    found = _read(file)
    if found.seeds != seeds().digest:
        raise UsageError(
            f"{file} was not made from {file.with_suffix('.toml')} as it is now: run `lastgood lock-base` and commit it"
        )
    return found


def _read(file: Path) -> Lock:
    """The lock, parsed and checked once for as long as the file is as it was: a build asks for it for every key."""
    try:
        facts = file.stat()
    except OSError:
        return Lock.read(file)  # which says what is wrong
    return _parsed(file, facts.st_mtime_ns, facts.st_size, facts.st_ino)


@functools.lru_cache(maxsize=4)
def _parsed(file: Path, *_facts: int) -> Lock:
    return Lock.read(file)
