"""What a build leaves behind for the commands after it: the image, by platform, and the files it lies in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image.layers import Layer


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
    `size`, `unpacked` and `layers` are those of the first. `limits` says what is not guaranteed of a build from the project's own
    Dockerfile.
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
        }

    def missing(self) -> str:
        """The name of a layer that is no longer in the cache, else empty."""
        gone = (one.name for variant in self.variants for one in variant.layers if not one.whole())
        return next(gone, "")

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Image:
        """From `as_dict`. Raises KeyError, TypeError or ValueError for other data."""
        variants = tuple(Variant(**one | {"layers": _layers(one["layers"])}) for one in data["variants"])
        changed = {"layers": _layers(data["layers"]), "variants": variants, "limits": tuple(data["limits"])}
        return cls(**dict(data) | changed | {"folder": Path(data["folder"])})


def name(kind: str, position: int, variant: Variant | None) -> str:
    """The name of a document's file: `manifest.json`, and `manifest-arm64.json` of a variant that is not the first."""
    return f"{kind}-{variant.architecture}.json" if variant and position else f"{kind}.json"


def _layers(data: list[dict[str, Any]]) -> tuple[Layer, ...]:
    return tuple(Layer.of(entry) for entry in data)


def file(project: Project) -> Path:
    """Where the newest build of this project on this machine is described."""
    return project.state / "build.json"


def keep(project: Project, image: Image) -> None:
    """Makes a build the newest one. Its facts are written last: only then is it a build."""
    body = json.dumps(image.as_dict(), indent=2).encode()
    for target in (image.folder / "build.json", file(project)):
        if not target.is_file() or target.read_bytes() != body:
            store.write(target, body)


def again(project: Project, build: str, key: str) -> Image | None:
    """The build of that name, if it was made here from the very same inputs and all of it is still there."""
    try:
        image = Image.of(json.loads((project.state / "builds" / build / "build.json").read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if image.key != key or image.missing():
        return None
    for variant in image.variants:
        for layer in variant.layers:
            store.touch(layer.tar.parent)
    keep(project, image)
    return image


def last(project: Project) -> Image:
    """The newest build of this project on this machine. Raises UsageError when there is none (or its files were removed)."""
    try:
        image = Image.of(json.loads(file(project).read_bytes()))
    except FileNotFoundError:
        raise UsageError(f"nothing was built here yet ({file(project)} does not exist): run `lastgood build`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file(project)} can't be read ({error}): run `lastgood build` again") from None
    gone = image.missing()
    if gone:
        raise UsageError(
            f"the layer {gone} of build {image.build} is no longer in the cache: run `lastgood build` again"
        )
    return image
