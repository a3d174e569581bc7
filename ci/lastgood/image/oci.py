"""The image as the OCI specification has it: configuration, manifest, digest; and the archive that `docker load` takes.

Shapes: https://github.com/opencontainers/image-spec (config.md, manifest.md). Serialised with sorted keys, so that the digest is known
before anything is pushed.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lastgood.image import store
from lastgood.image.layers import Layer

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(body: bytes) -> str:
    """`sha256:…` of `body`."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _json(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def config(settings: Mapping[str, Any], layers: Sequence[Layer], created: str) -> bytes:
    """The image configuration; `created` is the commit's time (RFC 3339), never the clock's."""
    return _json(
        {
            "architecture": "amd64",
            "config": dict(settings),
            "created": created,
            "history": [{"created": created, "created_by": f"ADD {layer.name}.tar /"} for layer in layers],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    )


def manifest(configuration: bytes, layers: Sequence[Layer], annotations: Mapping[str, str]) -> bytes:
    """The image manifest. Its digest is the build's."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest(configuration), "size": len(configuration)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.compressed} for layer in layers],
            "annotations": dict(annotations),
        }
    )


def archive(target: Path, configuration: bytes, layers: Sequence[Layer], tag: str) -> None:
    """Writes the archive that `docker load` takes."""
    name = f"{digest(configuration).removeprefix('sha256:')}.json"
    index = [{"Config": name, "RepoTags": [tag], "Layers": [f"{layer.diff_id[7:]}.tar" for layer in layers]}]
    with store.replacing(target) as part, tarfile.open(part, "w") as tar:
        for file, body in ((name, configuration), ("manifest.json", _json(index))):
            info = tarfile.TarInfo(file)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        for layer in {layer.diff_id: layer for layer in layers}.values():
            tar.add(layer.tar, f"{layer.diff_id[7:]}.tar")
