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
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lastgood import bundle, platform
from lastgood.cache import store
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image import assemble, dockerfile, layers, source
from lastgood.image.built import Image
from lastgood.image.commit import Commit
from lastgood.image.layers import Layer
from lastgood.report.terminal import megabytes, say, step

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
    "import sys, importlib.util as u; "
    "print(sys.executable if u.find_spec('django') else '-'); sys.argv = ['migrator', *sys.argv[1:]]; "
    "import runpy; sys.stdout.flush(); u.find_spec('django') and runpy.run_module('migrator', run_name='__main__')"
)


@dataclass(frozen=True)
class Saved:
    """What the engine built: its configuration, and its layers in the cache, lowest first."""

    configuration: Mapping[str, Any]
    layers: tuple[Layer, ...]


def build(project: Project, made_from: Commit, key: str) -> Image:
    """The image of the project's own Dockerfile. Raises UsageError where there is no engine, a step fails, or no Django is in it."""
    file = project.root / str(project.image.dockerfile)
    here = platform.native()
    if project.image.platforms != (here.name,):
        raise UsageError(
            f"{file.name} is built by this machine's engine, so for {here.name} alone, not for {', '.join(project.image.platforms)}: set "
            f'platforms = ["{here.name}"] in [tool.lastgood.image], or leave dockerfile out'
        )
    if not file.is_file():
        raise UsageError(f"{file} does not exist: [tool.lastgood.image] dockerfile names it")
    with store.workspace(store.cache() / "work", f"{project.name}-") as work, _engine(file) as engine:
        tag = f"lastgood-build/{project.name}:latest"  # stays in the engine: its layers are what the next build begins from
        with step(f"{file.name} by the engine"):
            source.copy(project.root, work / "context")
            before = _identity(engine, tag)
            _built(engine, project, work / "context", tag, made_from)
            if before and before != _identity(engine, tag):
                with contextlib.suppress(Exception):  # a container may still use it
                    engine.images.remove(before)
        with step("layers") as shown:
            saved = _saved(engine, tag, work, project.image.compression)
            shown.note(megabytes(sum(layer.compressed for layer in saved.layers)))
        with step("manifest"):
            python, manifest = _manifest(engine, project, made_from, tag, saved.configuration, work)
        with step("application"):
            application = _migrator(work, manifest, project.image.compression)
    return _image(project, made_from, key, saved, application, manifest, python)


@contextlib.contextmanager
def _engine(file: Path) -> Iterator[Any]:
    import docker.client
    from docker.errors import DockerException

    try:
        with contextlib.closing(docker.client.from_env(timeout=600)) as engine:
            engine.ping()
            yield engine
    except DockerException as error:
        said = str(error).strip().splitlines()[0][:200]
        raise UsageError(
            f"no Docker engine does what is needed ({said}): {file.name} is built by one; start it (`lastgood doctor`), or leave "
            "dockerfile out of [tool.lastgood.image]"
        ) from None


def _identity(engine: Any, tag: str) -> str:
    found = engine.images.list(tag)
    return str(found[0].id) if found else ""


def _built(engine: Any, project: Project, context: Path, tag: str, made_from: Commit) -> None:
    file = str(project.image.dockerfile)
    if not (context / file).is_file():
        raise UsageError(f"{file} is not known to git: add it, then build")
    found = shutil.which("docker")
    if found and not subprocess.run([found, "buildx", "version"], capture_output=True, check=False).returncode:
        _by_buildkit(found, context, file, tag, made_from)
    else:
        _by_classic(engine, context, file, tag)


def _by_buildkit(docker: str, context: Path, file: str, tag: str, made_from: Commit) -> None:
    epoch = int(datetime.fromisoformat(made_from.created).timestamp())
    command = [
        docker,
        "buildx",
        "build",
        "--load",
        "--progress=plain",
        "--provenance=false",
    ]
    done = subprocess.run(
        [*command, f"--tag={tag}", f"--file={context / file}", str(context)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)},
    )
    if done.returncode:
        for line in done.stderr.splitlines()[-20:]:
            say(f"  {line}")
        raise UsageError(buildkit_failure(done.stderr, (context / file).read_text(encoding="utf-8"), file))


def buildkit_failure(output: str, text: str, file: str) -> str:
    """One sentence for BuildKit's plain output about the Dockerfile's `text`: the line and the error."""
    step_ = re.search(r"^ > \[[^\]]*\] (.+):$", output, re.MULTILINE)
    cause = re.findall(r"^ERROR: (.+)$", output, re.MULTILINE)
    error = (
        cause[-1].removeprefix("failed to build: ").removeprefix("failed to solve: ") if cause else "it said nothing"
    )
    return failure(error, step_.group(1) if step_ else "", text, file)


def _by_classic(engine: Any, context: Path, file: str, tag: str) -> None:
    current = ""
    said: list[str] = []
    for event in engine.api.build(path=str(context), dockerfile=file, tag=tag, rm=True, forcerm=True, decode=True):
        text = str(event.get("stream", "")).strip()
        if re.match(r"Step \d+/\d+ : ", text):
            current, said = text.partition(" : ")[2], []
        elif text:
            said += text.splitlines()
        if "error" in event:
            for line in said[-20:]:
                say(f"  {line}")
            raise UsageError(failure(str(event["error"]), current, (context / file).read_text(encoding="utf-8"), file))


def failure(error: str, current: str, text: str, file: str) -> str:
    """One sentence for an error in the instruction `current`, as the builder shows it, of the Dockerfile's `text`."""
    start = re.escape(current.split("  ")[0][:60])
    number = next(
        (at for at, line in enumerate(text.splitlines(), start=1) if current and re.match(start, line.strip())), 0
    )
    place = f"{file}:{number}" if number else file
    return f"{place}: {f'`{current}`: ' if current else ''}{error.strip().splitlines()[0]}; mend it and build again"


