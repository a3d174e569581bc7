"""The image registry: layers lie on the disk instead of in memory, and repositories have an address Docker can pull from."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = ("services.ecr:_layer_blobs", "services.ecr:_repo_uri")
_SAFE = re.compile(r"[^a-zA-Z0-9_.-]")


class Blobs:
    """The layers of one repository: digest → bytes, one file each, there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, digest: str) -> Path:
        return self._folder / _SAFE.sub("_", digest)

    def get(self, digest: str, default: bytes | None = None) -> bytes | None:
        """The layer's bytes, or `default`."""
        try:
            return self._file(digest).read_bytes()
        except FileNotFoundError:
            return default

    def __getitem__(self, digest: str) -> bytes:
        found = self.get(digest)
        if found is None:
            raise KeyError(digest)
        return found

    def __contains__(self, digest: object) -> bool:
        return self._file(str(digest)).is_file()

    def __setitem__(self, digest: str, body: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(body)
        Path(name).replace(self._file(digest))

    def __delitem__(self, digest: str) -> None:
        if digest not in self:
            raise KeyError(digest)
        self._file(digest).unlink()

    def pop(self, digest: str, default: bytes | None = None) -> bytes | None:
        """Removes the layer and returns its bytes, or `default`."""
        found = self.get(digest, default)
        self._file(digest).unlink(missing_ok=True)
        return found


class Repositories:
    """Stands for ministack's dictionary of layers: every repository has its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str, _default: object = None) -> Blobs:
        """The layers of the repository `name`, none if it has none yet."""
        return Blobs(self._folder / _SAFE.sub("_", name))

    def setdefault(self, name: str, _default: object = None) -> Blobs:
        """The same as `get`: a folder is made when something is put into it."""
        return self.get(name)

    def pop(self, name: str, _default: object = None) -> None:
        """Forgets the layers of a repository."""
        shutil.rmtree(self._folder / _SAFE.sub("_", name), ignore_errors=True)

    def clear(self) -> None:
        """Forgets all layers."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def update(self, _saved: object) -> None:
        """Nothing to restore: the layers never left the disk."""

    def __deepcopy__(self, _memo: object) -> dict[str, bytes]:
        return {}  # what goes into ministack's own state file


def install(settings: Settings) -> None:
    """Layers go to `blobs` in the instance's folder."""
    module("services.ecr")._layer_blobs = Repositories(Path(settings.folder) / "blobs")

    @wrap("services.ecr:_repo_uri")
    def repository_uri(_original: Any, name: str) -> str:
        return f"localhost:{settings.port}/{name}"
