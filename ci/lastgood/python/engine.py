"""The Docker engine as what runs code uses it: the one that answers, and images of ours that it is given."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any

# Of every container that runs code which is not ours: as many threads at once as nothing real has, and no variables for a proxy, which
# the SDK would take from this machine's settings.
ALONE = {
    "network_mode": "none", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "pids_limit": 2048, "use_config_proxy": False,
}  # fmt: skip


def connect(timeout: int = 120) -> Any:
    """The client of the engine that answers (DOCKER_HOST or the usual socket), or None. `timeout` is in seconds, of each request."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        if host.startswith("unix://"):  # the SDK would leave its socket open where nobody listens
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(host.removeprefix("unix://"))
        from docker.client import DockerClient
        from docker.constants import MINIMUM_DOCKER_API_VERSION
        from docker.errors import DockerException
    except OSError:
        return None
    try:
        # With a version it asks nothing while it is made: one that asks for the version and fails would leave its socket open.
        asker = DockerClient.from_env(timeout=timeout, version=MINIMUM_DOCKER_API_VERSION)
        with contextlib.closing(asker):
            asker.ping()
        return DockerClient.from_env(timeout=timeout)
    except (DockerException, OSError):
        return None


def image(client: Any, name: str, tag: str, archive: Callable[[], Iterable[bytes]]) -> str:
    """The tag of the image lastgood-`name` of the files in a tar, which is made only where the engine does not have it."""
    from docker.errors import ImageNotFound

    repository = f"lastgood-{name}"
    try:
        client.images.get(f"{repository}:{tag}")
    except ImageNotFound:
        client.api.import_image_from_data(
            iter(archive()), repository=repository, tag=tag, changes=[f"LABEL lastgood.{name}=1"]
        )
    return f"{repository}:{tag}"
