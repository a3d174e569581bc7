"""How a pushed build gets into this machine's engine, where the engine can't pull it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lastgood.aws.local_cloud import LocalCloud
from lastgood.image import build as builder
from lastgood.image.built import Image, Variant
from lastgood.image.layers import Layer
from lastgood.local import engine, handover

REFERENCE = "localhost:4566/shop@sha256:abc"
CLOUD = LocalCloud("http://127.0.0.1:4566", "localhost:4566", "", "", "", "", "", "shop-1")


def image(method: str, *platforms: str) -> Image:
    """A build of one layer a platform."""
    layer = Layer("base", Path("b"), "sha256:d", "sha256:b", 10, 5, f"application/vnd.oci.image.layer.v1.tar+{method}")
    variants = tuple(Variant(name, f"sha256:{name}", f"sha256:i{name}", (layer,), 6, 10) for name in platforms)
    return Image("b", "c", "1", "t", "sha256:abc", "sha256:i", "m", 6, 10, (layer,), Path(), variants)


@pytest.mark.parametrize(
    ("cloud", "method", "version", "tags"),
    [
        (CLOUD, "zstd", "20.10.24+dfsg1", ["localhost:4566/shop:sha256-abc"]),
        (CLOUD, "zstd", "23.0.1", []),
        (CLOUD, "gzip", "20.10.24+dfsg1", []),
        (None, "zstd", "20.10.24+dfsg1", []),
    ],
)
def test_an_old_engine_gets_the_build_loaded(
    monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud | None, method: str, version: str, tags: list[str]
) -> None:
    loaded: list[str] = []
    client = SimpleNamespace(version=lambda: {"Version": version}, close=lambda: None)
    monkeypatch.setattr(engine, "connect", lambda: client)
    monkeypatch.setattr(builder, "load", lambda _image, tag: loaded.append(tag))
    handover.hand_over(image(method, "linux/amd64"), REFERENCE, cloud)
    assert loaded == tags
