"""A Dockerfile of the project's own becomes a build as every other, or one sentence says why not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from lastgood.cache import store
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image import build as builder
from lastgood.image import engine as engine_builder
from lastgood.image import layers, own

import docker

from .test_build import FILES, NAME, MakeProject, commit, make_project

__all__ = ["make_project"]


@pytest.mark.parametrize(
    ("entry", "command", "expected"),
    [
        ([], ["gunicorn", "x"], ["/opt/lastgood/exec.py", "gunicorn", "x"]),
        (["/entry.sh"], ["a"], ["/opt/lastgood/exec.py", "/entry.sh", "a"]),
        (["python3.12"], ["-m", "gunicorn"], ["-m", "gunicorn"]),
        (["/usr/bin/python"], ["-m", "x"], ["-m", "x"]),
        (["python", "manage.py"], ["run"], ["/opt/lastgood/exec.py", "python", "manage.py", "run"]),
    ],
)
def test_the_entry_point_becomes_python(entry: list[str], command: list[str], expected: list[str]) -> None:
    assert own.entry_point("/venv/bin/python", entry, command) == {"Entrypoint": ["/venv/bin/python"], "Cmd": expected}


BUILDKIT = """\
#5 [2/3] RUN false
#5 0.231 something it said
#5 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1
------
 > [2/3] RUN false:
