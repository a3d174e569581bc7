"""Which Debian lock is whose: the bundle's own, or that of a project which adds packages."""

from __future__ import annotations

from pathlib import Path

from lastgood import bundle, platform
from lastgood.config.project import ImageSettings
from lastgood.debian.locks import PROJECT_LOCK, Lock
from lastgood.debian.seeds import Seeds
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError


def has_own(image: ImageSettings) -> bool:
    """Whether a project with these settings adds Debian packages, and so has a lock of its own."""
    return bool(image.packages or image.build_packages)


def lock_file(root: Path) -> Path:
    """The file of the own lock of the project at `root`."""
    return root / PROJECT_LOCK


def seeds(root: Path, image: ImageSettings) -> Seeds:
    """The bundle's seeds, and what the project at `root` adds to them. Raises UsageError for what is no package's name."""
    ours = _bundled_seeds()
    if not has_own(image):
        return ours
    architectures = [platform.ALL[name].debian for name in image.platforms]
    return ours.add(root / "pyproject.toml", image.packages, image.build_packages, architectures)


def locked(root: Path, image: ImageSettings) -> Lock:
    """The lock that the project's image is made from. Raises UsageError where it is missing, damaged or not made from its seeds."""
    if not has_own(image):
        return bundled()
    file = lock_file(root)
    found = Lock.read(file)
    if found.seeds != seeds(root, image).digest:
        raise UsageError(
            f"{file} was not made from pyproject.toml and the bundle's base.toml as they are now: run `lastgood lock` and commit it"
        )
    return found


def bundled() -> Lock:
    """The bundle's own lock. Raises as `locked` does."""
    file = bundle.path("docker/base.lock")
    found = Lock.read(file)
    if found.seeds != _bundled_seeds().digest:
        raise UsageError(
            f"{file} was not made from {file.with_suffix('.toml')} as it is now: run `lastgood lock-base` and commit it"
        )
    return found


def stages(root: Path, image: ImageSettings) -> Stages:
    """The stages that the project's image is made from and with. Raises as `locked` does."""
    return Stages(locked(root, image), image.mirror, image.snapshot)


def _bundled_seeds() -> Seeds:
    return Seeds.read(bundle.path("docker/base.toml"))
