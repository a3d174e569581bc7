"""A Dockerfile of the project's own: built by the engine, then made into a build as every other, so that all that follows is the same.

The engine's layers are kept by their content; the migrator and the manifest, made by the image's own Python without a network, are added
as one more. So that the release task can start the migrator in any image, its Python becomes the entry point, which starts what was the
entry point before. LIMITS says what such a build cannot promise.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lastgood import platform, tar
from lastgood.cache import store
from lastgood.config.project import ImageSettings
from lastgood.errors import UsageError
from lastgood.image import assemble, built, dockerfile, layers, source
from lastgood.image import engine as builder
from lastgood.image.application import Application
from lastgood.image.built import Image, Order
from lastgood.image.commit import Commit
from lastgood.image.layers import Layer
from lastgood.report.terminal import megabytes, step
from lastgood.report.text import line

LIMITS = (
    "the same commit need not give the same digest: base images move, and steps may fetch from the network",
    "dependencies are what the Dockerfile installs, not what requirements.txt locks",
    "size, a shell, a package manager, missing libraries and root's files are the Dockerfile's affair: the scan still reports them",
    "tasks run it as user 65532 with a read-only root file system, whatever USER it names",
)
_MANIFEST = "opt/lastgood/manifest.json"
_EXEC = "opt/lastgood/exec.py"
_STARTER = b"import os\nimport sys\n\nos.execvp(sys.argv[1], sys.argv[1:])\n"
_ASK = (
    "import os, site, sys, importlib.util as u; "
    "print(sys.executable if u.find_spec('django') else '-'); "
    "print(os.path.realpath(site.getsitepackages()[0])); sys.argv = ['migrator', *sys.argv[1:]]; "
    "import runpy; sys.stdout.flush(); u.find_spec('django') and runpy.run_module('migrator', run_name='__main__')"
)


@dataclass(frozen=True)
class Saved:
    """What the engine built: its configuration, and its layers in the cache, lowest first."""

    configuration: Mapping[str, Any]
    layers: tuple[Layer, ...]


def build(root: Path, image: ImageSettings, application: Application, order: Order) -> Image:
    """The image of the own Dockerfile of the project at `root`.

    Raises UsageError where there is no engine, a step fails, or no Django is in it.
    """
    file = root / str(image.dockerfile)
    here = platform.native()
    if image.platforms != (here.name,):
        raise UsageError(
            f"{file.name} is built by this machine's engine, so for {here.name} alone, not for {', '.join(image.platforms)}: set "
            f'platforms = ["{here.name}"] in [tool.lastgood.image], or leave dockerfile out'
        )
    if not file.is_file():
        raise UsageError(f"{file} does not exist: [tool.lastgood.image] dockerfile names it")
    with store.workspace(store.cache() / "work", f"{order.title}-") as work, builder.connected(file) as engine:
        tag = f"lastgood-build/{order.title}:latest"  # stays in the engine: its layers are what the next build begins from
        with step(f"{file.name} by the engine"):
            source.copy(root, work / "context")
            before = _identity(engine, tag)
            builder.build(engine, work / "context", str(image.dockerfile), tag, order.commit.created)
            if before and before != _identity(engine, tag):
                with contextlib.suppress(Exception):  # a container may still use it
                    engine.images.remove(before)
        with step("layers") as shown:
            saved = _saved(engine, tag, work, image.compression)
            shown.note(megabytes(sum(layer.compressed for layer in saved.layers)))
        with step("manifest"):
            name = str(image.dockerfile)
            environment = _environment(name, application.settings, saved.configuration)
            variables = environment | dict(application.variables)
            python, packages, manifest = _manifest(engine, name, application, order.commit, tag, variables, work)
        with step("application"):
            added = _migrator(work, packages, manifest, image.compression)
    return _image(file, order, saved, environment, added, manifest, python)


def _identity(engine: Any, tag: str) -> str:
    found = engine.api.images(tag)
    return str(found[0]["Id"]) if found else ""


def _saved(engine: Any, tag: str, work: Path, method: str) -> Saved:
    archive = work / "saved.tar"
    with archive.open("wb") as file:
        for part in engine.images.get(tag).save(chunk_size=1 << 20):
            file.write(part)
    with tarfile.open(archive) as opened:
        listed = json.loads(_read(opened, "manifest.json"))[0]
        configuration = json.loads(_read(opened, listed["Config"]))
        found: list[Layer] = []
        for diff_id, name in zip(configuration["rootfs"]["diff_ids"], listed["Layers"], strict=True):
            found.append(_layer(opened, name, diff_id, method, len(found)))
    archive.unlink()
    return Saved(configuration, tuple(found))


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    opened = archive.extractfile(name)
    if opened is None:
        raise UsageError(f"the engine saved an image without {name}: update the engine, then build again")
    return opened.read()


def _layer(archive: tarfile.TarFile, name: str, diff_id: str, method: str, number: int) -> Layer:
    """The engine's layer as the cache has it: its files are as the engine made them, only its compression is ours."""
    target = store.cache() / "layers" / f"own-{diff_id[7:31]}-{method}"

    def make(folder: Path) -> None:
        body = _read(archive, name)
        if body[:2] == b"\x1f\x8b":  # engines that keep layers compressed save them so
            import gzip

            body = gzip.decompress(body)
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != diff_id:
            raise UsageError(f"the engine saved a layer that is not {diff_id}: build again")
        (folder / "layer.tar").write_bytes(body)
        sealed = layers.seal("own", folder / "layer.tar", method, once=False)
        (folder / "layer.json").write_text(json.dumps(sealed.as_dict()), encoding="utf-8")

    folder = store.entry(target, make)
    found = layers.moved(Layer.of(json.loads((folder / "layer.json").read_bytes())), folder)
    return replace(found, name=f"own-{number}")


