"""Assembles an image from prepared layers as the bundle's Dockerfile describes it, for each platform."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from lastgood import bundle
from lastgood.cache import store
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image import built, compress, dependencies, dockerfile, layers, oci, roots, source, trace
from lastgood.image.built import Image, Variant
from lastgood.image.commit import Commit
from lastgood.image.layers import Layer
from lastgood.platform import ALL, native
from lastgood.python import pycache
from lastgood.report.terminal import megabytes, step

MIGRATOR = "opt/lastgood/migrator"


def build(project: Project, made_from: Commit, key: str) -> Image:
    """The image of that commit; `key` names all that it is made from. Nothing is half there after an error."""
    platforms = [ALL[name] for name in project.image.platforms]
    # As many threads as layers to compress: they wait for one another only for a core, and the first error ends all.
    with ThreadPoolExecutor(2 * len(platforms)) as pool:
        waiting: dict[str, list[Future[Layer]]] = {platform.name: [] for platform in platforms}
        keys: dict[tuple[str, str], str] = {}
        for platform in platforms:
            named = f" {platform.name}" if len(platforms) > 1 else ""
            for title, prepared, named_by in (
                ("base", roots.runtime, roots.runtime_key),
                ("dependencies", dependencies.prepare, dependencies.key),
            ):
                with step(f"{title}{named}"):
                    tree, named_key = prepared(project, platform), named_by(project, platform)
                    waiting[platform.name].append(pool.submit(_layer, project, title, named_key, tree))
                    keys[title, platform.name] = named_key
        with store.workspace(store.cache() / "work", f"{project.name}-") as work:
            shared, manifest = _application(project, made_from, work, keys)
        with step("compress") as shown:
            parts = {name: [future.result() for future in futures] + shared for name, futures in waiting.items()}
            shown.note(megabytes(sum(layer.compressed for layer in next(iter(parts.values())))))
    return assembled(project, made_from, key, parts, manifest, _described(project))


def _layer(project: Project, name: str, key: str, tree: Path, prefix: str = "") -> Layer:
    """The layer of a tree of that key, with the file beside the tree that says whose its paths are."""
    owners = tree.parent / "owners.json"
    sealed = kept(name, key, project.image.compression, lambda: [(tree, prefix)])
    return replace(sealed, owners=owners if owners.is_file() else None)


def kept(name: str, key: str, method: str, trees: Callable[[], list[tuple[Path, str]]], *, once: bool = True) -> Layer:
    """The layer of that key, written from `trees()` unless the cache has it."""
    recipe = hashlib.sha256(f"{key}\0{layers.RECIPE}\0{compress.RECIPE}\0{once}".encode()).hexdigest()
    target = store.cache() / "layers" / f"{name}-{recipe[:24]}-{method}"

    def make(folder: Path) -> None:
        layers.write(trees(), folder / "layer.tar")
        sealed = layers.seal(name, folder / "layer.tar", method, once=once)
        (folder / "layer.json").write_text(json.dumps(sealed.as_dict()), encoding="utf-8")

    for _ in range(2):
        folder = store.entry(target, make)
        found = layers.moved(Layer.of(json.loads((folder / "layer.json").read_bytes())), folder)
        if found.whole():
            return found
        store.remove(folder)  # somebody damaged it: it is made again
    raise UsageError(f"{target} changes while it is used: run the command again")


def _application(
    project: Project, made_from: Commit, work: Path, keys: Mapping[tuple[str, str], str]
) -> tuple[list[Layer], bytes]:
    """The layers that all platforms share, and the manifest: migrator, static files, application.

    What runs, runs on this machine's own platform, whether or not the image is for it; `keys` has what is known already.
    """
    here = native()
    root, method = roots.runtime(project, here), project.image.compression
    root_key = keys.get(("base", here.name)) or roots.runtime_key(project, here)
    tree_key = keys.get(("dependencies", here.name)) or dependencies.key(project, here)
    stage = work / "stage"
    with step("static files and manifest") as shown:
        found = source.copy(project.app, stage / "app")
        migrator, migrator_key = _migrator(work, root, root_key, method)
        made = trace.make(
            trace.Work(
                project,
                stage / "app",
                found.files,
                root,
                dependencies.whole(project),
                f"{tree_key} {root_key}",
                migrator_key,
            )
        )
        tree = store.cache() / "static" / made.static / "tree"
        static = kept("static", f"{made.static}", method, lambda: [(tree, made.place)])
        shown.note(megabytes(static.compressed))
    with step("application") as shown:
        manifest = trace.manifest(made, made_from.build, made_from.sha)
        (stage / "opt/lastgood").mkdir(parents=True)
        (stage / "opt/lastgood/manifest.json").write_bytes(manifest)
        modules = {f"app/{name}": body for name, body in found.modules.items()}
        key = hashlib.sha256(f"{found.digest}\0{root_key}\0{oci.digest(manifest)}".encode()).hexdigest()

        def trees() -> list[tuple[Path, str]]:
            pycache.add(stage, modules, root, root_key)
            return [(stage, "")]

        application = kept("application", key, method, trees, once=False)
        shown.note(megabytes(application.compressed))
    return [migrator, static, application], manifest


def _migrator(work: Path, root: Path, root_key: str, method: str) -> tuple[Layer, str]:
    """Its layer changes with the bundle and with the base's Python, not with the project."""
    folder = bundle.path("docker/migrator")
    seen = hashlib.sha256(root_key.encode())
    for path in sorted(folder.rglob("*.py")):
        seen.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    key = seen.hexdigest()

    def trees() -> list[tuple[Path, str]]:
        tree = work / "migrator"
        modules = source.migrator(folder, tree / MIGRATOR)
        pycache.add(tree, {f"{MIGRATOR}/{name}": body for name, body in modules.items()}, root, root_key)
        return [(tree, "")]

    return kept("migrator", key, method, trees), key


def _described(project: Project) -> dockerfile.Description:
    return dockerfile.read(bundle.path("docker/Dockerfile"), {"SETTINGS": project.settings})


def labels(project: Project, made_from: Commit, manifest: bytes) -> dict[str, str]:
    """The labels of https://github.com/opencontainers/image-spec/blob/main/annotations.md that a build can know, and our own."""
    known = {
        "org.opencontainers.image.title": project.name,
        "org.opencontainers.image.created": made_from.created,
        "org.opencontainers.image.revision": made_from.sha,
        "org.opencontainers.image.version": made_from.version,
        "lastgood.build": made_from.build,
        "lastgood.manifest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
    }
    return known | ({"org.opencontainers.image.source": made_from.source} if made_from.source else {})


def assembled(
    project: Project,
    made_from: Commit,
    key: str,
    parts: Mapping[str, Sequence[Layer]],
    manifest: bytes,
    described: dockerfile.Description,
    limits: tuple[str, ...] = (),
    before: Sequence[Mapping[str, Any]] = (),
) -> Image:
    """Writes configuration and manifest of each platform's layers, and the index of several; returns the image."""
    folder = project.state / "builds" / made_from.build
    named = labels(project, made_from, manifest)
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
            store.write(folder / built.name(kind, position, variant), content)
        variants.append(variant)
        manifests[platform] = body
    index = oci.index(manifests, named)
    if len(variants) > 1:
        store.write(folder / "index.json", index)
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
        key=key,
        limits=limits,
    )
