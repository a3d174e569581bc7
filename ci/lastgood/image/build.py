"""One commit made into one image: layers, configuration, digest. No engine, no root, and after the fetches no network.

This is the door: it knows whether anything is to be done at all. The doing is in assemble.py, and for a Dockerfile of the project's own
in own.py; neither is imported for a build that is there already.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from lastgood import bundle
from lastgood.cache import prune, store
from lastgood.config.project import LOCKS, Project
from lastgood.errors import Refused, UsageError
from lastgood.image import built, commit, oci, source
from lastgood.image.built import Image as Image
from lastgood.image.built import Variant as Variant
from lastgood.image.built import last as last
from lastgood.python import required

_CODE = ("cache", "config", "debian", "image", "lock", "python", "platform.py")


def build(project: Project, *, allow_dirty: bool = False) -> Image:
    """Builds the project's commit and makes it the newest build of this machine.

    Raises UsageError or Refused; then the previous build is still the newest one, and no half image is left.
    """
    made_from = commit.read(project.root, allow_dirty=allow_dirty)
    with store.using(store.cache()):
        key = whole_key(project, made_from)
        found = built.again(project.state, made_from.build, key)
        if found:
            return found
        image = _make(project, built.Order(project.name, made_from, key, project.state))
        built.keep(project.state, image)
        prune.register(store.cache(), built.file(project.state))
    prune.automatic(store.cache())
    return image


def _make(project: Project, order: built.Order) -> Image:
    if project.image.dockerfile:
        from lastgood.image import own
        from lastgood.image.application import Application

        return own.build(project.root, project.image, Application.of(project), order)
    said = required.refusal(project.root / "pyproject.toml")
    if said:
        raise Refused(said)
    from lastgood.image import assemble
    from lastgood.image.materials import Materials

    return assemble.build(Materials.of(project), order)


def whole_key(project: Project, made_from: commit.Commit) -> str:
    """A sha256 of all that a build is made from: commit, settings, locks, this bundle, and what the files look like from outside.

    The commit names the files' content; their times catch what git does not report (a large file that is fetched later, say).
    """
    seen = hashlib.sha256()
    settings = [project.name, str(project.app), project.settings, project.image.as_dict(), asdict(made_from)]
    seen.update(json.dumps(settings, default=str, sort_keys=True).encode())
    package = Path(__file__).resolve().parents[1]
    files = [project.root / name for name in (*LOCKS, project.lock.file)]
    for folder in (bundle.path("docker"), *(package / name for name in _CODE)):
        files += sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    for file in files:
        if file.suffix != ".pyc" and file.is_file():
            seen.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    whole = project.image.dockerfile or project.image.before_static
    seen.update(source.signature(project.root if whole else project.app).encode())
    return seen.hexdigest()


def load(image: Image, tag: str) -> str:
    """Loads the image into the Docker engine through its SDK, of several platforms this machine's, under that tag, which is returned.

    The engine gets the layers unpacked, so every version takes them, whatever their compression is.
    """
    import docker.client
    from docker.errors import DockerException

    from lastgood import platform

    here = platform.native().name
    variant = next((one for one in image.variants if one.platform == here), None)
    if variant is None:
        names = ", ".join(one.platform for one in image.variants)
        raise UsageError(
            f"build {image.build} is for {names} and this machine is {here}: add it to platforms in [tool.lastgood.image]"
        )
    archive = image.folder / "image.tar"
    with store.using(store.cache()), store.room(image.folder):
        oci.archive(archive, image.document("config", variant), variant.layers, tag)
    try:
        with contextlib.closing(docker.client.from_env()) as engine, archive.open("rb") as file:
            engine.images.load(file)
    except DockerException as error:
        raise UsageError(f"the Docker engine did not load {tag}: {error}; see `lastgood doctor`") from None
    finally:
        archive.unlink()
    return tag
