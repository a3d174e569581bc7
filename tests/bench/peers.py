"""The images that others would make of the same project with the same locked dependencies, by the engine from a Dockerfile.

slim         python:slim, one stage: what most tutorials show
multi-stage  a builder with compilers and uv, the virtual environment and the code copied into slim: as cookiecutter-django does it
distroless   Google's python3-debian13 with a virtual environment made in slim: as Google's example does it

Their bases are made in `roots`. In favour of the peers: the Debian packages of each stage lie in its base already, so no build of theirs
is charged for apt; static files are collected while the image is built, not when it starts.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from lastgood.errors import UsageError
from lastgood.report.terminal import step

from bench import roots
from bench.roots import LABEL, Recipe

PREFIX = "lastgood-bench"
_WITH_PYTHON = """\
FROM {root}
ADD python.tar /
RUN ldconfig
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""
_UV = "ARG PIP_NO_INDEX=1\nARG PIP_FIND_LINKS\nRUN pip install --no-cache-dir uv\n"
# What pip and uv are told: as build arguments, they are in no layer. WHEELS is a server on loopback, in place of an index.
_WHEELS = "ARG PIP_NO_INDEX=1\nARG PIP_FIND_LINKS\nARG UV_FIND_LINKS\n"

_SLIM = """\
FROM {prefix}/python
{wheels}WORKDIR /app
COPY requirements.txt /requirements.txt
RUN pip install --no-cache-dir -r /requirements.txt
COPY app .
RUN {environment} python manage.py collectstatic --noinput
EXPOSE 8000
CMD ["python", "-m", "gunicorn"]
"""
_MULTI_STAGE = """\
FROM {prefix}/builder AS build
{wheels}ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY requirements.txt /requirements.txt
RUN uv venv .venv && uv pip install --no-cache --no-index -r /requirements.txt
COPY app .
RUN {environment} .venv/bin/python manage.py collectstatic --noinput

FROM {prefix}/runtime
WORKDIR /app
RUN groupadd --system django && useradd --system --gid django --create-home django
COPY entrypoint /entrypoint
COPY --from=build --chown=django:django /app /app
COPY --from=build --chown=django:django /static /static
RUN chown django:django /app
ENV PATH=/app/.venv/bin:$PATH
USER django
EXPOSE 8000
ENTRYPOINT ["/entrypoint"]
CMD ["python", "-m", "gunicorn"]
"""
_DISTROLESS = """\
FROM {prefix}/venv AS build
{wheels}RUN python3 -m venv /venv && /venv/bin/pip install --upgrade pip setuptools wheel
COPY requirements.txt /requirements.txt
RUN /venv/bin/pip install --disable-pip-version-check -r /requirements.txt
WORKDIR /app
COPY app .
RUN {environment} PYTHONDONTWRITEBYTECODE=1 /venv/bin/python manage.py collectstatic --noinput

FROM {prefix}/distroless
COPY --from=build /venv /venv
COPY --from=build /static /static
COPY app /app
WORKDIR /app
EXPOSE 8000
ENTRYPOINT ["/venv/bin/python3"]
CMD ["-m", "gunicorn"]
"""
_ENTRYPOINT = '#!/bin/sh\nset -eu\nexec "$@"\n'


@dataclass(frozen=True)
class Peer:
    """One way of others: its Dockerfile, the stages it has bases for, and how Python is called in the finished image."""

    name: str
    dockerfile: str
    python: tuple[str, ...]


PEERS = (
    Peer("slim", _SLIM, ("python",)),
    Peer("multi-stage", _MULTI_STAGE, ("python",)),
    Peer("distroless", _DISTROLESS, ()),
)


def dockerfile(peer: Peer, environment: Mapping[str, str]) -> str:
    """The Dockerfile of `peer`; `environment` is what collectstatic needs, and stays out of the image's own."""
    named = " ".join(f"{key}='{value}'" for key, value in environment.items())
    return peer.dockerfile.format(prefix=PREFIX, wheels=_WHEELS, environment=named)


