"""Assembles an image from prepared layers as the bundle's Dockerfile describes it, for each platform."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lastgood import bundle
from lastgood.cache import store
from lastgood.image import advice, before, built, commit, dockerfile, excluded, layers, oci, owners, source, trace
from lastgood.image.built import Image, Order
from lastgood.image.layers import Layer
from lastgood.image.materials import Materials
from lastgood.platform import ALL, native
from lastgood.python import pycache
from lastgood.python.interpreter import DIST_PACKAGES, Python
from lastgood.report.terminal import counted, megabytes, say, step
from lastgood.report.text import readable

LEFT_OUT = "left-out.json"  # in a build's folder
OURS = ("migrator", "lastgood_inside")  # packages of ours in every image, below _PLACE
START = "lastgood.pth"  # among the image's packages: what Python runs when it starts
_PLACE = "opt/lastgood"


def build(materials: Materials, order: Order) -> Image:
    """The image of that order. Nothing is half there after an error."""
    platforms = [ALL[name] for name in materials.image.platforms]
    # As many threads as layers to compress: they wait for one another only for a core, and the first error ends all.
    with ThreadPoolExecutor(2 * len(platforms)) as pool:
        waiting: dict[str, list[Future[Layer]]] = {platform.name: [] for platform in platforms}
        for platform in platforms:
            named = f" {platform.name}" if len(platforms) > 1 else ""
            with step(f"base{named}"):
                root, key = materials.runtime.root(platform), materials.runtime.key(platform)
                waiting[platform.name].append(pool.submit(_layer, materials, "base", key, root))
            with step(f"dependencies{named}"):
                tree, key = materials.dependencies.tree(platform), materials.dependencies.key(platform)
                waiting[platform.name].append(pool.submit(_layer, materials, "dependencies", key, tree))
        with store.workspace(store.cache() / "work", f"{order.title}-") as work:
            shared, manifest, found = _application(materials, order, work)
        with step("compress") as shown:
            parts = {name: [future.result() for future in futures] + shared for name, futures in waiting.items()}
            shown.note(megabytes(sum(layer.compressed for layer in next(iter(parts.values())))))
    described = dockerfile.read(bundle.path("docker/Dockerfile"), {"SETTINGS": materials.application.settings})
    left_out = {name: materials.dependencies.left_out(ALL[name]) for name in parts}
    ignored = [name for name in commit.ignored(materials.application.folder) if not _within(name, found.files)]
    body = json.dumps({"dependencies": left_out, "application": ignored, "excluded": found.left}, indent=1)
    store.write(order.state / "builds" / order.commit.build / LEFT_OUT, body.encode())
    said = notes(next(iter(left_out.values())), ignored, found.made)
    limits = (materials.runtime.contained.doubt, before.LIMIT if materials.before.commands else "")
    return built.write(
        order,
        parts,
        manifest,
        described,
        tuple(filter(None, limits)),
        notes=(*materials.dependencies.unimportable(), *said),
    )


def notes(left_out: Mapping[str, Sequence[str]], ignored: Sequence[str], made: Sequence[str]) -> list[str]:
    """What a person should know of files that are in the image or not: `left_out` of the dependencies by step, `ignored` by git, `made`."""
    said = []
    if made:
        said.append(f"compiled {counted(len(made), 'translation')} that git has no .mo of: {_some(made)}")
    if ignored:
        said.append(f"left out of the application, as git ignores it: {_some(ignored)}")
    if left_out:
        kinds = ", ".join(f"{step} ({len(names):,})" for step, names in left_out.items())
        said.append(f"left out of the dependencies: {kinds}; {LEFT_OUT} beside the build names every file")
    return said


def _within(name: str, files: Collection[str]) -> bool:
    """Whether the file, or something of the folder (`name` ends in a slash), is among `files`: it was made, if git ignores it."""
    return name in files or (name.endswith("/") and any(one.startswith(name) for one in files))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(readable, names[:3])) + more


def _layer(materials: Materials, name: str, key: str, tree: Path) -> Layer:
    """The layer of a tree of that key, with the file beside the tree that says whose its paths are."""
    sealed = layers.kept(name, key, materials.image.compression, lambda: [(tree, "")])
    owned = tree.parent / owners.NAME
    return replace(sealed, owners=owned if owned.is_file() else None)


def _application(materials: Materials, order: Order, work: Path) -> tuple[list[Layer], bytes, source.Source]:
    """The layers that all platforms share, the manifest, and what the application is made of: migrator, static files, application.

    What runs, runs on this machine's own platform, whether or not the image is for it.
    """
    here, method, stage = native(), materials.image.compression, work / "stage"
    runtime, installed = materials.runtime, materials.installed
    python, python_key = runtime.python(), runtime.key(here)
    image = materials.image
    found = source.copy(materials.application.folder, stage / "app", source.leaving(image.exclude, image.keep))
    if found.left:
        say(f"· {excluded.told(found.left)} (keep in [tool.lastgood.image] brings back what it needs)")
    if materials.before.commands:
        with step("before static files") as shown:
            dependencies = f"{installed.key(here)} {python_key}"
            extra = materials.before.made(materials.application, python, installed.tree(here), dependencies)
            found = before.add(extra, stage / "app", found)
            shown.note(counted(len(extra), "file"))
    with step("static files and manifest") as shown:
        migrator, migrator_key = _migrator(work, python, python_key, method)
        made = trace.make(
            trace.Work(
                replace(materials.application, folder=stage / "app"),
                found.files,
                runtime.contained,
                installed.tree(here),
                f"{installed.key(here)} {python_key}",
                migrator_key,
            )
        )
        tree = store.cache() / "static" / made.static / "tree"
        static = layers.kept("static", f"{made.static}", method, lambda: [(tree, made.place)])
        shown.note(megabytes(static.compressed))
    for one in advice.check(_facts(materials, made, found, stage / "app", tree)):
        say(f"· {one}")
    with step("application") as shown:
        manifest = trace.manifest(made, order.commit.build, order.commit.sha)
        (stage / _PLACE).mkdir(parents=True)
        (stage / _PLACE / "manifest.json").write_bytes(manifest)
        modules = {f"app/{name}": body for name, body in found.modules.items()}
        key = hashlib.sha256(f"{found.digest}\0{python_key}\0{oci.digest(manifest)}".encode()).hexdigest()

        def trees() -> list[tuple[Path, str]]:
            pycache.add(stage, modules, python, python_key)
            return [(stage, "")]

        application = layers.kept("application", key, method, trees, once=False)
        shown.note(megabytes(application.compressed))
    return [migrator, static, application], manifest, found


def _facts(materials: Materials, made: trace.Made, found: source.Source, folder: Path, static: Path) -> advice.Facts:
    return advice.Facts(
        folder=folder,
        files=found.files,
        settings=materials.application.settings,
        said=made.said,
        variables=materials.application.variables,
        static={path.relative_to(static).as_posix() for path in static.rglob("*") if path.is_file()},
        packages={path.name.partition(".")[0] for path in materials.installed.packages().iterdir()},
    )


def _migrator(work: Path, python: Python, python_key: str, method: str) -> tuple[Layer, str]:
    """Its layer changes with the bundle and with the base's Python, not with the project."""
    seen = hashlib.sha256(python_key.encode())
    for name in OURS:
        folder = bundle.path(f"docker/{name}")
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            seen.update(path.relative_to(folder.parent).as_posix().encode() + b"\0" + path.read_bytes())
    key = seen.hexdigest()

    def trees() -> list[tuple[Path, str]]:
        tree = work / "migrator"
        pycache.add(tree, ours(tree, DIST_PACKAGES), python, python_key)
        return [(tree, "")]

    return layers.kept("migrator", key, method, trees), key


def ours(tree: Path, packages: str) -> dict[str, bytes]:
    """Puts our packages into `tree`, and what starts them among the image's own, whose folder is `packages`; returns their modules."""
    modules: dict[str, bytes] = {}
    for name in OURS:
        found = source.package(bundle.path(f"docker/{name}"), tree / _PLACE / name)
        modules |= {f"{_PLACE}/{name}/{path}": body for path, body in found.items()}
    (tree / packages).mkdir(parents=True, exist_ok=True)
    (tree / _PLACE / "lastgood_inside" / START).replace(tree / packages / START)
    return modules
