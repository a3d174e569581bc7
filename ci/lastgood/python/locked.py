"""What a Python lock names for one platform, line by line, as pip will be given it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from lastgood.errors import UsageError
from lastgood.platform import Platform
from lastgood.python.interpreter import VERSION


@dataclass(frozen=True)
class Locked:
    """One requirement of a lock: its line without hashes, what it names, and the sha256 of the files that may be it."""

    line: str
    requirement: Requirement | None  # None where the line is none: pip says what is wrong with it
    hashes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The line for pip, without a marker: those are evaluated here, for the image's platform."""
        wanted = self.line.partition(";")[0].strip() if self.requirement else self.line
        return " ".join([wanted, *(f"--hash=sha256:{one}" for one in self.hashes)])

    @property
    def version(self) -> str:
        """The exact version, or nothing where the line names none."""
        found = [one.version for one in self.requirement.specifier] if self.requirement else []
        return found[0] if len(found) == 1 else ""


def read(lock: Path, platform: Platform) -> list[Locked]:
    """What `lock` names for `platform`; lines whose marker is false there are left out. Raises UsageError where it is no text."""
    try:
        text = lock.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{lock} is not UTF-8 ({error.reason} at byte {error.start}): run `lastgood lock`") from None
    joined = re.sub(r"\\\n", " ", re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE))
    found = []
    for raw in filter(None, map(str.strip, joined.splitlines())):
        hashes = tuple(re.findall(r"--hash=sha256:(\w+)", raw))
        line = re.sub(r"\s*--hash=\S+", "", raw).strip()
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            found.append(Locked(line, None, hashes))
            continue
        if requirement.marker is None or requirement.marker.evaluate(environment(platform)):
            found.append(Locked(line, requirement, hashes))
    return found


def environment(platform: Platform) -> dict[str, str]:
    """The values of environment markers in the image (https://packaging.python.org/en/latest/specifications/dependency-specifiers/)."""
    return {
        "implementation_name": "cpython", "implementation_version": f"{VERSION}.0", "os_name": "posix",
        "platform_machine": platform.machine, "platform_python_implementation": "CPython", "platform_release": "",
        "platform_system": "Linux", "platform_version": "", "python_full_version": f"{VERSION}.0",
        "python_version": VERSION, "sys_platform": "linux", "extra": "",
    }  # fmt: skip
