"""The image as the OCI specification has it: its digest depends on its content and on nothing else."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from lastgood.image import oci

if TYPE_CHECKING:
    from fixtures.registry import MakeImage


def test_the_configuration(make_image: MakeImage) -> None:
    image = make_image("abc", base={"a": b"1"}, application={"b": b"2"})
    body = oci.config({"User": "65532", "Env": ["A=é"]}, image.layers, "2026-01-02T03:04:05Z")
    assert json.loads(body) == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"User": "65532", "Env": ["A=é"]},
        "history": [
            {"created": "2026-01-02T03:04:05Z", "created_by": "ADD base.tar /"},
            {"created": "2026-01-02T03:04:05Z", "created_by": "ADD application.tar /"},
        ],
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in image.layers]},
    }


def test_the_order_of_keys_does_not_count(make_image: MakeImage) -> None:
    made = make_image("abc", base={"a": b"1"}).layers
    one = oci.config({"User": "1", "Cmd": ["x"]}, made, "2026-01-02T03:04:05Z")
    assert one == oci.config({"Cmd": ["x"], "User": "1"}, made, "2026-01-02T03:04:05Z")
    assert oci.manifest(one, made, {"a": "1", "b": "2"}) == oci.manifest(one, made, {"b": "2", "a": "1"})


def test_the_manifest_names_bytes_that_exist(make_image: MakeImage) -> None:
    image = make_image("abc", base={"a": b"1"})
    data = json.loads((image.folder / "manifest.json").read_bytes())
    assert (data["schemaVersion"], data["mediaType"]) == (2, "application/vnd.oci.image.manifest.v1+json")
    for entry, file in ((data["config"], image.folder / "config.json"), (data["layers"][0], image.layers[0].blob)):
        body = file.read_bytes()
        assert entry["digest"] == f"sha256:{hashlib.sha256(body).hexdigest()}"
        assert entry["size"] == len(body)
    assert data["annotations"] == {"build": "abc"}


def test_a_digest() -> None:
    assert oci.digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_archive_for_an_engine(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image("abc", base={"a": b"1"}, static={"a": b"1"})
    configuration = (image.folder / "config.json").read_bytes()
    oci.archive(tmp_path / "image.tar", configuration, image.layers, "shop:abc")
    with tarfile.open(tmp_path / "image.tar") as archive:
        names = archive.getnames()
        opened = archive.extractfile("manifest.json")
        assert opened is not None
        (entry,) = json.loads(opened.read())
    layer = f"{image.layers[0].diff_id[7:]}.tar"
    assert entry == {"Config": f"{image.image_id[7:]}.json", "RepoTags": ["shop:abc"], "Layers": [layer, layer]}
    assert names == [entry["Config"], "manifest.json", layer], "two layers of one content are one file"
