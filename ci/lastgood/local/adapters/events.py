"""ECS's "Task State Change" events, which ministack never sends. The release task's function lives on them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.ecs:_mark_task_pending",
    "services.ecs:_mark_task_running",
    "services.ecs:_mark_task_stopped",
    "services.ecs:_start_awslogs_forwarder",
    "services.ecs:_forward_awslogs",
    "services.ecs:_awslogs_config",
    "services.ecs:_sanitize",
    "services.eventbridge:_put_events",
)
LOG_DEADLINE = 5.0  # seconds that a stopped task's event waits for the last log line
_log = logging.getLogger("lastgood.events")


class WholeLines:
    """A container whose log comes in whole lines: Docker cuts long ones into pieces, which would each become an event."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def logs(self, **options: Any) -> Iterator[bytes]:
        """The container's log stream, a line (or several) at a time."""
        rest = b""
        for chunk in self._container.logs(**options):
            whole, found, rest_of_chunk = chunk.rpartition(b"\n")
            if found:
                yield rest + whole
                rest = rest_of_chunk
            else:
                rest += chunk
        if rest:
            yield rest


def install(settings: Settings) -> None:
    """Events follow each change of state; the STOPPED one comes after the task's log is complete."""
    written: dict[str, threading.Event] = {}
    _install_log(written)
    _install_states(written)


def _install_log(written: dict[str, threading.Event]) -> None:
    """`written` gets an event for each container whose log is forwarded, set when all of it is."""
    ecs = module("services.ecs")

    @wrap("services.ecs:_start_awslogs_forwarder")
    def start_forwarder(original: Any, container: Any, definition: Any, identity: str) -> Any:
        if ecs._awslogs_config(definition, identity, container.id):
            written[container.id] = threading.Event()
        return original(container, definition, identity)

    @wrap("services.ecs:_forward_awslogs")
    def forward(original: Any, container: Any, *args: Any) -> Any:
        try:
            return original(WholeLines(container), *args)
        finally:
            done = written.get(container.id)
            if done:
                done.set()


def emit(task: Any) -> None:
    """Tells EventBridge the state of a task, as ECS does."""
    ecs, eventbridge = module("services.ecs"), module("services.eventbridge")
    entry = {
        "Source": "aws.ecs",
        "DetailType": "ECS Task State Change",
        "Resources": [task["taskArn"]],
        "Detail": json.dumps(ecs._sanitize(task), default=str),
    }
    try:
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
    except Exception:
        _log.exception("the state of %s could not be told", task["taskArn"])


def _install_states(written: dict[str, threading.Event]) -> None:
    """Each change of a task's state is told; STOPPED waits until the task's containers have `written` their logs."""

    def emitting(original: Any, arn: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        changed = original(arn, task, *args, **kwargs)
        if changed:
            emit(task)
        return changed

    wrap("services.ecs:_mark_task_pending")(emitting)
    wrap("services.ecs:_mark_task_running")(emitting)

    @wrap("services.ecs:_mark_task_stopped")
    def mark_stopped(original: Any, arn: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        containers = list(task.get("_docker_ids") or ())
        changed = original(arn, task, *args, **kwargs)
        if changed:
            for identity in containers:
                done = written.pop(identity, None)
                if done and not done.wait(LOG_DEADLINE):
                    _log.warning("the log of container %s is late", identity[:12])
            emit(task)
        return changed
