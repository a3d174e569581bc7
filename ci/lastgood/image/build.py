"""One commit made into one image: layers, configuration, digest. No engine, no root, and after the fetches no network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lastgood import bundle
from lastgood.errors import UsageError
from lastgood.image import base, commit, dependencies, dockerfile, layers, oci, platform, python, store
from lastgood.image.layers import Layer
from lastgood.project import Project, cache
from lastgood.report.terminal import megabytes, step

# Runs inside the image's own Python with the project on its path: what ends up in STATIC_ROOT, and where that is.
_COLLECT = """
import json, os, django
from pathlib import Path
from django.conf import settings
django.setup()
from django.apps import apps
target = os.path.abspath(settings.STATIC_ROOT) if settings.STATIC_ROOT else ""
if apps.is_installed("django.contrib.staticfiles") and target and Path(target).is_relative_to(Path.cwd().parent):
    from django.core.management import call_command
    call_command("collectstatic", interactive=False, verbosity=0)
print(json.dumps(target))
"""


@dataclass(frozen=True)
class Image:
    """A finished build. Sizes are in bytes; `digest` names it everywhere, `image_id` is what an engine calls its configuration."""

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

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return asdict(self) | {"folder": str(self.folder), "layers": [_plain(layer) for layer in self.layers]}


def _plain(layer: Layer) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(layer).items()}


def last(project: Project) -> Image:
    """The newest build of this project on this machine. Raises UsageError when there is none (or its files were removed)."""
    file = project.state / "build.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        found = tuple(
            Layer(**entry | {"tar": Path(entry["tar"]), "blob": Path(entry["blob"])}) for entry in data.pop("layers")
        )
        image = Image(**data | {"layers": found, "folder": Path(data["folder"])})
    except FileNotFoundError:
        raise UsageError(f"nothing was built here yet ({file} does not exist): run `lastgood build`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} can't be read ({error}): run `lastgood build` again") from None
    for layer in image.layers:
        if not layer.blob.is_file() or layer.blob.stat().st_size != layer.compressed:
            raise UsageError(
                f"the layer {layer.name} of build {image.build} is no longer in the cache: run `lastgood build` again"
            )
    return image


def build(project: Project, *, allow_dirty: bool = False) -> Image:
    """Builds the project's commit and makes it the newest build of this machine.

    Raises UsageError or Refused; then the previous build is still the newest one, and no half image is left.
    """
    made_from = commit.read(project.root, allow_dirty=allow_dirty)
    with step("base") as shown:
        here = platform.native()
        root = base.runtime(project, here)
        parts = [_layer("base", base.runtime_key(project, here), [(root, "")])]
        shown.note(megabytes(parts[0].compressed))
    with step("dependencies") as shown:
        parts.append(
            _layer("dependencies", dependencies.key(project, here), [(dependencies.prepare(project, here), "")])
        )
        tree = dependencies.whole(project)
        shown.note(megabytes(parts[1].compressed))
    with store.workspace(cache() / "work", f"{project.name}-") as work:
        # Settings may write when they are imported, and static files may go below the app: the layer is of a copy in which nothing ran.
        source = _source(project, work / "stage/app")
        shutil.copytree(work / "stage/app", work / "app")
        with step("static files") as shown:
            parts.append(_static(project, work, root, tree, source))
            shown.note(megabytes(parts[2].compressed))
        with step("application") as shown:
            manifest = _manifest(project, work, root, tree, made_from)
            parts.append(_application(work, root, manifest))
            shown.note(megabytes(parts[3].compressed))
    return _assemble(project, made_from, parts, hashlib.sha256(manifest).hexdigest())


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _layer(name: str, key: str, trees: list[tuple[Path, str]]) -> Layer:
    """The layer of that key, written unless the cache has it: its facts are written last, so they prove that it is whole."""
    tar = _folder(cache() / "layers") / f"{name}-{key[:24]}.tar"
    facts = tar.with_suffix(".json")
    if facts.is_file():
        data = json.loads(facts.read_text(encoding="utf-8"))
        return Layer(**data | {"tar": tar, "blob": tar.with_suffix(".tar.gz")})
    layers.write(trees, tar)
    sealed = layers.seal(name, tar)
    _write(facts, json.dumps(_plain(sealed)))
    return sealed


def _write(file: Path, text: str) -> None:
    with store.replacing(file) as part:
        part.write_text(text, encoding="utf-8")


def _source(project: Project, target: Path) -> str:
    """Copies what git knows of the app folder to `target`; returns a sha256 of names, modes and contents."""
    seen = hashlib.sha256()
    for name in commit.files(project.app):
        origin = project.app / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin, target / name)
        seen.update(
            f"{name}\0{origin.stat().st_mode & 0o100}\0".encode() + hashlib.sha256(origin.read_bytes()).digest()
        )
    return seen.hexdigest()


def _environment(project: Project, work: Path, tree: Path) -> dict[str, str]:
    migrator = bundle.path("docker/migrator").parent
    paths = [work / "app", migrator, tree / python.DIST_PACKAGES]
    return {
        "PYTHONPATH": ":".join(str(path) for path in paths),
        "DJANGO_SETTINGS_MODULE": project.settings,
        **project.image.environment,
    }


def _run(project: Project, work: Path, root: Path, tree: Path, arguments: list[str], what: str) -> str:
    program = python.wrapper(root, root.parent / "bin")
    done = python.run(program, arguments, environment=_environment(project, work, tree), cwd=work / "app")
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).strip().splitlines() if line.strip()]
        cause = (lines or ["it said nothing"])[-1].replace(f"{work}/", "")
        raise UsageError(
            f"{what} failed in the image's Python with {project.settings}: {cause}; mend it, or set what it needs while building in "
            "[tool.lastgood.image.environment]"
        )
    return done.stdout


def _static(project: Project, work: Path, root: Path, tree: Path, source: str) -> Layer:
    values = json.dumps(
        [
            source,
            dependencies.key(project, platform.native()),
            sorted(project.image.environment.items()),
            project.settings,
        ]
    )
    key = hashlib.sha256(values.encode()).hexdigest()
    if (cache() / "layers" / f"static-{key[:24]}.json").is_file():
        return _layer("static", key, [])
    output = _run(project, work, root, tree, ["-c", _COLLECT], "collecting static files")
    target = Path(json.loads(output.splitlines()[-1]) or work / "static")
    if not target.is_relative_to(work):
        raise UsageError(
            f"STATIC_ROOT is {target}, outside the project: derive it from BASE_DIR (as BASE_DIR.parent / 'static'), so that it "
            "is the same place in the image"
        )
    target.mkdir(parents=True, exist_ok=True)
    return _layer("static", key, [(target, target.relative_to(work).as_posix())])


def _manifest(project: Project, work: Path, root: Path, tree: Path, made_from: commit.Commit) -> bytes:
    output = _run(
        project,
        work,
        root,
        tree,
        ["-m", "migrator", "manifest", "--build", made_from.build, "--commit", made_from.sha],
        "making the manifest",
    )
    return output.encode()


def _application(work: Path, root: Path, manifest: bytes) -> Layer:
    stage = work / "stage"
    shutil.copytree(
        bundle.path("docker/migrator"),
        stage / "opt/lastgood/migrator",
        ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
    )
    (stage / "opt/lastgood/manifest.json").write_bytes(manifest)
    base.compile_tree(stage, ["app", "opt/lastgood/migrator"], root)
    tar = work / "application.tar"
    layers.write([(stage, "")], tar)
    key = hashlib.sha256(tar.read_bytes()).hexdigest()
    kept = _folder(cache() / "layers") / f"application-{key[:24]}.tar"
    if not kept.is_file():
        with store.replacing(kept) as part:
            shutil.move(tar, part)
    return layers.seal("application", kept)


def _labels(project: Project, made_from: commit.Commit) -> dict[str, str]:
    """The labels of https://github.com/opencontainers/image-spec/blob/main/annotations.md that a build can know."""
    labels = {
        "org.opencontainers.image.title": project.name,
        "org.opencontainers.image.created": made_from.created,
        "org.opencontainers.image.revision": made_from.sha,
        "org.opencontainers.image.version": made_from.version,
    }
    return labels | ({"org.opencontainers.image.source": made_from.source} if made_from.source else {})


