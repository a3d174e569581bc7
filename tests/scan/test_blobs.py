"""The scan looks at the bytes that are pushed, and at all of them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from lastgood.config.project import Budget
from lastgood.errors import UsageError
from lastgood.image import compress
from lastgood.image.layers import Layer
from lastgood.scan import elf, layer, measure

SETUID = {"mode": 0o4755}


def found(image: Any) -> list[str]:
    """The rules that a scan finds broken."""
    return [one["rule"] for one in measure.scan(image, 10**6)["findings"]]


def test_a_dirty_blob_beside_what_was_clean(plant: Any) -> None:
    """What was read of the clean layer is known by the clean blob's digest, and the dirty one has another."""
    clean, dirty = plant(build="clean", app={"app/a": b"1"}), plant(build="dirty", app={"bin/sh": SETUID})
    assert found(clean) == []
    (one,), (other,) = clean.layers, dirty.layers
    # The image names the dirty blob, and still the clean layer's diff_id; a clean tar lies beside it.
    (other.blob.parent / "app.tar").write_bytes(b"clean")
    mixed = dataclasses.replace(one, blob=other.blob, digest=other.digest, compressed=other.compressed)
    with pytest.raises(UsageError) as caught:
        layer.read(mixed)
    assert str(caught.value).startswith(
        f"layer app is not what the image says of it (it unpacks to {other.diff_id}, not {one.diff_id})"
    )
    # The other way round: the blob is swapped below the digest that the image names.
    swapped = dataclasses.replace(one, name="swapped", compressed=one.compressed + 1)
    swapped.blob.write_bytes(other.blob.read_bytes())
    with pytest.raises(UsageError) as caught:
        layer.read(swapped)
    assert f"its blob is {other.digest}, not {one.digest}" in str(caught.value)
    assert "shell" in found(dirty)
    assert "setuid" in found(dirty)


def packed(folder: Path, body: bytes) -> Layer:
    """A layer of that tar."""
    blob = compress.compress(body, "zstd", once=False)
    (folder / "x.tar.zst").write_bytes(blob)
    names = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in (body, blob)]
    return Layer("x", folder / "x.tar.zst", *names, 1, len(blob))


def archive(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tar of (name, type, content), without its end."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as target:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            target.addfile(info, io.BytesIO(content))
        end = target.offset
    return body.getvalue()[:end]


FILE = tarfile.REGTYPE


def test_names_are_those_that_an_engine_makes_of_them(tmp_path: Path) -> None:
    body = archive(("./bin//sh", FILE, b"1"), ("/usr/./bin/sh", FILE, b"2"), ("./", tarfile.DIRTYPE, b""))
    assert [entry.path for entry in layer.read(packed(tmp_path, body + bytes(1024))).entries] == [
        "bin/sh",
        "usr/bin/sh",
        "",
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            # Python's tarfile ends at a header that it takes for damaged.
            archive(("etc/a", FILE, b"1")) + b"\1" * 512 + archive(("bin/sh", FILE, b"2")) + bytes(1024),
            "layer x holds something behind the 1024 bytes that can be read of it: build again",
        ),
        (
            archive(("etc/a", FILE, b"1")) + bytes(512) + archive(("bin/sh", FILE, b"2")) + bytes(1024),
            "layer x holds something behind the 1024 bytes that can be read of it: build again",
        ),
        (
            archive(("app/../bin/sh", FILE, b"1")) + bytes(1024),
            "layer x: 'app/../bin/sh' has a name that leads up or holds control characters: give it another one",
        ),
        (
            archive(("app/a\n::error::b", FILE, b"1")) + bytes(1024),
            "layer x: 'app/a\\n::error::b' has a name that leads up or holds control characters: give it another one",
        ),
        (
            archive(("etc/a", b"V", b"")) + bytes(1024),
            "layer x: etc/a is of a kind that is not scanned: leave it out",
        ),
        (b"no tar at all" * 100, "layer x is no tar that can be read (invalid header): build again"),
    ],
    ids=["damaged header", "behind the end", "leads up", "control", "kind", "no tar"],
)
def test_what_an_engine_might_read_differently_is_refused(tmp_path: Path, body: bytes, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        layer.read(packed(tmp_path, body))
    assert str(caught.value) == said


def claimed(image: Any, claims: dict[str, str], folder: Path) -> Any:
    """The image as another job hands it over, which claims these owners."""
    (folder / "claims.json").write_text(json.dumps(claims), encoding="utf-8")
    parts = tuple(dataclasses.replace(one, owners=folder / "claims.json", claimed=True) for one in image.layers)
    return dataclasses.replace(image, layers=parts, variants=())


def test_a_claim_explains_and_hides_nothing(plant: Any, distribution: Any, tmp_path: Path) -> None:
    top = "usr/local/lib/python3.13/dist-packages"
    content = distribution("alpha", "1", {"alpha/__init__.py": b"x" * 900}) | {"lost/file": b"y" * 900}
    claims = {"lost/file": "debian:lost-and-found", f"{top}/alpha/__init__.py": "debian:libc6"}
    limits = Budget(total=10**6, distributions={"alpha": 10})
    plain, told = plant(build="plain", app=content), claimed(plant(build="told", app=content), claims, tmp_path)
    before, after = measure.scan(plain, limits), measure.scan(told, limits)
    names = [{one["owner"]: one["unpacked"] for one in facts["owners"]} for facts in (before, after)]
    assert names[0]["unattributed"] == names[1]["debian:lost-and-found"] == 900
    assert names[0]["python:alpha"] == names[1]["python:alpha"]
    assert [one["rule"] for one in after["findings"]] == ["budget"] == [one["rule"] for one in before["findings"]]


def test_a_claim_does_not_make_an_openssl_debians(plant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought = elf.Elf(machine="x86_64", bits=64, openssl="OpenSSL 1.0.2k")
    monkeypatch.setattr(elf, "parse", lambda _content: brought)
    content = {"opt/vendor/tool": b"\x7fELF"}
    told = claimed(plant(app=content), {"opt/vendor/tool": "debian:libssl3"}, tmp_path)
    for image in (plant(build="plain", app=content), told):
        assert "second-openssl" in found(image)
