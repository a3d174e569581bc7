"""RunTask and StopTask as ECS does them."""

from __future__ import annotations

import contextvars
import copy
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.ecs:_run_task",
    "services.ecs:_stop_task",
    "services.ecs:_run_task_worker",
    "services.ecs:_mark_task_stopped",
    "services.ecs:_task_ip",
    "services.ecs:_maybe_mark_stopped",
    "services.ecs:_record_service_task_failure",
    "services.ecs:_refresh_service_state",
    "services.ecs:_resolve_task",
    "services.ecs:_resolve_cluster_name",
    "services.ecs:_cluster_name_from_arn",
    "services.ecs:_resolve_td_key",
    "services.ecs:_task_defs",
    "services.ecs:_tasks",
    "services.ecs:_get_docker",
    "services.ecs:_sanitize",
    "services.ecs:_ACTION_MAP",
    "core.responses:error_response_json",
    "core.responses:json_response",
)
DRAIN = 0.3  # seconds between taking a task from the load balancer and stopping it
STOP_TIMEOUT = 10  # seconds from SIGTERM to SIGKILL where the definition says nothing
MAX_BACK_OFF = 10.0  # seconds before a task that keeps failing is started again

_lock = threading.Lock()
_closing = threading.Event()


def close() -> None:
    """The emulator is going down: containers that stop now stop with it, and nothing replaces them."""
    _closing.set()


def stop_timeout(task: Mapping[str, Any], definition: Mapping[str, Any] | None) -> int:
    """Seconds that a task's containers have between SIGTERM and SIGKILL."""
    containers = (definition or {}).get("containerDefinitions") or ()
    given = [int(one["stopTimeout"]) for one in containers if one.get("stopTimeout")]
    return max(given, default=STOP_TIMEOUT)


def back_off(failures: int) -> float:
    """Seconds to wait before the next try after so many failures in a row."""
    return float(min(0.1 * 2**failures, MAX_BACK_OFF))


def end(task: Any) -> None:
    """Ends a running task's containers, out of the load balancer first, and notes their exit status. Twice is once."""
    with _lock:
        if task.get("_stopping"):
            return
        task["_stopping"] = True
    ecs = module("services.ecs")
    group = task.get("group", "")
    if group.startswith("service:"):
        ecs._refresh_service_state(ecs._cluster_name_from_arn(task["clusterArn"]), group)
        time.sleep(DRAIN)
    client = ecs._get_docker()
    timeout = stop_timeout(task, ecs._task_defs.get(ecs._resolve_td_key(task["taskDefinitionArn"])))
    for index, identity in enumerate(list(task.get("_docker_ids") or ())):
        try:
            container = client.containers.get(identity)
            container.stop(timeout=timeout)
            status = container.wait(timeout=timeout)["StatusCode"]
        except Exception:  # noqa: BLE001, RUF100  whatever Docker says, the task has to end; its exit status is unknown then
            status = 137
        if index < len(task.get("containers", ())):
            task["containers"][index]["exitCode"] = status


def install(settings: Settings) -> None:
    """Wraps RunTask and StopTask, and keeps a crashing task from being started without a pause."""
    _install_run()
    _install_stop()
    _install_failures()


def _install_run() -> None:
    ecs, responses = module("services.ecs"), module("core.responses")
    tokens: dict[str, tuple[Any, list[str]]] = {}

    @wrap("services.ecs:_run_task_worker")
    def work(original: Any, task: Any, *args: Any) -> Any:
        task["_starter"] = threading.current_thread()
        return original(task, *args)

    @wrap("services.ecs:_run_task", action="RunTask")
    def run_task(original: Any, data: Any) -> Any:
        if _closing.is_set():
            return responses.json_response({"tasks": [], "failures": []})
        definition = ecs._task_defs.get(ecs._resolve_td_key(data.get("taskDefinition", "")))
        if definition and definition.get("status") != "ACTIVE" and not data.get("_deploymentId"):
            return responses.error_response_json("InvalidParameterException", "TaskDefinition is inactive", 400)
        token = data.get("clientToken")
        if not token:
            return original(data)
        with _lock:  # held while starting: of two requests with one token, the second must see the first one's task
            if token in tokens:
                before, names = tokens[token]
                if before != data:
                    said = "The provided clientToken is already in use with a different RunTask request."
                    return responses.error_response_json("ConflictException", said, 400)
                known = [ecs._sanitize(ecs._tasks[arn]) for arn in names if ecs._tasks.get(arn)]
                return responses.json_response({"tasks": known, "failures": []})
            asked = copy.deepcopy(data)
            answer = original(data)
            if answer[0] == 200:
                tokens[token] = (asked, [task["taskArn"] for task in json.loads(answer[2])["tasks"]])
            return answer


def _install_stop() -> None:
    ecs, responses = module("services.ecs"), module("core.responses")

    @wrap("services.ecs:_task_ip")
    def task_ip(original: Any, task: Any) -> Any:
        return None if task.get("_stopping") else original(task)

    @wrap("services.ecs:_maybe_mark_stopped")
    def maybe_mark_stopped(original: Any, task: Any, *args: Any) -> Any:
        # A container that StopTask or our own end is stopping must not be taken for one that ended by itself.
        return None if task.get("_stopping") or _closing.is_set() else original(task, *args)

    @wrap("services.ecs:_mark_task_stopped")
    def mark_stopped(original: Any, arn: Any, task: Any, reason: Any, code: Any, exit_code: Any = None) -> Any:
        # StopTask's 0 is no container's: one that never ran has no exit status.
        return original(arn, task, reason, code, None if code == "UserInitiated" else exit_code)

    @wrap("services.ecs:_stop_task")
    def stop_task(original: Any, data: Any) -> Any:
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        task = ecs._resolve_task(data.get("task", ""), cluster) if cluster else None
        if task and task["lastStatus"] == "RUNNING":
            end(task)
        return original(data)

    def ask(data: Any) -> Any:
        """The API's StopTask: it says that the task shall stop. STOPPED comes when the last container is gone."""
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        task = ecs._resolve_task(data.get("task", ""), cluster) if cluster else None
        if task is None or task["lastStatus"] == "STOPPED":
            return ecs._stop_task(data)
        with _lock:
            first = task["desiredStatus"] != "STOPPED"
            task["desiredStatus"] = "STOPPED"  # whoever is starting it sees that, and leaves no container

        def finish() -> None:
            if task["lastStatus"] != "RUNNING":
                task["_starter"].join()
            else:
                end(task)
            task["desiredStatus"] = "RUNNING"  # or ministack takes it for one that it has already stopped
            ecs._stop_task(data)

        if first:
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(finish,), daemon=True, name="lastgood-stop").start()
        return responses.json_response({"task": ecs._sanitize(task)})

    ecs._ACTION_MAP["StopTask"] = ask


def _install_failures() -> None:
    failures: dict[str, int] = {}

    @wrap("services.ecs:_record_service_task_failure")
    def record_failure(original: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        if _closing.is_set():
            return None
        definition = task.get("taskDefinitionArn", "")
        failures[definition] = failures.get(definition, 0) + 1
        if failures[definition] > 3:  # the circuit breaker needs three, quickly
            time.sleep(back_off(failures[definition] - 3))
        return original(task, *args, **kwargs)

    @wrap("services.ecs:_refresh_service_state")
    def refresh(original: Any, *args: Any) -> Any:
        return None if _closing.is_set() else original(*args)
