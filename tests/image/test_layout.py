"""An OCI layout: written by the job that builds, and believed by nobody before every byte of it was checked."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.registry import MakeImage
from lastgood import tar
from lastgood.errors import Refused, UsageError
from lastgood.image import built, compress, dockerfile, layers, layout, oci
from lastgood.image.built import Image
from lastgood.image.commit import Commit

COMMIT = "0123456789ab" + "c" * 28


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the user's cache."""
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "cache"))


Build = Callable[..., Image]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`build("linux/amd64")`: a build as `lastgood build` leaves it, of two small layers."""

    def make(*platforms: str, method: str = "zstd") -> Image:
        parts = {}
        for platform in platforms:
            parts[platform] = []
            for name in ("base", "application"):
                tree = tmp_path / "trees" / platform / name
                (tree / name).mkdir(parents=True)
                (tree / name / "file").write_text(f"{name} of {platform}" * 99, encoding="utf-8")
                tar.write([(tree, "")], tree.parent / f"{name}.tar")
                parts[platform].append(layers.seal(name, tree.parent / f"{name}.tar", method))
        made_from = Commit(COMMIT, COMMIT[:12], "v1-2-gabc", "2026-01-02T03:04:05Z", "https://example.com/shop")
        order = built.Order("shop", made_from, "key", tmp_path / "state")
        return built.write(
            order, parts, b"{}", dockerfile.Description(("base", "application"), {"User": "65532"}, "Dockerfile")
        )

    return make


@pytest.mark.parametrize(
    "platforms", [("linux/amd64",), ("linux/arm64",), ("linux/amd64", "linux/arm64")], ids="+".join
)
@pytest.mark.parametrize("method", ["zstd", "gzip"])
def test_what_is_written_is_read_again(build: Build, tmp_path: Path, platforms: tuple[str, ...], method: str) -> None:
    image = build(*platforms, method=method)
    layout.write(image, tmp_path / "layout")
    again = layout.read(tmp_path / "layout", tmp_path / "other")

    def plain(image: Image) -> dict[str, Any]:
        data = image.as_dict() | {"folder": "", "key": ""}
        for one in (*data["layers"], *(layer for variant in data["variants"] for layer in variant["layers"])):
            one["blob"] = ""
        return data

    assert plain(again) == plain(image)
    for variant in again.variants:
        for kind in ("config", "manifest"):
            assert again.document(kind, variant) == image.document(kind, image.variants[again.variants.index(variant)])
        assert all(layer.blob.is_relative_to(tmp_path / "layout") for layer in variant.layers)
    if len(platforms) > 1:
        assert again.document("index") == image.document("index")


def test_its_form_is_that_of_the_specification(build: Build, tmp_path: Path) -> None:
    image = build("linux/amd64")
    layout.write(image, tmp_path / "layout")
    files = {
        path.relative_to(tmp_path / "layout").as_posix() for path in (tmp_path / "layout").rglob("*") if path.is_file()
    }
    digests = [image.digest, image.image_id, *(layer.digest for layer in image.layers)]
    assert files == {"oci-layout", "index.json", *(f"blobs/{digest.replace(':', '/')}" for digest in digests)}
    assert json.loads((tmp_path / "layout/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "layout/index.json").read_bytes())["manifests"]
    assert entry == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.digest,
        "size": len(image.document("manifest")),
        "annotations": {"org.opencontainers.image.ref.name": image.build},
    }


def test_it_replaces_a_layout_and_nothing_else(build: Build, tmp_path: Path) -> None:
    image = build("linux/amd64")
    layout.write(image, tmp_path / "layout")
    (tmp_path / "layout/blobs/sha256/old").touch()
    layout.write(image, tmp_path / "layout")
    assert not (tmp_path / "layout/blobs/sha256/old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis").touch()
    (tmp_path / "link").symlink_to(tmp_path / "layout")
    for name in ("mine", "link"):
        with pytest.raises(UsageError) as caught:
            layout.write(image, tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name} is not an OCI image layout, and is not written over: name another folder, or remove it"
        )
    assert (tmp_path / "mine/thesis").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".part")]


def test_a_damaged_blob_is_not_handed_over(build: Build, tmp_path: Path) -> None:
    image = build("linux/amd64")
    image.layers[0].blob.write_bytes(b"other")
    with pytest.raises(UsageError) as caught:
        layout.write(image, tmp_path / "layout")
    assert str(caught.value) == (
        f"layer base in the cache is not {image.layers[0].digest}: it was damaged; remove it with `lastgood cache --clear`, and build again"
    )
    assert not (tmp_path / "layout").exists()


def test_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        layout.read(tmp_path, tmp_path)
    assert str(caught.value) == f"{tmp_path} holds no OCI image layout: `lastgood build --layout {tmp_path}` writes one"


class Forger:
    """A job that wants another thing scanned than what is pushed: it changes a layout, and what leads to the change with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = self.json(folder / "index.json")
        self.top = self.index["manifests"][0]
        self.manifest = self.json(self.blob(self.top["digest"]))
        self.configuration = self.json(self.blob(self.manifest["config"]["digest"]))

    @staticmethod
    def json(file: Path) -> Any:
        return json.loads(file.read_bytes())

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def put(self, body: bytes) -> dict[str, Any]:
        digest = oci.digest(body)
        self.blob(digest).write_bytes(body)
        return {"digest": digest, "size": len(body)}

    def layer(self, body: bytes, *, honest: bool = False) -> None:
        """Another first layer; `honest` changes its diff_id, too."""
        packed = compress.compress(body, "zstd", once=False)
        self.manifest["layers"][0] |= self.put(packed)
        if honest:
            self.configuration["rootfs"]["diff_ids"][0] = oci.digest(body)

    def seal(self) -> None:
        """Every digest above what was changed made anew."""
        self.manifest["config"] |= self.put(oci.encode(self.configuration))
        self.top |= self.put(oci.encode(self.manifest))
        (self.folder / "index.json").write_bytes(oci.encode(self.index))


