"""Pushes a build to a registry, only what is missing there: layers at the same time, then the manifests, the index last."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.image.built import Image
from lastgood.image.layers import Layer
from lastgood.registry.client import Registry
from lastgood.report.terminal import Step, megabytes, step

_WORKERS = 4


@dataclass(frozen=True)
class Blob:
    """One thing to send: its size in bytes, and how its bytes are read."""

    name: str
    digest: str
    size: int
    read: Callable[[], bytes]

    def body(self) -> bytes:
        """The bytes, checked. Raises UsageError where they are not what the digest names."""
        try:
            content = self.read()
        except FileNotFoundError:
            content = b""
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != self.digest:
            raise UsageError(
                f"the {self.name} in the cache is not {self.digest}: it was damaged; remove it with `lastgood cache --clear`, build and "
                "push again"
            )
        return content


class _Count:
    """How many bytes have arrived, shown beside the step."""

    def __init__(self, shown: Step, total: int) -> None:
        self._lock = threading.Lock()
        self._shown = shown
        self.total = total
        self.sent = 0

    def add(self, size: int) -> None:
        with self._lock:
            self.sent += size
            self._shown.note(f"{megabytes(self.sent)} of {megabytes(self.total)}")


def tag(image: Image) -> str:
    """The tag that a build is pushed under. Tags are immutable, and one commit gives another image when the bundle changes."""
    return f"{image.build}-{image.digest.removeprefix('sha256:')[:12]}"


def blobs(image: Image) -> list[Blob]:
    """What a registry must hold before the manifests, each once, the largest first."""
    found = {}
    for variant in image.variants:
        for layer in variant.layers:
            found[layer.digest] = Blob(f"layer {layer.name}", layer.digest, layer.compressed, layer.blob.read_bytes)
        body = image.document("config", variant)
        found[variant.image_id] = Blob("configuration", variant.image_id, len(body), lambda body=body: body)  # type: ignore[misc]
    return sorted(found.values(), key=lambda blob: -blob.size)


def push(image: Image, registry: Registry) -> dict[str, object]:
    """Pushes what the registry lacks: blobs first, then the manifest (of several platforms: the index) under the build's tag.

    Returns {"image": the reference by digest, "repository": the same without it, "sent": bytes, "skipped": bytes}.
    """
    wanted = blobs(image)
    with contextlib.closing(registry), step("push") as shown, ThreadPoolExecutor(_WORKERS) as pool:
        there = list(pool.map(lambda blob: registry.has("blobs", blob.digest), wanted))
        missing = [blob for blob, found in zip(wanted, there, strict=True) if not found]
        count = _Count(shown, sum(blob.size for blob in missing))
        sending = [
            pool.submit(lambda blob: registry.blob(blob.digest, blob.body(), count.add), blob) for blob in missing
        ]
        try:
            for one in sending:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        sent = count.sent + _manifests(image, registry)
        skipped = sum(layer.compressed for layer in _layers(image)) - sum(
            blob.size for blob in missing if blob.name != "configuration"
        )
        if not registry.has("manifests", image.digest):
            raise UsageError(f"{registry.host} took build {image.build} but does not have {image.digest}: push again")
        shown.note(f"{megabytes(sent)} sent, {megabytes(skipped)} were there")
    repository = f"{registry.host}/{registry.repository}"
    return {"image": f"{repository}@{image.digest}", "repository": repository, "sent": sent, "skipped": skipped}


def _layers(image: Image) -> list[Layer]:
    return list({layer.digest: layer for variant in image.variants for layer in variant.layers}.values())


def _manifests(image: Image, registry: Registry) -> int:
    """Puts the manifests that are not there, what the tag names last; returns their bytes."""
    documents = [(one.digest, one.digest, image.document("manifest", one), oci.MANIFEST_TYPE) for one in image.variants]
    if len(image.variants) > 1:
        documents.append((image.digest, tag(image), image.document("index"), oci.INDEX_TYPE))
    else:
        documents = [(image.digest, tag(image), documents[0][2], oci.MANIFEST_TYPE)]
    sent = 0
    for digest, reference, body, media_type in documents:
        if not registry.has("manifests", digest):
            registry.manifest(reference, body, media_type)
            sent += len(body)
    return sent
