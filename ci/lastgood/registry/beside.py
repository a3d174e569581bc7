"""What lies beside an image: signed statements about it, each an artifact of its own that names the image as its subject.

In the form in which GitHub's and Sigstore's own tools put them there and look for them. Each has a tag, too: the repository's rule ends
images without one after two weeks, and whether it spares what refers to an image is not documented.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.registry.client import BLOBS, MANIFESTS, Registry

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
KIND = "dev.sigstore.bundle.predicateType"  # the annotation that says what a statement is about: a hint, not a fact
MOST = 64  # artifacts of one image that are looked at
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def put(registry: Registry, digest: str, bundle: bytes, kind: str) -> str:
    """Puts a bundle beside the image of that digest; returns the digest of its artifact. `kind` is the type of its statement.

    Raises UsageError where the registry does not hold the image, or does not take the bundle.
    """
    image = registry.read(MANIFESTS, digest)
    if image is None:
        raise UsageError(
            f"{registry.host}/{registry.repository} does not hold {digest}: push the image first, then what is said of it"
        )
    for body in (_EMPTY, bundle):
        if not registry.has(BLOBS, oci.digest(body)):
            registry.blob(oci.digest(body), body)
    subject = _descriptor(json.loads(image).get("mediaType", oci.MANIFEST_TYPE), image)
    manifest = oci.encode(
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST_TYPE,
            "artifactType": BUNDLE,
            "config": _descriptor(_EMPTY_TYPE, _EMPTY),
            "layers": [_descriptor(BUNDLE, bundle)],
            "subject": subject,
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", KIND: kind},
        }
    )
    name = oci.digest(manifest)
    registry.manifest(f"signed-{_short(digest)}-{_short(name)}", manifest)
    _list(
        registry,
        digest,
        _descriptor(oci.MANIFEST_TYPE, manifest) | {"artifactType": BUNDLE, "annotations": {KIND: kind}},
    )
    return name


def bundles(registry: Registry, digest: str, kinds: tuple[str, ...]) -> Iterator[bytes]:
    """The bundles beside an image that are said to hold a statement of one of these kinds, or that do not say; anybody's.

    What can't be read is left out: it is somebody else's, or it is missed later on.
    """
    listed = [one for one in registry.referrers(digest) if one.get("artifactType") == BUNDLE]
    wanted = [one for one in listed if (one.get("annotations") or {}).get(KIND) in (*kinds, None)]
    for one in wanted[-MOST:]:
        body = registry.read(MANIFESTS, str(one.get("digest")))
        layers = _layers(body)
        for layer in layers:
            bundle = registry.read(BLOBS, layer)
            if bundle is not None:
                yield bundle


def _layers(body: bytes | None) -> list[str]:
    try:
        manifest = json.loads(body or b"{}")
        return [str(one["digest"]) for one in manifest.get("layers", []) if one.get("mediaType") == BUNDLE][:1]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _list(registry: Registry, digest: str, entry: dict[str, Any]) -> None:
    """Where the registry does not list by itself what refers to an image, the index that stands for its list gets one entry more."""
    status, _, _ = registry.ask("GET", f"/v2/{registry.repository}/referrers/{digest}")
    if status != 404:
        return
    tag = digest.replace(":", "-")
    known = json.loads(registry.tagged(tag) or b'{"manifests": []}')["manifests"]
    if entry["digest"] in [one["digest"] for one in known]:
        return
    index = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": [*known, entry]}
    registry.manifest(tag, oci.encode(index), oci.INDEX_TYPE)


def _descriptor(media_type: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": oci.digest(body), "size": len(body)}


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
