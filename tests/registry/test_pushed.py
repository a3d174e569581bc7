"""What a deploy knows of a pushed build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lastgood.errors import UsageError
from lastgood.image.built import Image, Variant
from lastgood.image.layers import Layer
from lastgood.registry import pushed

if TYPE_CHECKING:
    from lastgood.record.table import Record

REFERENCE = "localhost:4566/shop@sha256:abc"


def test_the_release_record_names_the_index_of_several_platforms() -> None:
    layer = Layer("base", Path("t"), Path("b"), "sha256:d", "sha256:b", 10, 5)
    platforms = ("linux/amd64", "linux/arm64")
    variants = tuple(Variant(name, f"sha256:{name}", f"sha256:i{name}", (layer,), 6, 10) for name in platforms)
    image = Image("b", "c", "1", "t", "sha256:abc", "sha256:i", "m", 6, 10, (layer,), Path(), variants)
    facts = pushed.facts(image, REFERENCE, "contents")
    assert (facts.digest, facts.image, facts.size, facts.contents) == ("sha256:abc", REFERENCE, 6, "contents")


def test_a_build_is_found_by_its_digest(record: Record, facts: Any) -> None:
    record.put_build(facts("a"))
    assert pushed.find(record, facts("a").digest) == facts("a")
    with pytest.raises(UsageError) as error:
        pushed.find(record, "sha256:other")
    assert str(error.value) == (
        "the release record of staging does not know sha256:other: run `lastgood push --environment staging` first"
    )
