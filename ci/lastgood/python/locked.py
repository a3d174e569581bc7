"""What a Python lock names for one platform, line by line, as pip will be given it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lastgood.platform import Platform
from lastgood.python import requirements
from lastgood.python.interpreter import VERSION


@dataclass(frozen=True)
class Locked:
    """One requirement of a lock: what it names, the sha256 of the files that may be it, and whether it is to be compiled."""

    requirement: Requirement
    hashes: tuple[str, ...]
    from_source: bool = False

    @property
    def name(self) -> str:
        """Normalised."""
        return str(canonicalize_name(self.requirement.name))

    @property
    def text(self) -> str:
        """The line for pip, without a marker: those are evaluated here, for the image's platform."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        wanted = f" @ {self.requirement.url}" if self.requirement.url else str(self.requirement.specifier)
        return " ".join([f"{self.requirement.name}{extras}{wanted}", *(f"--hash=sha256:{one}" for one in self.hashes)])

    @property
    def version(self) -> str:
        """The exact version, or nothing where it is named by an address."""
        return next((one.version for one in self.requirement.specifier), "")


def read(lock: Path, platform: Platform, python: str = "") -> list[Locked]:
    """What `lock` names for `platform` and the Python of that full version; what has a marker that is false there is left out.

    Raises UsageError where it is no lock.
    """
    lines = requirements.locked(lock.name, requirements.text(lock.name, lock.read_bytes()))
    compiled = requirements.from_source(lines)
    values = environment(platform, python or f"{VERSION}.0")
    found = []
    for line in lines:
        wanted = line.requirement
        if wanted and (wanted.marker is None or wanted.marker.evaluate(values)):
            found.append(Locked(wanted, line.hashes, canonicalize_name(wanted.name) in compiled))
    return found


def environment(platform: Platform, python: str) -> dict[str, str]:
    """The values of environment markers in the image (https://packaging.python.org/en/latest/specifications/dependency-specifiers/)."""
    return {
        "implementation_name": "cpython", "implementation_version": python, "os_name": "posix",
        "platform_machine": platform.machine, "platform_python_implementation": "CPython", "platform_release": "",
        "platform_system": "Linux", "platform_version": "", "python_full_version": python,
        "python_version": VERSION, "sys_platform": "linux", "extra": "",
    }  # fmt: skip