def _saved(engine: Any, tag: str, work: Path, method: str) -> Saved:
    archive = work / "saved.tar"
    with archive.open("wb") as file:
        for part in engine.images.get(tag).save(chunk_size=1 << 20):
            file.write(part)
    with tarfile.open(archive) as tar:
        listed = json.loads(_read(tar, "manifest.json"))[0]
        configuration = json.loads(_read(tar, listed["Config"]))
        found: list[Layer] = []
        for diff_id, name in zip(configuration["rootfs"]["diff_ids"], listed["Layers"], strict=True):
            found.append(_layer(tar, name, diff_id, method, len(found)))
    archive.unlink()
    return Saved(configuration, tuple(found))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    opened = tar.extractfile(name)
    if opened is None:
        raise UsageError(f"the engine saved an image without {name}: update the engine, then build again")
    return opened.read()


def _layer(tar: tarfile.TarFile, name: str, diff_id: str, method: str, number: int) -> Layer:
    """The engine's layer as the cache has it: its files are as the engine made them, only its compression is ours."""
    target = store.cache() / "layers" / f"own-{diff_id[7:31]}-{method}"

    def make(folder: Path) -> None:
        body = _read(tar, name)
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


def _tree(work: Path) -> Path:
    tree = work / "added"
    if not tree.exists():
        source.migrator(bundle.path("docker/migrator"), tree / assemble.MIGRATOR)
        (tree / _EXEC).write_bytes(_STARTER)
    return tree


def _environment(project: Project, configuration: Mapping[str, Any]) -> dict[str, str]:
    """The image's variables, and ours. Raises UsageError where it names other settings than the project."""
    given = dict(entry.split("=", 1) for entry in configuration.get("config", {}).get("Env") or [])
    settings = given.get("DJANGO_SETTINGS_MODULE", project.settings)
    if settings != project.settings:
        raise UsageError(
            f"{project.image.dockerfile} sets DJANGO_SETTINGS_MODULE to {settings}, and [tool.lastgood] settings is {project.settings}: "
            "make them one"
        )
    paths = [path for path in (given.get("PYTHONPATH"), "/opt/lastgood") if path]
    ours = {"PYTHONPATH": ":".join(paths), "DJANGO_SETTINGS_MODULE": settings, "LASTGOOD_MANIFEST": f"/{_MANIFEST}"}
    return given | ours


def _manifest(
    engine: Any, project: Project, made_from: Commit, tag: str, configuration: Mapping[str, Any], work: Path
) -> tuple[str, bytes]:
    """The path of the image's Python, and the manifest that it made of the project in the image."""
    environment = _environment(project, configuration) | dict(project.image.environment)
    added = io.BytesIO()
    layers.write([(_tree(work), "")], work / "added.tar")
    added.write((work / "added.tar").read_bytes())
    arguments = ["-B", "-c", _ASK, "manifest", "--build", made_from.build, "--commit", made_from.sha]
    status, output, errors = _run(engine, tag, arguments, environment, added.getvalue(), str(project.image.dockerfile))
    python, _, text = output.decode(errors="replace").partition("\n")
    if python == "-":
        raise UsageError(
            f"the Python of {project.image.dockerfile} has no Django: install the requirements where its python3 finds them"
        )
    if status or not text.strip():
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()] or ["it said nothing"]
        raise UsageError(
            f"making the manifest failed in the image of {project.image.dockerfile} with {project.settings}: {lines[-1]}; mend it, or "
            "set what it needs while building in [tool.lastgood.image.environment]"
        )
    return python, text[text.index("{") :].encode()


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


def _migrator(work: Path, manifest: bytes, method: str) -> Layer:
    tree = _tree(work)
    (tree / _MANIFEST).write_bytes(manifest)
    seen = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            seen.update(path.relative_to(tree).as_posix().encode() + b"\0" + path.read_bytes())
    return assemble.kept("application", seen.hexdigest(), method, lambda: [(tree, "")], once=False)


def _image(
    project: Project, made_from: Commit, key: str, saved: Saved, application: Layer, manifest: bytes, python: str
) -> Image:
    given = {name: value for name, value in saved.configuration.get("config", {}).items() if value}
    names = ("User", "ExposedPorts", "Volumes", "WorkingDir", "StopSignal", "Labels", "Entrypoint", "Cmd")
    settings = {name: given[name] for name in names if name in given}
    settings |= entry_point(python, settings.get("Entrypoint") or [], settings.get("Cmd") or [])
    settings["Env"] = [f"{name}={value}" for name, value in _environment(project, saved.configuration).items()]
    parts = [*saved.layers, application]
    described = dockerfile.Description(
        tuple(layer.name for layer in parts), settings, str(project.root / str(project.image.dockerfile))
    )
    before = saved.configuration.get("history") or []
    if sum(not entry.get("empty_layer") for entry in before) != len(saved.layers):
        before = []
    return assemble.assembled(
        project, made_from, key, {platform.native().name: parts}, manifest, described, LIMITS, before
    )


def entry_point(python: str, entry: list[str], command: list[str]) -> dict[str, list[str]]:
    """Entrypoint and Cmd by which `-m migrator …` instead of Cmd starts the migrator, and without it what was meant before."""
    if len(entry) == 1 and re.fullmatch(r"(.*/)?python(3(\.\d+)?)?", entry[0]):
        return {"Entrypoint": [python], "Cmd": command}
    return {"Entrypoint": [python], "Cmd": [f"/{_EXEC}", *entry, *command]}