------
Dockerfile:2
--------------------
   1 |     FROM debian
   2 | >>> RUN false
   3 |     CMD x
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1
"""


def test_what_buildkit_says() -> None:
    text = "FROM debian\nRUN false\nCMD x\n"
    assert engine_builder.buildkit_failure(BUILDKIT, text, "Dockerfile") == (
        'Dockerfile:2: `RUN false`: process "/bin/sh -c false" did not complete successfully: exit code: 1; mend it and build again'
    )
    assert (
        engine_builder.buildkit_failure("ERROR: no builder", "", "Dockerfile")
        == "Dockerfile: no builder; mend it and build again"
    )
    assert (
        engine_builder.buildkit_failure("", "", "Dockerfile") == "Dockerfile: it said nothing; mend it and build again"
    )


def test_what_the_classic_builder_says() -> None:
    text = "FROM debian\n\nRUN one && \\\n    two\n"
    assert engine_builder.failure("The command returned 1", "RUN one &&     two", text, "D") == (
        "D:3: `RUN one &&     two`: The command returned 1; mend it and build again"
    )
    mount = "RUN --mount=type=cache,target=/x y"
    lacks = "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images"
    assert engine_builder.failure(lacks, mount, f"FROM x\n{mount}\n", "D") == (
        f"D:2: `{mount}`: the --mount option requires BuildKit, and this machine's docker has none: install its buildx (the package "
        "docker-buildx or docker-buildx-plugin), or write the step without it"
    )
    assert engine_builder.failure("no such image", "", text, "D") == "D: no such image; mend it and build again"


@pytest.fixture
def engine() -> Iterator[Any]:
    """The Docker engine."""
    with contextlib.closing(docker.client.from_env()) as client:
        yield client


@pytest.fixture
def base(make_project: MakeProject, engine: Any) -> Iterator[str]:
    """An image with a Python and Django to begin from: an assembled one, as nothing is to be fetched here."""
    shop = make_project("base")
    image = builder.build(shop)
    tag = builder.load(image, f"lastgood-test:{uuid4().hex[:12]}")
    yield tag
    for name in (f"lastgood-build/{NAME}:latest", tag):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove(name, force=True)
    # What a build that failed has left in the engine inherits the label.
    for left in engine.images.list(filters={"dangling": True, "label": f"lastgood.build={image.build}"}):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove(left.id, force=True)


LINK = 'USER 0\nRUN ["/usr/bin/python3.13", "-c", "import os; os.symlink(\'python3.13\', \'/usr/bin/python3\')"]\n'


def dockerfile(make_project: MakeProject, text: str, name: str = "own", settings: str = "") -> Project:
    """The project with this Dockerfile of its own."""
    toml = FILES["pyproject.toml"] + f'dockerfile = "Dockerfile"\n{settings}'
    return make_project(name, {"pyproject.toml": toml, "Dockerfile": text})


def refusal(shop: Project) -> str:
    """The message; after it there is no build and nothing in the engine."""
    with pytest.raises(UsageError) as caught:
        builder.build(shop)
    assert not (shop.state / "build.json").exists()
    assert not list((store.cache() / "work").glob(f"{NAME}-*"))
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.docker
def test_a_build(make_project: MakeProject, engine: Any, base: str) -> None:
    text = f'FROM {base}\n{LINK}COPY web /app\nENV COLOUR=red\nLABEL a=b\nENTRYPOINT []\nCMD ["/usr/bin/python3", "run.py"]\n'
    shop = dockerfile(make_project, text)
    image = builder.build(shop)
    assert image == builder.last(shop.state) == builder.build(shop)
    assert image.limits == own.LIMITS
    assert [layer.name for layer in image.layers][-1] == "application"
    assert all("zstd" in layer.media_type or "gzip" in layer.media_type for layer in image.layers)
    with layers.unpacked(image.layers[-1]) as unpacked, tarfile.open(fileobj=unpacked) as archive:
        opened = archive.extractfile("opt/lastgood/manifest.json")
        assert opened is not None
        manifest = json.loads(opened.read())
        assert "usr/local/lib/python3.13/dist-packages/lastgood.pth" in archive.getnames()
    assert (manifest["build"], manifest["commit"]) == (image.build, image.commit)
    configuration = json.loads(image.document("config"))
    settings = configuration["config"]
    assert settings["Entrypoint"] == ["/usr/bin/python3"]
    assert settings["Cmd"] == ["/opt/lastgood/exec.py", "/usr/bin/python3", "run.py"]
    assert {"COLOUR=red", "LASTGOOD_MANIFEST=/opt/lastgood/manifest.json"} <= set(settings["Env"])
    assert "PYTHONPATH=/app:/opt/lastgood:/opt/lastgood" in settings["Env"]
    assert "/tmp" in settings["Volumes"]
    assert settings["Labels"]["a"] == "b"
    assert settings["Labels"]["lastgood.manifest"] == f"sha256:{image.manifest_sha}"
    assert len(configuration["rootfs"]["diff_ids"]) == len(image.layers)
    tag = builder.load(image, f"lastgood-test:{uuid4().hex[:12]}")
    try:
        run = {"remove": True, "network_mode": "none", "read_only": True, "labels": {"lastgood.test": "1"}}
        assert engine.containers.run(tag, **run) == b"hello\n"
        loaded = ["-c", "import sys, django.core.wsgi; print(django.core.wsgi.WSGIHandler.__call__.__module__)"]
        assert engine.containers.run(tag, loaded, **run) == b"lastgood_inside.hook\n"
        assert b"usage: python -m migrator" in engine.containers.run(tag, ["-m", "migrator", "--help"], **run)
    finally:
        engine.images.remove(tag, force=True)


REMOVE = 'RUN ["/usr/bin/python3.13", "-c", "import shutil; shutil.rmtree(\'%s\')"]\n'
WRONG = {
    'FROM {base}\nUSER 0\n\nRUN ["/usr/bin/python3.13", "-c", "0/0"]\n': (
        'Dockerfile:4: `RUN ["/usr/bin/python3.13", "-c", "0/0"]`: The command \'/usr/bin/python3.13 -c 0/0\' returned a non-zero code: 1; '
        "mend it and build again"
    ),
    "FROM {base}\n": (
        "the image of Dockerfile has no python3 on its PATH: the migrator runs in it; install Python in the last stage"
    ),
    "FROM {base}\n{link}" + REMOVE % "/usr/local/lib": (
        "the Python of Dockerfile has no Django: install the requirements where its python3 finds them"
    ),
    "FROM {base}\n{link}ENV DJANGO_SETTINGS_MODULE=other.settings\n": (
        "Dockerfile sets DJANGO_SETTINGS_MODULE to other.settings, and [tool.lastgood] settings is shop.settings: make them one"
    ),
    "FROM {base}\n{link}" + REMOVE % "/app/shop/__pycache__" + "COPY pyproject.toml /app/shop/settings.py\n": (
        "making the manifest failed in the image of Dockerfile with shop.settings: the settings module shop.settings does not "
        "import: SyntaxError: cannot assign to expression here. Maybe you meant '==' instead of '='? (settings.py, line 8); mend it, or "
        "set what it needs while building in [tool.lastgood.image.environment]"
    ),
}


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize("text", WRONG)
def test_what_goes_wrong(make_project: MakeProject, engine: Any, base: str, text: str) -> None:
    shop = dockerfile(make_project, text.format(base=base, link=LINK))
    assert refusal(shop) == WRONG[text]


@pytest.mark.slow
def test_no_engine(make_project: MakeProject) -> None:
    shop = dockerfile(make_project, "FROM scratch\n")
    done = subprocess.run(
        [sys.executable, "-m", "lastgood", "build", "--project", str(shop.root)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(own.__file__).parents[2]), "DOCKER_HOST": "unix:///none/docker.sock"},
    )
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert said.startswith("lastgood: no Docker engine does what is needed (")
    assert said.endswith(
        "): Dockerfile is built by one; start it (`lastgood doctor`), or leave dockerfile out of [tool.lastgood.image]"
    )


@pytest.mark.slow
def test_no_such_file(make_project: MakeProject) -> None:
    shop = dockerfile(make_project, "FROM scratch\n")
    (shop.root / "Dockerfile").unlink()
    commit(shop.root)
    assert refusal(shop) == f"{shop.root}/Dockerfile does not exist: [tool.lastgood.image] dockerfile names it"


@pytest.mark.slow
def test_several_platforms(make_project: MakeProject) -> None:
    shop = dockerfile(make_project, "FROM scratch\n", settings='platforms = ["linux/amd64", "linux/arm64"]\n')
    assert refusal(shop) == (
        "Dockerfile is built by this machine's engine, so for linux/amd64 alone, not for linux/amd64, linux/arm64: set "
        'platforms = ["linux/amd64"] in [tool.lastgood.image], or leave dockerfile out'
    )
