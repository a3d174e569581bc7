"""What a deploy knows of a pushed build, and how it gets into this machine's engine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lastgood.deploy import registry
from lastgood.image import build as builder
from lastgood.image.built import Image, Variant
from lastgood.image.layers import Layer
from lastgood.local import engine

REFERENCE = "localhost:4566/shop@sha256:abc"


def image(method: str, *platforms: str) -> Image:
    """A build of one layer a platform."""
    layer = Layer(
        "base", Path("t"), Path("b"), "sha256:d", "sha256:b", 10, 5, f"application/vnd.oci.image.layer.v1.tar+{method}"
    )
    variants = tuple(Variant(name, f"sha256:{name}", f"sha256:i{name}", (layer,), 6, 10) for name in platforms)
    return Image("b", "c", "1", "t", "sha256:abc", "sha256:i", "m", 6, 10, (layer,), Path(), variants)


def test_the_release_record_names_the_index_of_several_platforms() -> None:
    facts = registry.facts(image("zstd", "linux/amd64", "linux/arm64"), REFERENCE)
    assert (facts.digest, facts.image, facts.size) == ("sha256:abc", REFERENCE, 6)


@pytest.mark.parametrize(
    ("environment", "method", "version", "tags"),
    [
        ("local", "zstd", "20.10.24+dfsg1", ["localhost:4566/shop:sha256-abc"]),
        ("local", "zstd", "23.0.1", []),
        ("local", "gzip", "20.10.24+dfsg1", []),
        ("production", "zstd", "20.10.24+dfsg1", []),
    ],
)
def test_an_old_engine_gets_the_build_loaded(
    monkeypatch: pytest.MonkeyPatch, environment: str, method: str, version: str, tags: list[str]
) -> None:
    loaded: list[str] = []
    client = SimpleNamespace(version=lambda: {"Version": version}, close=lambda: None)
    monkeypatch.setattr(engine, "connect", lambda: client)
    monkeypatch.setattr(builder, "load", lambda _image, tag: loaded.append(tag))
    project: Any = None
    registry.handed_over(project, environment, image(method, "linux/amd64"), REFERENCE)
    assert loaded == tags
