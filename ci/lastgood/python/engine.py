"""The Docker engine as what runs code uses it: the one that answers, and images of ours that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# Of every container that runs code which is not ours.
ALONE = {"network_mode": "none", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}


def connect(timeout: int = 120) -> Any:
    """The client of the engine that answers (DOCKER_HOST or the usual socket), or None. `timeout` is in seconds, of each request."""
    from docker.client import DockerClient
    from docker.errors import DockerException

    client = None
    try:
        client = DockerClient.from_env(timeout=timeout)
        client.ping()
    except (DockerException, OSError):
        if client is not None:
            client.close()
        return None
    return client


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
