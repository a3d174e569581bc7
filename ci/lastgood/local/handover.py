"""A pushed build, given to this machine's engine where the engine could not pull it."""

from __future__ import annotations

from lastgood.aws.local_cloud import LocalCloud
from lastgood.image import build
from lastgood.image.built import Image
from lastgood.local import engine
from lastgood.report.terminal import step

ZSTD = 23  # the first version of the engine that pulls layers that are compressed by zstd


def hand_over(image: Image, reference: str, cloud: LocalCloud | None) -> None:
    """Loads a build, pushed as `reference`, into this machine's engine, where that is the environment and can't pull zstd layers.

    It lies there under a tag that names the digest (adapters/containers.py starts it from there), as a pull would have left it.
    """
    if cloud is None or not any("zstd" in layer.media_type for layer in image.layers):
        return
    client = engine.connect()
    if client is None:
        return
    version = str(client.version()["Version"])
    client.close()
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < ZSTD:
        with step("load into Docker") as shown:
            build.load(image, reference.replace("@sha256:", ":sha256-"))
            shown.note(f"engine {version} can't pull zstd layers")
