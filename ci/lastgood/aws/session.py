"""The clients of one environment: the right account, region and endpoint, and every client made once."""

from __future__ import annotations

import functools
import threading
from typing import Any

from lastgood.aws import calls, local_cloud
from lastgood.aws.local_cloud import LocalCloud
from lastgood.config.project import Environment, Project
from lastgood.errors import UsageError


class Session:
    """One environment of a project, as its account knows it: by the project's name, which everything in it is named after.

    With a `cloud` it speaks to the one-machine cloud, without one to AWS with boto3's own credentials.
    """

    def __init__(self, project: str, environment: Environment, cloud: LocalCloud | None = None) -> None:
        self.project = project
        self.environment = environment
        self.cloud = cloud
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    @classmethod
    def of(cls, project: Project, environment: str) -> Session:
        """The session of an environment by its name; `local` is the one-machine cloud. Asks nobody yet.

        Raises UsageError for an unknown environment, and for `local` where the local cloud was never up.
        """
        settings = project.environment(environment)
        cloud = local_cloud.read(project.state) if environment == "local" else None
        if environment == "local" and cloud is None:
            raise UsageError("the local cloud is not up: run `lastgood local up`")
        return cls(project.name, settings, cloud)

    @property
    def cluster(self) -> str:
        """The name of the environment's cluster, service and tasks. Names have no underscore, so no two environments share it."""
        return f"{self.project}_{self.environment.name}"

    @functools.cached_property
    def _boto(self) -> Any:
        import boto3

        make: Any = boto3.Session
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"} if self.cloud else {}
        made = make(region_name=self.cloud.region if self.cloud else self.environment.region, **keys)
        calls.note(made)
        return made

    def _settings(self) -> dict[str, Any]:
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=10,
        )
        return {"config": config} | ({"endpoint_url": self.cloud.endpoint_url} if self.cloud else {})

    def client(self, service: str) -> Any:
        """The client of a service, as `ecs`."""
        with self._lock:
            if service not in self._made:
                self._made[service] = self._boto.client(service, **self._settings())
            return self._made[service]

    @functools.cached_property
    def table(self) -> Any:
        """The release record's DynamoDB table, as a boto3 resource; its `meta.client` takes plain Python values."""
        return self._boto.resource("dynamodb", **self._settings()).Table(f"lastgood-{self.project}")
