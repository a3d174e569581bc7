"""The image as the OCI specification has it: configuration, manifest, index, digest; and the archive that `docker load` takes.

Shapes: https://github.com/opencontainers/image-spec (config.md, manifest.md, image-index.md). Serialised with sorted keys, so that the
digest is known before anything is pushed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.image import layers as layers_
from lastgood.image.layers import Layer

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_VARIANTS = {"arm64": {"variant": "v8"}}


def digest(body: bytes) -> str:
    """`sha256:…` of `body`."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def encode(data: object) -> bytes:
    """JSON, the same bytes for the same data."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def platform(name: str) -> dict[str, str]:
    """`linux/arm64` as configurations and indices write it."""
    system, _, architecture = name.partition("/")
    return {"os": system, "architecture": architecture} | _VARIANTS.get(architecture, {})


def config(
    settings: Mapping[str, Any],
    layers: Sequence[Layer],
    created: str,
    on: str = "linux/amd64",
    before: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """The configuration of an image for the platform `on`; `created` is the commit's time (RFC 3339), never the clock's.

    `before` is the history that an image built by an engine brings; the layers that it accounts for come first.
    """
    own = list(layers)[sum(not entry.get("empty_layer") for entry in before) :]
    return encode(
        platform(on)
        | {
            "config": dict(settings),
            "created": created,
            "history": [*before, *[{"created": created, "created_by": f"ADD {one.name}.tar /"} for one in own]],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    )


def manifest(configuration: bytes, layers: Sequence[Layer], annotations: Mapping[str, str]) -> bytes:
    """The manifest of one platform's image."""
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest(configuration), "size": len(configuration)},
            "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": one.compressed} for one in layers],
            "annotations": dict(annotations),
        }
    )


def index(manifests: Mapping[str, bytes], annotations: Mapping[str, str]) -> bytes:
    """The index of several platforms' manifests, in their order."""
    entries = [
        {"mediaType": MANIFEST_TYPE, "digest": digest(body), "size": len(body), "platform": platform(name)}
        for name, body in manifests.items()
    ]
    return encode({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries, "annotations": dict(annotations)})


def archive(target: Path, configuration: bytes, layers: Sequence[Layer], tag: str) -> None:
    """Writes the archive that `docker load` takes. It holds the layers unpacked, whatever compression they have elsewhere."""
    import tarfile  # only what loads an image into an engine needs it

    name = f"{digest(configuration).removeprefix('sha256:')}.json"
    listed = [{"Config": name, "RepoTags": [tag], "Layers": [f"{layer.diff_id[7:]}.tar" for layer in layers]}]
    with store.replacing(target) as part, tarfile.open(part, "w") as tar:
        for file, body in ((name, configuration), ("manifest.json", encode(listed))):
            info = tarfile.TarInfo(file)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        for layer in {layer.diff_id: layer for layer in layers}.values():
            with layers_.unpacked(layer) as opened:
                info = tarfile.TarInfo(f"{layer.diff_id[7:]}.tar")
                info.size = opened.seek(0, io.SEEK_END)
                opened.seek(0)
                tar.addfile(info, opened)
