"""AWS as one environment sees it: the right account, region and endpoint, and every client made once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from lastgood.errors import UsageError

if TYPE_CHECKING:
    from lastgood.config.project import Project
    from lastgood.local.state import LocalCloud

P = ParamSpec("P")
R = TypeVar("R")


class Session:
    """Clients of one environment. `local` speaks to the one-machine cloud, all others to AWS with boto3's own credentials."""

    def __init__(self, project: Project, environment: str) -> None:
        """Raises UsageError for an unknown environment, and for `local` while the local cloud is down."""
        self.project = project
        self.environment = project.environment(environment)
        self.cloud: LocalCloud | None = None
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        if environment == "local":
            from lastgood.local import state

            self.cloud = state.read(project)
            if self.cloud is None:
                raise UsageError("the local cloud is not up: run `lastgood local up`")

    @functools.cached_property
    def _boto(self) -> Any:
        import boto3

        make: Any = boto3.Session
        if self.cloud:
            return make(aws_access_key_id="local", aws_secret_access_key="local", region_name=self.cloud.region)  # noqa: S106
        return make(region_name=self.environment.region)

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
        return self._boto.resource("dynamodb", **self._settings()).Table(f"lastgood-{self.project.name}")


def code(error: Exception) -> str:
    """The code of a botocore ClientError, as `ValidationError`; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Turns what boto3 raises out of `function` into one sentence that says what to do.

    The wrapped function raises UsageError in place of botocore's errors.
    """

    @functools.wraps(function)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> R:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return function(*arguments, **options)
        except ClientError as error:
            if code(error) == "ResourceNotFoundException" and error.operation_name in _RECORD:
                raise UsageError(
                    "there is no release record in this account and region: run `lastgood bootstrap` once, or set the "
                    "environment's region"
                ) from None
            raise UsageError(
                f"AWS refused: {error}; check the credentials, the region and the role's permissions"
            ) from None
        except BotoCoreError as error:
            if "http://127.0.0.1:" in str(error):
                raise UsageError("the local cloud does not answer: run `lastgood local up`") from None
            raise UsageError(f"AWS could not be asked: {error}; check the credentials and the region") from None

    return wrapper


_RECORD = ("GetItem", "PutItem", "Query", "UpdateItem", "TransactWriteItems")
