"""The platforms that images are made for, and how Debian, ELF, Python and pip each call them."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from lastgood.errors import UsageError


@dataclass(frozen=True)
class Platform:
    """One platform. Paths are below the root file system, without a leading slash."""

    name: str  # the OCI name, as in docker --platform
    debian: str  # Debian's architecture
    machine: str  # what uname -m and platform.machine() say
    triplet: str  # Debian's multiarch triplet
    loader: str  # the dynamic loader

    @property
    def libraries(self) -> str:
        """The folder of shared libraries."""
        return f"usr/lib/{self.triplet}"

    @property
    def wheels(self) -> tuple[str, ...]:
        """The platform tags of wheels that run here, best first: Debian 13 has glibc 2.41, newer tags are not in use."""
        tags = (
            "manylinux_2_41",
            "manylinux_2_39",
            "manylinux_2_36",
            "manylinux_2_34",
            "manylinux_2_31",
            "manylinux_2_28",
        )
        return (*(f"{tag}_{self.machine}" for tag in (*tags, "manylinux_2_17")), f"manylinux2014_{self.machine}")


AMD64 = Platform("linux/amd64", "amd64", "x86_64", "x86_64-linux-gnu", "usr/lib64/ld-linux-x86-64.so.2")
ARM64 = Platform("linux/arm64", "arm64", "aarch64", "aarch64-linux-gnu", "usr/lib/ld-linux-aarch64.so.1")
ALL = {platform.name: platform for platform in (AMD64, ARM64)}


def native() -> Platform:
    """The platform of this machine. Raises UsageError where no image's Python could run here."""
    for found in ALL.values():
        if platform.machine() == found.machine:
            return found
    raise UsageError(
        f"images are built on {' or '.join(one.machine for one in ALL.values())}, and this machine is {platform.machine()}: use another"
    )
