"""What a build leaves behind for the commands after it: the image, by platform, and the files it lies in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.image.commit import Commit
from lastgood.image.layers import Layer

if TYPE_CHECKING:  # it costs the start of every command that asks for the last build
    from lastgood.image import dockerfile

MIGRATIONS = "migrations.json"  # in a build's folder: the manifest that its image carries


@dataclass(frozen=True)
class Order:
    """What is to be built: `commit`, for the project called `title`; `key` names all that it is made from, `state` takes the result."""

    title: str
    commit: Commit
    key: str
    state: Path


@dataclass(frozen=True)
class Variant:
    """The image for one platform. `digest` is its manifest's, `image_id` its configuration's; sizes are in bytes."""

    platform: str
    digest: str
    image_id: str
    layers: tuple[Layer, ...]
    size: int
    unpacked: int

    @property
    def architecture(self) -> str:
        """`amd64` or `arm64`."""
        return self.platform.partition("/")[2]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return vars(self) | {"layers": [layer.as_dict() for layer in self.layers]}


@dataclass(frozen=True)
class Image:
    """A finished build. Sizes are in bytes; `digest` names it everywhere, `image_id` is what an engine calls its configuration.

    `digest` is the manifest's with one platform, the index's with several. What differs between platforms is in `variants`; `image_id`,
    `size`, `unpacked` and `layers` are those of the first. `limits` says what is not guaranteed: of a build from the project's own
    Dockerfile, or where its code ran in no container; `notes` what a person should know of what is in the image and what is not;
    left-out.json in `folder` has every file's name.
    """

    build: str
    commit: str
    version: str
    created: str
    digest: str
    image_id: str
    manifest_sha: str
    size: int
    unpacked: int
    layers: tuple[Layer, ...]
    folder: Path
    variants: tuple[Variant, ...] = ()
    key: str = ""
    limits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.variants:
            only = Variant("linux/amd64", self.digest, self.image_id, self.layers, self.size, self.unpacked)
            object.__setattr__(self, "variants", (only,))

    def document(self, kind: str, variant: Variant | None = None) -> bytes:
        """The bytes of a `config` or `manifest`, of the first variant unless another is named, or of the `index`."""
        return (self.folder / name(kind, self.variants.index(variant) if variant else 0, variant)).read_bytes()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {
            "folder": str(self.folder),
            "layers": [layer.as_dict() for layer in self.layers],
            "variants": [variant.as_dict() for variant in self.variants],
            "limits": list(self.limits),
            "notes": list(self.notes),
        }

    def missing(self) -> str:
        """The name of a layer that is no longer in the cache, else empty."""
        gone = (one.name for variant in self.variants for one in variant.layers if not one.whole())
        return next(gone, "")

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Image:
        """From `as_dict`. Raises KeyError, TypeError or ValueError for other data."""
        variants = tuple(Variant(**one | {"layers": _layers(one["layers"])}) for one in data["variants"])
        said = {"limits": tuple(data["limits"]), "notes": tuple(data["notes"])}
        changed = {"layers": _layers(data["layers"]), "variants": variants} | said
        return cls(**dict(data) | changed | {"folder": Path(data["folder"])})


def name(kind: str, position: int, variant: Variant | None) -> str:
    """The name of a document's file: `manifest.json`, and `manifest-arm64.json` of a variant that is not the first."""
    return f"{kind}-{variant.architecture}.json" if variant and position else f"{kind}.json"


def _layers(data: list[dict[str, Any]]) -> tuple[Layer, ...]:
    return tuple(Layer.of(entry) for entry in data)


def file(state: Path) -> Path:
    """Where the newest build of the project with that state folder is described."""
    return state / "build.json"


def keep(state: Path, image: Image) -> None:
    """Makes a build the newest one. Its facts are written last: only then is it a build."""
    body = json.dumps(image.as_dict(), indent=2).encode()
    for target in (image.folder / "build.json", file(state)):
        if not target.is_file() or target.read_bytes() != body:
            store.write(target, body)


