"""Which build this process is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Build:
    """The running build. What is not known is an empty text: outside an image nothing is."""

    name: str = ""
    commit: str = ""
    version: str = ""
    digest: str = ""

    @property
    def short_digest(self) -> str:
        """The digest's first 12 hex digits."""
        return self.digest.removeprefix("sha256:")[:12]


def _running() -> Build:
    # Build and commit are baked in with the manifest. No image contains its own digest: the task definition tells it.
    path = os.environ.get("LASTGOOD_MANIFEST", "")
    manifest = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}

    def fact(name: str) -> str:
        return manifest.get(name) or os.environ.get(f"LASTGOOD_{name.upper()}", "")

    return Build(
        name=fact("build"), commit=fact("commit"), version=fact("version"), digest=os.environ.get("LASTGOOD_DIGEST", "")
    )


RUNNING = _running()