@pytest.fixture
def forger(build: Build, tmp_path: Path) -> Forger:
    """One at work on the layout of a build."""
    layout.write(build("linux/amd64"), tmp_path / "layout")
    return Forger(tmp_path / "layout")


def refusal(forger: Forger) -> str:
    """What reading the layout is refused with, without the folder and the end."""
    state = forger.folder.parent / "reader"
    with pytest.raises(Refused) as caught:
        layout.read(forger.folder, state)
    said = str(caught.value)
    assert said.startswith(f"{forger.folder} is not a layout that lastgood wrote: ")
    assert said.endswith("; nothing of it was used")
    assert not state.exists()
    return said.removeprefix(f"{forger.folder} is not a layout that lastgood wrote: ").removesuffix(
        "; nothing of it was used"
    )


def small_tar(name: str = "etc/dirty") -> bytes:
    """A tar of one file."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size = 5
        archive.addfile(info, io.BytesIO(b"dirty"))
    return body.getvalue()


def test_another_blob_under_the_same_name(forger: Forger) -> None:
    digest = forger.manifest["layers"][0]["digest"]
    file = forger.blob(digest)
    size = file.stat().st_size
    file.write_bytes(b"x" * size)
    assert (
        refusal(forger)
        == "layer base is not what the image says of it (zstd decompress error: Unknown frame descriptor)"
    )
    file.write_bytes(compress.compress(small_tar(), "zstd", once=False).ljust(size, b"\0")[:size])
    assert refusal(forger).startswith("layer base is not what the image says of it (")
    file.write_bytes(b"")
    assert refusal(forger) == f"its layer base {digest} is missing, no plain file, or of another size"


def test_a_blob_that_unpacks_to_something_else(forger: Forger) -> None:
    """The manifest is right about the blob, and the configuration still names the clean tar."""
    clean = forger.configuration["rootfs"]["diff_ids"][0]
    forger.layer(small_tar())
    forger.seal()
    assert refusal(forger) == (
        f"layer base is not what the image says of it (it unpacks to {oci.digest(small_tar())}, not {clean})"
    )


def test_a_second_frame_behind_the_clean_one(forger: Forger) -> None:
    clean = forger.blob(forger.manifest["layers"][0]["digest"]).read_bytes()
    forger.manifest["layers"][0] |= forger.put(clean + compress.compress(small_tar(), "zstd", once=False))
    forger.seal()
    assert refusal(forger).startswith("layer base is not what the image says of it (it unpacks to sha256:")


def test_a_layer_that_unpacks_to_more_than_any_disk_holds(forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LARGEST", 10_000)
    forger.layer(bytes(3_000_000), honest=True)
    forger.seal()
    assert refusal(forger) == "layer base unpacks to more than 10000 bytes"


FORGED: dict[str, tuple[Callable[[Forger], object], str]] = {
    "a foreign layer": (
        lambda one: one.manifest["layers"][0].update(urls=["https://evil.example/layer"]),
        "layer base holds more or less than digest, mediaType, size",
    ),
    "another kind of layer": (
        lambda one: one.manifest["layers"][0].update(
            mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        ),
        "layer base is of another kind",
    ),
    "a path instead of a digest": (
        lambda one: one.manifest["layers"][0].update(digest="sha256:../../../etc/passwd"),
        "its layer base is named by no sha256 and size",
    ),
    "a layer that the configuration does not know": (
        lambda one: one.manifest["layers"].append(one.manifest["layers"][0]),
        "its configuration and its manifest have other layers",
    ),
    "a subject": (
        lambda one: one.manifest.update(subject=one.manifest["config"]),
        "the manifest holds more or less than annotations, config, layers, mediaType, schemaVersion",
    ),
    "no image at all": (
        lambda one: one.manifest["config"].update(mediaType="application/vnd.cncf.helm.config.v1+json"),
        "its configuration is of another kind",
    ),
    "another platform": (
        lambda one: one.configuration.update(architecture="s390x"),
        "its configuration is for another platform",
    ),
    "two images": (
        lambda one: one.index["manifests"].append(one.top),
        "index.json must name one image",
    ),
    "a build that is not its commit's": (
        lambda one: [
            part.update({"lastgood.build": "f" * 12})
            for part in (one.manifest["annotations"], one.configuration["config"]["Labels"])
        ],
        "its build is not named by its commit",
    ),
    "a version with a line of its own": (
        lambda one: [
            part.update({"org.opencontainers.image.version": "v1\n::set-output name=digest::x"})
            for part in (one.manifest["annotations"], one.configuration["config"]["Labels"])
        ],
        "its org.opencontainers.image.version is missing, said twice, or not in the form of one",
    ),
    "labels that say something else than the manifest": (
        lambda one: one.manifest["annotations"].update({"lastgood.manifest": f"sha256:{'0' * 64}"}),
        "its lastgood.manifest is missing, said twice, or not in the form of one",
    ),
    "another user for engines, which read names in any case": (
        lambda one: one.configuration["config"].update(user="root"),
        "its configuration holds 'user', which is not looked at",
    ),
    "other settings for engines": (
        lambda one: one.configuration.update(Config={"User": "root"}),
        "its configuration holds 'Config', which is not looked at",
    ),
    "an instruction for whoever builds on it": (
        lambda one: one.configuration["config"].update(OnBuild=["RUN x"]),
        "its configuration holds 'OnBuild', which is not looked at",
    ),
    "no labels": (lambda one: one.configuration.pop("config"), "it has no labels"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_document(forger: Forger, name: str) -> None:
    change, said = FORGED[name]
    change(forger)
    forger.seal()
    assert refusal(forger) == said


def test_documents_that_are_none(forger: Forger) -> None:
    index = forger.folder / "index.json"
    index.write_bytes(b"[" * 100_000)
    assert refusal(forger) == "its index.json is no JSON"
    index.write_bytes(b"[]")
    assert refusal(forger) == "its index.json is no JSON object"
    index.unlink()
    os.mkfifo(index)
    assert refusal(forger) == "its index.json is missing, no plain file, or too large"
    index.unlink()
    index.symlink_to("/etc/passwd")
    assert refusal(forger) == "its index.json is missing, no plain file, or too large"


def test_a_document_that_says_something_twice(forger: Forger) -> None:
    """Which of the two counts is for each reader to decide."""
    body = oci.encode(forger.configuration).replace(b'"User":"65532"', b'"User":"root","User":"65532"')
    forger.manifest["config"] |= forger.put(body)
    forger.top |= forger.put(oci.encode(forger.manifest))
    (forger.folder / "index.json").write_bytes(oci.encode(forger.index))
    assert refusal(forger) == "its configuration says something twice, or is written in another way"


def test_another_document_under_the_same_name(forger: Forger) -> None:
    digest = forger.top["digest"]
    body = oci.encode(forger.manifest | {"annotations": {}})
    forger.blob(digest).write_bytes(body)
    assert refusal(forger) == f"its manifest {digest} is missing, no plain file, or of another size"
    forger.blob(digest).write_bytes(body.ljust(forger.top["size"]))
    changed = hashlib.sha256(body.ljust(forger.top["size"])).hexdigest()
    assert refusal(forger) == f"its manifest is sha256:{changed}, not {digest}"


def test_the_commit_that_was_to_be_pushed(build: Build) -> None:
    image = build("linux/amd64")
    layout.of_commit(image, COMMIT)
    other = "f" * 40
    for one, commit in ((image, other), (dataclasses.replace(image, build=f"{COMMIT[:12]}-dirty-01234567"), COMMIT)):
        with pytest.raises(Refused) as caught:
            layout.of_commit(one, commit)
        assert str(caught.value) == (
            f"the build says that it is {one.build}, made from {COMMIT}, and {commit} was to be pushed: nothing was pushed; build that "
            "commit"
        )


def test_a_layer_of_the_cache_is_what_its_blob_holds(make_image: MakeImage) -> None:
    (layer,) = make_image("abc", base={"etc/a": b"1"}).layers
    packed = compress.compress(small_tar(), "zstd", once=False)
    layer.blob.write_bytes(packed)
    with pytest.raises(UsageError) as caught, layers.unpacked(layer):
        pass
    assert str(caught.value) == (
        f"layer base is not what the image says of it (its blob is {oci.digest(packed)}, not {layer.digest}): it is neither scanned nor "
        "pushed; remove it with `lastgood cache --clear`, and build again"
    )


def test_only_debians_files_are_claimed(build: Build, tmp_path: Path) -> None:
    image = build("linux/amd64")
    owned = tmp_path / "owners.json"
    owned.write_text(
        json.dumps({"etc/a": "debian:libc6", "usr/b.py": "python:django", "opt/c": "lastgood"}), encoding="utf-8"
    )
    base = dataclasses.replace(image.layers[0], owners=owned)
    parts = (base, image.layers[1])
    image = dataclasses.replace(image, layers=parts, variants=(dataclasses.replace(image.variants[0], layers=parts),))
    layout.write(image, tmp_path / "layout")
    again = layout.read(tmp_path / "layout", tmp_path / "other")
    assert [layer.claimed for layer in again.layers] == [True, False]
    assert again.layers[0].owners is not None
    assert json.loads(again.layers[0].owners.read_bytes()) == {"etc/a": "debian:libc6"}


@pytest.mark.parametrize("owner", ["python:django", "debian:../x", "debian:x\n## accepted", 7, {"a": "b"}])
def test_another_claim_is_refused(forger: Forger, owner: object) -> None:
    (forger.folder / "owners.json").write_bytes(oci.encode({"sha256:x": {"etc/a": owner}}))
    assert refusal(forger) == "its owners.json names something else than Debian's packages"
