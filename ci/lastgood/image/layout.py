"""A build as an OCI image layout: the folder that the job which builds hands to the job which scans and pushes.

Shape: https://github.com/opencontainers/image-spec/blob/main/image-layout.md. The job that wrote it has run the project's code, so nothing
in it is believed: every document and blob must be what the digest above it names, every layer must unpack to its diff_id, and nothing may
stand in it that `write` would not have written. What can't be proved that way (commit, version) stays a claim, which the one who reads it
compares with what he knows. So does which Debian package a file is of, where the image itself does not say it: reports show it, no rule
asks it.
"""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from lastgood.cache import store
from lastgood.errors import Refused, UsageError
from lastgood.image import built, compress, layers, oci, owners
from lastgood.image.built import Image, Variant
from lastgood.image.layers import Layer
from lastgood.platform import ALL

_MARK = {"imageLayoutVersion": "1.0.0"}
_NAME = "org.opencontainers.image.ref.name"
_DOCUMENT = 4 << 20  # bytes: registries take no larger manifest
_LAYERS = 127  # the most that engines can put over one another
_OWNERS = 64 << 20
_PACKAGE = re.compile(r"debian:[a-z0-9][a-z0-9+.-]{1,100}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DESCRIPTOR = frozenset({"mediaType", "digest", "size"})
# What a configuration may hold, spelled so and in no other way: engines read names in any case, and of two the last.
_CONFIGURATION = frozenset({"architecture", "config", "created", "history", "os", "rootfs", "variant"})
_SETTINGS = frozenset(
    {"Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "StopSignal", "User", "Volumes", "WorkingDir"}
)
_HISTORY = frozenset({"author", "comment", "created", "created_by", "empty_layer"})
# What is claimed of a build, and how it may look: it is shown to people and written into the release record.
_CLAIMS = {
    "org.opencontainers.image.revision": re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?"),
    "org.opencontainers.image.version": re.compile(r"[\w./+@-]{1,200}", re.ASCII),
    "org.opencontainers.image.created": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII),
    "lastgood.build": re.compile(r"[0-9a-f]{12}(-dirty-[0-9a-f]{8})?"),
    "lastgood.manifest": _DIGEST,
}


def write(image: Image, folder: Path) -> None:
    """Writes the build into `folder`, in place of the layout that lies there. Raises UsageError where something else does."""
    theirs = folder.exists() and not (
        folder.is_dir() and (not any(folder.iterdir()) or (folder / "oci-layout").is_file())
    )
    if folder.is_symlink() or theirs:
        raise UsageError(
            f"{folder} is not an OCI image layout, and is not written over: name another folder, or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with store.room(folder.parent):
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{store.PART}{folder.name}-"))
        try:
            _fill(image, part)
            part.chmod(0o755)
            if folder.exists():
                store.remove(folder)
            part.rename(folder)
        finally:
            if part.exists():
                store.remove(part)


def _fill(image: Image, folder: Path) -> None:
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for variant in image.variants:
        for layer in variant.layers:
            if _put(blobs, layer.blob.read_bytes()) != layer.digest:
                raise UsageError(
                    f"layer {layer.name} in the cache is not {layer.digest}: it was damaged; remove it with `lastgood cache --clear`, and "
                    "build again"
                )
        for kind in ("config", "manifest"):
            _put(blobs, image.document(kind, variant))
    several = len(image.variants) > 1
    top = image.document("index" if several else "manifest")
    _put(blobs, top)
    entry = {
        "mediaType": oci.INDEX_TYPE if several else oci.MANIFEST_TYPE,
        "digest": oci.digest(top),
        "size": len(top),
        "annotations": {_NAME: image.build},
    }
    index = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": [entry]}
    owned = {
        layer.diff_id: _debian(layer.owners) for variant in image.variants for layer in variant.layers if layer.owners
    }
    if owned:
        (folder / owners.NAME).write_bytes(oci.encode(owned))
    (folder / "index.json").write_bytes(oci.encode(index))
    (folder / "oci-layout").write_bytes(oci.encode(_MARK))


def _debian(file: Path) -> dict[str, str]:
    """What a layer's owners.json says of Debian's files: of a distribution's its RECORD does, which is in the image."""
    found: dict[str, str] = json.loads(file.read_bytes())
    return {path: owner for path, owner in found.items() if owner.startswith("debian:")}


def _put(blobs: Path, body: bytes) -> str:
    """Writes a blob under its own digest, which is returned."""
    digest = oci.digest(body)
    (blobs / digest.removeprefix("sha256:")).write_bytes(body)
    return digest


def read(folder: Path, state: Path) -> Image:
    """The build in `folder`; its documents are copied below the folder `state`, its layers stay where they are.

    Raises UsageError where there is no layout, and Refused for anything in it that is not what it says it is.
    """
    if not (folder / "oci-layout").is_file():
        raise UsageError(f"{folder} holds no OCI image layout: `lastgood build --layout {folder}` writes one")
    return _Reader(folder).image(state)


def of_commit(image: Image, commit: str) -> None:
    """Raises Refused unless the build says that it was made from that commit, and from nothing else."""
    if image.commit != commit or image.build != commit[:12]:
        raise Refused(
            f"the build says that it is {image.build}, made from {image.commit}, and {commit} was to be pushed: nothing was pushed; build "
            "that commit"
        )


@dataclass(frozen=True)
class _Reader:
    folder: Path

    def refuse(self, what: str) -> NoReturn:
        raise Refused(f"{self.folder} is not a layout that lastgood wrote: {what}; nothing of it was used")

    def image(self, state: Path) -> Image:
        if self.document(self.folder / "oci-layout", "oci-layout")[0] != _MARK:
            self.refuse("oci-layout names another version")
        index, _ = self.document(self.folder / "index.json", "index.json")
        entry = self.only(index, {"schemaVersion", "mediaType", "manifests"}, "index.json")["manifests"]
        if not isinstance(entry, list) or len(entry) != 1:
            self.refuse("index.json must name one image")
        top = self.only(entry[0], {*_DESCRIPTOR, "annotations"}, "index.json")
        if top["mediaType"] == oci.MANIFEST_TYPE:
            bodies: dict[str, dict[str, Any]] = {"": top}
        elif top["mediaType"] == oci.INDEX_TYPE:
            bodies = self.platforms(top)
        else:
            self.refuse(f"{top['mediaType']!r} is no image")
        parts = [self.variant(one, platform) for platform, one in bodies.items()]
        claims = parts[0][1]
        if any(other != claims for _, other, _ in parts):
            self.refuse("its platforms are of several builds")
        return self.written(state, top, claims, parts, self.owners())

    def platforms(self, top: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """{platform: the descriptor of its manifest} of an index."""
        index, _ = self.blob(top, "index")
        self.only(index, {"schemaVersion", "mediaType", "manifests", "annotations"}, "the index")
        found: dict[str, dict[str, Any]] = {}
        for entry in index["manifests"] if isinstance(index["manifests"], list) else ():
            self.only(entry, {*_DESCRIPTOR, "platform"}, "the index")
            name = next((name for name in ALL if entry["platform"] == oci.platform(name)), None)
            if name is None or name in found:
                self.refuse("the index names a platform twice, or one that no image is made for")
            found[name] = entry
        if len(found) < 2 or index["mediaType"] != oci.INDEX_TYPE:
            self.refuse("the index is none of several platforms")
        return found

    def variant(self, entry: Mapping[str, Any], platform: str) -> tuple[Variant, dict[str, str], tuple[bytes, bytes]]:
        """The image of one platform (empty: whichever it names), what it claims, and its configuration and manifest."""
        manifest, body = self.blob(entry, "manifest")
        self.only(manifest, {"schemaVersion", "mediaType", "config", "layers", "annotations"}, "the manifest")
        if (manifest["schemaVersion"], manifest["mediaType"]) != (2, oci.MANIFEST_TYPE):
            self.refuse("the manifest is of another kind")
        described = self.only(manifest["config"], _DESCRIPTOR, "the manifest")
        if described["mediaType"] != oci.CONFIG_TYPE:
            self.refuse("its configuration is of another kind")
        configuration, config_body = self.blob(described, "configuration")
        self.configuration(configuration)
        claims = self.claims(configuration, manifest["annotations"])
        name = next((name for name in ALL if oci.platform(name).items() <= configuration.items()), "")
        if not name or platform not in ("", name):
            self.refuse("its configuration is for another platform")
        found = self.layers(manifest["layers"], configuration)
        variant = Variant(
            platform=name,
            digest=oci.digest(body),
            image_id=oci.digest(config_body),
            layers=found,
            size=sum(layer.compressed for layer in found) + len(config_body),
            unpacked=sum(layer.size for layer in found),
        )
        return variant, claims, (config_body, body)

    def configuration(self, data: Mapping[str, Any]) -> None:
        """Refuses a configuration that an engine may read in another way than the scan does."""
        history = data.get("history")
        parts: list[tuple[object, frozenset[str]]] = [
            (data, _CONFIGURATION),
            (data.get("config"), _SETTINGS),
            (data.get("rootfs"), frozenset({"type", "diff_ids"})),
            *((one, _HISTORY) for one in (history if isinstance(history, list) else ())),
        ]
        for part, known in parts:
            if isinstance(part, dict) and not part.keys() <= known:
                names = ", ".join(sorted(map(repr, part.keys() - known)))
                self.refuse(f"its configuration holds {names}, which is not looked at")

    def claims(self, configuration: Mapping[str, Any], annotations: object) -> dict[str, str]:
        """What the image says of its build, the same in its labels and in its manifest's annotations."""
        settings = configuration.get("config")
        labels = settings.get("Labels") if isinstance(settings, dict) else None
        if not isinstance(labels, dict) or not isinstance(annotations, dict):
            self.refuse("it has no labels")
        for key, form in _CLAIMS.items():
            value = labels.get(key)
            if not isinstance(value, str) or not form.fullmatch(value) or annotations.get(key) != value:
                self.refuse(f"its {key} is missing, said twice, or not in the form of one")
        found = {key: str(labels[key]) for key in _CLAIMS}
        if found["lastgood.build"][:12] != found["org.opencontainers.image.revision"][:12]:
            self.refuse("its build is not named by its commit")
        return found

    def layers(self, entries: object, configuration: Mapping[str, Any]) -> tuple[Layer, ...]:
        rootfs = configuration.get("rootfs")
        ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(entries, list) or not isinstance(ids, list) or len(ids) != len(entries):
            self.refuse("its configuration and its manifest have other layers")
        if not 0 < len(entries) <= _LAYERS:
            self.refuse(f"it has {len(entries)} layers")
        names = _names(configuration.get("history"), len(entries))
        return tuple(self.layer(*one) for one in zip(names, entries, ids, strict=True))

    def layer(self, name: str, entry: object, diff_id: object) -> Layer:
        described = self.only(entry, _DESCRIPTOR, f"layer {name}")
        if described["mediaType"] not in compress.TYPES.values():
            self.refuse(f"layer {name} is of another kind")
        if not isinstance(diff_id, str) or not _DIGEST.fullmatch(diff_id):
            self.refuse(f"layer {name} has no diff_id")
        file = self.file(described, f"layer {name}")
        media_type = str(described["mediaType"])
        layer = Layer(name, file, diff_id, str(described["digest"]), 0, int(described["size"]), media_type)
        try:
            with layers.unpacked(layer) as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
                size = sum(member.size for member in archive)
        except (UsageError, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            self.refuse(str(error).partition(": it is neither")[0])
        return Layer(name, file, diff_id, layer.digest, size, layer.compressed, media_type)

    def owners(self) -> dict[str, dict[str, str]]:
        """{diff_id: {path: Debian's package}}, as it is claimed."""
        if not (self.folder / owners.NAME).exists():
            return {}
        data, _ = self.document(self.folder / owners.NAME, owners.NAME, _OWNERS)
        for said in data.values():
            names = (
                set(said.values())
                if isinstance(said, dict) and all(isinstance(one, str) for one in said.values())
                else {""}
            )
            if not all(_PACKAGE.fullmatch(name) for name in names):
                self.refuse(f"its {owners.NAME} names something else than Debian's packages")
        return data

    def document(self, file: Path, what: str, most: int = _DOCUMENT) -> tuple[dict[str, Any], bytes]:
        """A JSON object and its bytes."""
        try:
            if file.is_symlink() or not file.is_file() or file.stat().st_size > most:
                self.refuse(f"its {what} is missing, no plain file, or too large")
            body = file.read_bytes()
            data = json.loads(body)
        except (ValueError, RecursionError):
            self.refuse(f"its {what} is no JSON")
        if not isinstance(data, dict):
            self.refuse(f"its {what} is no JSON object")
        return data, body

    def blob(self, entry: Mapping[str, Any], what: str) -> tuple[dict[str, Any], bytes]:
        """The document that a descriptor names."""
        data, body = self.document(self.file(entry, what), what)
        if oci.digest(body) != entry["digest"] or len(body) != entry["size"]:
            self.refuse(f"its {what} is {oci.digest(body)}, not {entry['digest']}")
        if oci.encode(data) != body:
            self.refuse(f"its {what} says something twice, or is written in another way")
        return data, body

    def file(self, entry: Mapping[str, Any], what: str) -> Path:
        """The file of a descriptor's digest and size; what is in it is still to be checked."""
        digest, size = entry["digest"], entry["size"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
            self.refuse(f"its {what} is named by no sha256 and size")
        found = self.folder / "blobs/sha256" / digest.removeprefix("sha256:")
        if found.is_symlink() or not found.is_file() or found.stat().st_size != size:
            self.refuse(f"its {what} {digest} is missing, no plain file, or of another size")
        return found

    def only(self, data: object, keys: frozenset[str] | set[str], what: str) -> dict[str, Any]:
        """`data`, which must be an object of these keys and no other: one that is not known may mean something to a registry or engine."""
        if not isinstance(data, dict) or data.keys() != keys:
            self.refuse(f"{what} holds more or less than {', '.join(sorted(keys))}")
        return data

    def written(
        self,
        state: Path,
        top: Mapping[str, Any],
        claims: Mapping[str, str],
        parts: Sequence[tuple[Variant, dict[str, str], tuple[bytes, bytes]]],
        owned: Mapping[str, Mapping[str, str]],
    ) -> Image:
        digest = str(top["digest"])
        target = state / "layouts" / digest.removeprefix("sha256:")[:24]
        for position, (variant, _, bodies) in enumerate(parts):
            for kind, body in zip(("config", "manifest"), bodies, strict=True):
                store.write(target / built.name(kind, position, variant), body)
        if len(parts) > 1:
            store.write(target / "index.json", self.blob(top, "index")[1])
        variants = []
        for variant, _, _ in parts:
            said = []
            for layer in variant.layers:
                file = target / f"owners-{layer.diff_id.removeprefix('sha256:')[:24]}.json"
                if layer.diff_id in owned:
                    store.write(file, oci.encode(owned[layer.diff_id]))
                    layer = replace(layer, owners=file, claimed=True)
                said.append(layer)
            variants.append(replace(variant, layers=tuple(said)))
        first = variants[0]
        return Image(
            build=claims["lastgood.build"],
            commit=claims["org.opencontainers.image.revision"],
            version=claims["org.opencontainers.image.version"],
            created=claims["org.opencontainers.image.created"],
            digest=digest,
            image_id=first.image_id,
            manifest_sha=claims["lastgood.manifest"].removeprefix("sha256:"),
            size=first.size,
            unpacked=first.unpacked,
            layers=first.layers,
            folder=target,
            variants=tuple(variants),
        )


def _names(history: object, count: int) -> list[str]:
    """The layers' names as the history has them, for people; numbers where it has none, or not as many."""
    lines = [one for one in history if isinstance(one, dict)] if isinstance(history, list) else []
    made = [str(one.get("created_by", "")) for one in lines if not one.get("empty_layer")]
    if len(made) != count:
        made = [""] * count
    found: list[str] = []
    for number, line in enumerate(made):
        named = re.fullmatch(r"ADD ([a-z]{2,20})\.tar /", line)
        name = named.group(1) if named else f"own-{number}"
        found.append(f"{name}-{number}" if name in found else name)
    return found
