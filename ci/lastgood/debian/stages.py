"""The stages of a Debian lock on this machine's disk: fetched, checked, unpacked.

`runtime` is what ships; image/runtime.py makes it smaller. `wheels` and `compiler` are whole: what an image is built with.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lastgood import beneath
from lastgood.cache import store
from lastgood.debian import fetch, mirror, unpack
from lastgood.debian.locks import Lock
from lastgood.errors import UsageError
from lastgood.platform import Platform, native

# Counted up whenever a whole root is made otherwise, so that no cache entry of an older recipe is used.
RECIPE = 1

CERTIFICATES = "usr/share/ca-certificates"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_LINK = "usr/lib/ssl/cert.pem"
_NEVER = (
    "usr/share/man/*",
    "usr/share/locale/*",
    "usr/share/doc/*/changelog*",
    "usr/share/info/*",
    "usr/share/lintian/*",
)


@dataclass(frozen=True)
class Stages:
    """The stages of `lock`. `mirror` and `snapshot` are what the project says of where its packages come from, if it says anything."""

    lock: Lock
    mirror: str | None = None
    snapshot: str | None = None

    def key(self, stage: str, platform: Platform) -> str:
        """A sha256 of the stage's packages."""
        return self.lock.key(stage, platform.debian)

    def python(self, platform: Platform) -> str:
        """The full version of the Python in the image, as `3.13.5`; nothing where the lock has none."""
        found = self.lock.packages("runtime", platform.debian)
        return next((one.version for one in found if one.name.startswith("libpython3")), "").partition("-")[0]

    def unpack(
        self, stage: str, platform: Platform, root: Path, wanted: Callable[[str], bool] = lambda _path: True
    ) -> dict[str, str]:
        """Fetches the packages of a stage and unpacks what is `wanted` of them into `root`; returns {path: owner, as "debian:libc6"}.

        Raises UsageError for a package that can't be had, is not what the lock names, or would leave the root.
        """
        files = fetch.fetch(
            self.lock.packages(stage, platform.debian),
            lambda: mirror.find(self.mirror, self.lock.suite),
            store.cache(),
            mirror.snapshot(self.snapshot, self.lock.resolved),
        )
        return {path: f"debian:{owner}" for path, owner in unpack.unpack(files.items(), root, wanted).items()}

    def wheels(self) -> Path:
        """The root file system to build with, of this machine's platform: the same Python, whole."""
        return self._whole("wheels", native())

    def compiler(self, platform: Platform) -> Path:
        """The root file system that compiles for `platform`, to run on this machine: `wheels` with compiler and headers."""
        return self._whole("compiler", platform)

    def _whole(self, stage: str, platform: Platform) -> Path:
        recipe = json.dumps([RECIPE, stage, platform.name, _NEVER, self.key(stage, platform)])

        def make(folder: Path) -> None:
            self.unpack(stage, platform, folder / "root", lambda path: not matches(path, _NEVER))
            add_certificates(folder / "root")

        name = f"{stage}-{hashlib.sha256(recipe.encode()).hexdigest()[:24]}"
        return store.entry(store.cache() / "base" / name, make) / "root"


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether `path` is documentation other than a copyright notice, or fits one of the patterns."""
    if path.startswith("usr/share/doc/") and not path.endswith("/copyright"):
        return True
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def add_certificates(root: Path) -> tuple[str, ...]:
    """Makes one bundle of all certificates where OpenSSL's default points to; Debian makes it in a script that we never run.

    Returns the paths of what was added. Raises UsageError where `root` holds no certificates.
    """
    certificates = list(beneath.files(root, CERTIFICATES, ".crt"))
    if not certificates:
        raise UsageError("the package ca-certificates holds no certificates: run `lastgood lock-base` and build again")
    beneath.write(root, _BUNDLE, b"".join(file.read_bytes().rstrip(b"\n") + b"\n" for file in certificates))
    if not (beneath.folder(root, _LINK.rpartition("/")[0]) / "cert.pem").is_symlink():
        beneath.place(root, _LINK).symlink_to(f"/{_BUNDLE}")
    return _BUNDLE, _LINK
