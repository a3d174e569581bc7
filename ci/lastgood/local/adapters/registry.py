"""The image registry: layers lie on the disk instead of in memory, and repositories have an address Docker can pull from.

It answers as ECR does where that is not what the specification says (tests/fixtures/registry.py names the reports): a chunk with 201, no
chunk after the first counts, no upload is completed without a byte, and an immutable tag is refused also to the image that it names. What
refers to an image is listed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "app:_is_ecr_registry_path",
    "services.ecr:_images",
    "services.ecr:_layer_blobs",
    "services.ecr:_parse_v2_path",
    "services.ecr:_registry_error",
    "services.ecr:_repo_uri",
    "services.ecr:_repositories",
    "services.ecr:_resolve_manifest",
    "services.ecr:_uploads",
    "services.ecr:_v2_complete_blob_upload",
    "services.ecr:_v2_patch_blob_upload",
    "services.ecr:_v2_put_manifest",
)
_INDEX = "application/vnd.oci.image.index.v1+json"
_REFERRERS = "referrers of "  # how what refers to an image is asked for, in the place of a manifest
_REFERRING = re.compile(r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})")
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

    _install_answers()


def _install_answers() -> None:
    ecr = module("services.ecr")

    @wrap("services.ecr:_v2_patch_blob_upload")
    def patch(original: Any, name: str, upload: str, body: Any) -> Any:
        there = ecr._uploads.get(name, {}).get(upload)
        status, headers, answer = original(name, upload, b"" if there else body)
        return (201 if status == 202 else status), headers, answer

    @wrap("services.ecr:_v2_complete_blob_upload")
    def complete(original: Any, name: str, upload: str, query: Any, body: Any) -> Any:
        there = ecr._uploads.get(name, {}).get(upload)
        if there is not None and not there and not body:
            text = (
                f"The upload with id '{upload}' in the repository with name '{name}' cannot be completed because it does "
                "not have any parts."
            )
            return ecr._registry_error(400, "BLOB_UPLOAD_INVALID", text)
        return original(name, upload, query, body)

    @wrap("services.ecr:_v2_put_manifest")
    def put_manifest(original: Any, name: str, reference: str, headers: Any, body: Any) -> Any:
        immutable = (ecr._repositories.get(name) or {}).get("imageTagMutability") == "IMMUTABLE"
        if immutable and any(reference in image.get("imageTags", ()) for image in ecr._images.get(name, ())):
            text = (
                f"The image tag '{reference}' already exists in the '{name}' repository and cannot be overwritten because "
                "the tag is immutable."
            )
            return ecr._registry_error(400, "TAG_INVALID", text)
        return original(name, reference, headers, body)

    @wrap("app:_is_ecr_registry_path")
    def is_registry(original: Any, path: str) -> bool:
        return bool(_REFERRING.fullmatch(path)) or bool(original(path))

    @wrap("services.ecr:_parse_v2_path")
    def parse(original: Any, path: str) -> Any:
        found = _REFERRING.fullmatch(path)
        return ("manifest", found[1], _REFERRERS + found[2]) if found else original(path)

    @wrap("services.ecr:_resolve_manifest")
    def resolve(original: Any, name: str, reference: str) -> Any:
        if not reference.startswith(_REFERRERS):
            return original(name, reference)
        subject = reference.removeprefix(_REFERRERS)
        listed = [(one["imageDigest"], one.get("imageManifest", "")) for one in ecr._images.get(name, ())]
        body = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": referring(listed, subject)}).encode()
        return subject, body, _INDEX


def referring(manifests: Iterable[tuple[str, str]], subject: str) -> list[dict[str, Any]]:
    """The descriptors of those (digest, manifest) that name an image as their subject."""
    found = []
    for digest, text in manifests:
        try:
            data = json.loads(text)
            if data["subject"]["digest"] == subject:
                own = {key: data[key] for key in ("artifactType", "annotations") if key in data}
                found.append({"mediaType": data["mediaType"], "digest": digest, "size": len(text.encode())} | own)
        except (ValueError, KeyError, TypeError):
            continue
    return found