def _tree(tree: Path, packages: str) -> Path:
    """What is ours in the image whose Python finds its packages in the folder `packages`, written as `tree`."""
    assemble.ours(tree, packages)
    (tree / _EXEC).write_bytes(_STARTER)
    return tree


def _environment(file: str, settings: str, configuration: Mapping[str, Any]) -> dict[str, str]:
    """The image's variables, and ours. Raises UsageError where it names other settings than the project."""
    given = dict(entry.split("=", 1) for entry in configuration.get("config", {}).get("Env") or [])
    own = given.get("DJANGO_SETTINGS_MODULE", settings)
    if own != settings:
        raise UsageError(
            f"{file} sets DJANGO_SETTINGS_MODULE to {own}, and [tool.lastgood] settings is {settings}: make them one"
        )
    paths = [path for path in (given.get("PYTHONPATH"), "/opt/lastgood") if path]
    ours = {"PYTHONPATH": ":".join(paths), "DJANGO_SETTINGS_MODULE": settings, "LASTGOOD_MANIFEST": f"/{_MANIFEST}"}
    return given | ours


def _manifest(
    engine: Any,
    file: str,
    application: Application,
    made_from: Commit,
    tag: str,
    environment: Mapping[str, str],
    work: Path,
) -> tuple[str, str, bytes]:
    """The image's Python, the folder of its packages, and the manifest that it made of the project in the image, with these variables."""
    added = io.BytesIO()
    tar.write([(_tree(work / "asking", "opt/lastgood"), "")], work / "added.tar")
    added.write((work / "added.tar").read_bytes())
    arguments = ["-B", "-c", _ASK, "manifest", "--build", made_from.build, "--commit", made_from.sha]
    status, output, errors = _run(engine, tag, arguments, environment, added.getvalue(), file)
    python, packages, text = [*output.decode(errors="replace").split("\n", 2), "", ""][:3]
    if python == "-":
        raise UsageError(f"the Python of {file} has no Django: install the requirements where its python3 finds them")
    if status or not text.strip():
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()] or ["it said nothing"]
        raise UsageError(
            f"making the manifest failed in the image of {file} with {application.settings}: {lines[-1]}; mend it, or "
            "set what it needs while building in [tool.lastgood.image.environment]"
        )
    return python, _packages(packages, file), text[text.index("{") :].encode()


def _packages(said: str, file: str) -> str:
    """The folder of the image's packages below its root. Raises UsageError where it said another thing."""
    path = PurePosixPath(said)
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 3:
        raise UsageError(
            f"the Python of {file} finds its packages in {line(said[:200])!r}, which is no folder of an image"
        )
    return path.relative_to("/").as_posix()


def _run(
    engine: Any, tag: str, arguments: list[str], environment: Mapping[str, str], added: bytes, file: str
) -> tuple[int, bytes, bytes]:
    """Runs the image's own Python in a container without a network, with the files of the tar `added` in it."""
    from docker.errors import APIError

    for python in ("python3", "python"):
        container = engine.containers.create(
            tag, arguments, entrypoint=[python], environment=dict(environment), network_mode="none",
            labels={"lastgood.build": "1"},
        )  # fmt: skip
        try:
            container.put_archive("/", added)
            container.start()
            status = int(container.wait(timeout=600)["StatusCode"])
            return status, container.logs(stderr=False), container.logs(stdout=False)
        except APIError as error:
            if "executable file not found" not in str(error) and "no such file" not in str(error):
                raise
        finally:
            container.remove(force=True, v=True)
    raise UsageError(
        f"the image of {file} has no python3 on its PATH: the migrator runs in it; install Python in the last stage"
    )


def _migrator(work: Path, packages: str, manifest: bytes, method: str) -> Layer:
    tree = _tree(work / "added", packages)
    (tree / _MANIFEST).write_bytes(manifest)
    seen = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            seen.update(path.relative_to(tree).as_posix().encode() + b"\0" + path.read_bytes())
    return layers.kept("application", seen.hexdigest(), method, lambda: [(tree, "")], once=False)


def _image(
    file: Path, order: Order, saved: Saved, environment: Mapping[str, str], added: Layer, manifest: bytes, python: str
) -> Image:
    given = {name: value for name, value in saved.configuration.get("config", {}).items() if value}
    names = ("User", "ExposedPorts", "Volumes", "WorkingDir", "StopSignal", "Labels", "Entrypoint", "Cmd")
    settings = {name: given[name] for name in names if name in given}
    # service.yml mounts /tmp, and Fargate makes what is mounted there root's alone, mode 0755, unless the image declares it.
    settings["Volumes"] = {"/tmp": {}, **settings.get("Volumes", {})}  # noqa: S108
    settings |= entry_point(python, settings.get("Entrypoint") or [], settings.get("Cmd") or [])
    settings["Env"] = [f"{name}={value}" for name, value in environment.items()]
    parts = [*saved.layers, added]
    described = dockerfile.Description(tuple(layer.name for layer in parts), settings, str(file))
    before = saved.configuration.get("history") or []
    if sum(not entry.get("empty_layer") for entry in before) != len(saved.layers):
        before = []
    return built.write(order, {platform.native().name: parts}, manifest, described, LIMITS, before)


def entry_point(python: str, entry: list[str], command: list[str]) -> dict[str, list[str]]:
    """Entrypoint and Cmd by which `-m migrator …` instead of Cmd starts the migrator, and without it what was meant before."""
    if len(entry) == 1 and re.fullmatch(r"(.*/)?python(3(\.\d+)?)?", entry[0]):
        return {"Entrypoint": [python], "Cmd": command}
    return {"Entrypoint": [python], "Cmd": [f"/{_EXEC}", *entry, *command]}