@contextmanager
def wheel_server(folder: Path) -> Iterator[str]:
    """Serves the wheels in `folder` on loopback for the time of the block; yields the address that pip takes as --find-links."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bases(client: Any, folder: Path, wheels: str) -> None:
    """Brings the bases of all peers into the engine; `wheels` is the address of a `wheel_server` that has uv."""
    python = roots.python(client, folder)
    lines = (python / "packages").read_text(encoding="utf-8").splitlines()
    libraries = tuple(line for line in lines if " " not in line)  # dpkg-query tells of diversions, too
    needs = (*roots.PYTHON_NEEDS, *libraries)
    recipes = {
        "python": Recipe("slim", needs),
        "builder": Recipe("builder", (*needs, "build-essential", "libpq-dev")),
        "runtime": Recipe("runtime", (*needs, "libpq-dev", "gettext", "wait-for-it")),
    }
    made = {name: roots.make(folder, recipe) for name, recipe in recipes.items()}
    venv = roots.make(folder, Recipe("venv", ("python3-venv", "gcc", "libpython3-dev")))
    distroless = roots.distroless(folder)
    with step("bases of the peers"):
        for name, archive in made.items():
            root = roots.load(client, archive, f"{name}-root")
            text = _WITH_PYTHON.format(root=root) + (_UV if name == "builder" else "")
            files: dict[str, bytes | Path] = {"Dockerfile": text.encode(), "python.tar": python / "python.tar"}
            engine_build(client, f"{PREFIX}/{name}", files, wheels)
        roots.load(client, venv, "venv", ["ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
        roots.load(
            client,
            distroless,
            "distroless",
            ["ENV PATH=/usr/bin:/bin", "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
        )


def build(
    client: Any,
    peer: Peer,
    subject: str,
    app: Path,
    requirements: bytes,
    environment: Mapping[str, str],
    wheels: str,
    *,
    cached: bool,
) -> str:
    """Builds `peer`'s image of the project in `app` as `docker build` does it; returns its name.

    `requirements` is the lock's content as pip takes it. Without `cached`, no layer of an earlier build is used.
    """
    files: dict[str, bytes | Path] = {
        "Dockerfile": dockerfile(peer, environment).encode(),
        "requirements.txt": requirements,
        "entrypoint": _ENTRYPOINT.encode(),
        "app": app,
    }
    return engine_build(client, f"{PREFIX}/{subject}-{peer.name}", files, wheels, cached=cached)


def engine_build(client: Any, name: str, files: Mapping[str, bytes | Path], wheels: str, *, cached: bool = True) -> str:
    """`docker build` of a context that consists of `files` (name → content, file or folder). Raises UsageError with the last lines said."""
    from docker.errors import APIError, BuildError

    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for path, content in files.items():
            if isinstance(content, Path):
                archive.add(content, path, filter=_context)
                continue
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o755 if path == "entrypoint" else 0o644
            archive.addfile(info, io.BytesIO(content))
    context.seek(0)
    try:
        client.images.build(
            fileobj=context,
            custom_context=True,
            tag=f"{name}:latest",
            nocache=not cached,
            rm=True,
            forcerm=True,
            network_mode="host",
            labels={LABEL: "1"},
            buildargs={"PIP_FIND_LINKS": wheels, "UV_FIND_LINKS": wheels},
        )
    except (APIError, BuildError) as error:
        said = [line.get("stream", "").strip() for line in getattr(error, "build_log", ())]
        lines = " / ".join([line for line in said if line][-3:])
        raise UsageError(f"the peer {name} could not be built: {error} {lines}; mend that and run it again") from None
    return f"{name}:latest"


def _context(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """What .dockerignore leaves out; owner and time as a fresh clone has them."""
    name = info.name.rpartition("/")[2]
    if name in {".git", "__pycache__", ".lastgood"}:
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