def _described(project: Project, parts: list[Layer]) -> tuple[Mapping[str, Any], list[Layer]]:
    file = project.root / project.image.dockerfile if project.image.dockerfile else bundle.path("docker/Dockerfile")
    described = dockerfile.read(file, {"SETTINGS": project.settings})
    known = {layer.name: layer for layer in parts}
    unknown = [name for name in described.adds if name not in known]
    if unknown:
        raise UsageError(f"{file} ADDs {unknown[0]}.tar, which lastgood does not prepare: it knows {', '.join(known)}")
    return described.config, [known[name] for name in described.adds]


def _assemble(project: Project, made_from: commit.Commit, parts: list[Layer], manifest_sha: str) -> Image:
    settings, ordered = _described(project, parts)
    labels = _labels(project, made_from) | {
        "lastgood.build": made_from.build,
        "lastgood.manifest": f"sha256:{manifest_sha}",
    }
    settings = dict(settings) | {"Labels": dict(settings.get("Labels", {})) | labels}
    configuration = oci.config(settings, ordered, made_from.created)
    body = oci.manifest(configuration, ordered, labels)
    image = Image(
        build=made_from.build,
        commit=made_from.sha,
        version=made_from.version,
        created=made_from.created,
        digest=oci.digest(body),
        image_id=oci.digest(configuration),
        manifest_sha=manifest_sha,
        size=sum(layer.compressed for layer in ordered) + len(configuration),
        unpacked=sum(layer.size for layer in ordered),
        layers=tuple(ordered),
        folder=project.state / "builds" / made_from.build,
    )
    # Its facts are written last: only then is it a build.
    for name, content in (("config.json", configuration), ("manifest.json", body)):
        _write(_folder(image.folder) / name, content.decode())
    _write(project.state / "build.json", json.dumps(image.as_dict(), indent=2))
    return image


def load(project: Project, image: Image) -> str:
    """Loads the image into the Docker engine through its SDK; returns the tag."""
    import docker.client
    from docker.errors import DockerException

    tag = f"{project.name}:{image.build}"
    archive = image.folder / "image.tar"
    oci.archive(archive, (image.folder / "config.json").read_bytes(), image.layers, tag)
    try:
        with contextlib.closing(docker.client.from_env()) as engine, archive.open("rb") as file:
            engine.images.load(file)
    except DockerException as error:
        raise UsageError(f"the Docker engine did not load {tag}: {error}; see `lastgood doctor`") from None
    finally:
        archive.unlink()
    return tag