def again(state: Path, build: str, key: str) -> Image | None:
    """The build of that name, if it was made here from the very same inputs and all of it is still there."""
    try:
        image = Image.of(json.loads((state / "builds" / build / "build.json").read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if image.key != key or image.missing():
        return None
    for variant in image.variants:
        for layer in variant.layers:
            store.touch(layer.blob.parent)
    keep(state, image)
    return image


def last(state: Path) -> Image:
    """The newest build of the project with that state folder. Raises UsageError when there is none (or its files were removed)."""
    try:
        image = Image.of(json.loads(file(state).read_bytes()))
    except FileNotFoundError:
        raise UsageError(f"nothing was built here yet ({file(state)} does not exist): run `lastgood build`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file(state)} can't be read ({error}): run `lastgood build` again") from None
    gone = image.missing()
    if gone:
        raise UsageError(
            f"the layer {gone} of build {image.build} is no longer in the cache: run `lastgood build` again"
        )
    return image


def migrations(image: Image) -> bytes:
    """The migrations' manifest of a build, as it lies in its image; empty where the build is older than its being kept."""
    file = image.folder / MIGRATIONS
    return file.read_bytes() if file.is_file() else b""


def labels(title: str, made_from: Commit, manifest: bytes) -> dict[str, str]:
    """The labels of https://github.com/opencontainers/image-spec/blob/main/annotations.md that a build can know, and our own."""
    known = {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.created": made_from.created,
        "org.opencontainers.image.revision": made_from.sha,
        "org.opencontainers.image.version": made_from.version,
        "lastgood.build": made_from.build,
        "lastgood.manifest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
    }
    return known | ({"org.opencontainers.image.source": made_from.source} if made_from.source else {})


def write(
    order: Order,
    parts: Mapping[str, Sequence[Layer]],
    manifest: bytes,
    described: dockerfile.Description,
    limits: tuple[str, ...] = (),
    before: Sequence[Mapping[str, Any]] = (),
    notes: tuple[str, ...] = (),
) -> Image:
    """Writes configuration and manifest of each platform's layers, and the index of several; returns the image.

    `manifest` is the migrations' one, `described` what the Dockerfile says, `before` the history of layers that are not ours.
    """
    made_from = order.commit
    folder = order.state / "builds" / made_from.build
    named = labels(order.title, made_from, manifest)
    settings = dict(described.config) | {"Labels": dict(described.config.get("Labels", {})) | named}
    variants, manifests = [], {}
    for position, (platform, prepared) in enumerate(parts.items()):
        ordered = described.order(prepared)
        configuration = oci.config(settings, ordered, made_from.created, platform, before)
        body = oci.manifest(configuration, ordered, named)
        variant = Variant(
            platform=platform,
            digest=oci.digest(body),
            image_id=oci.digest(configuration),
            layers=tuple(ordered),
            size=sum(layer.compressed for layer in ordered) + len(configuration),
            unpacked=sum(layer.size for layer in ordered),
        )
        for kind, content in (("config", configuration), ("manifest", body)):
            store.write(folder / name(kind, position, variant), content)
        variants.append(variant)
        manifests[platform] = body
    index = oci.index(manifests, named)
    if len(variants) > 1:
        store.write(folder / "index.json", index)
    store.write(folder / MIGRATIONS, manifest)
    first = variants[0]
    return Image(
        build=made_from.build,
        commit=made_from.sha,
        version=made_from.version,
        created=made_from.created,
        digest=oci.digest(index) if len(variants) > 1 else first.digest,
        image_id=first.image_id,
        manifest_sha=hashlib.sha256(manifest).hexdigest(),
        size=first.size,
        unpacked=first.unpacked,
        layers=first.layers,
        folder=folder,
        variants=tuple(variants),
        key=order.key,
        limits=limits,
        notes=notes,
    )
