"""The release tasks: started on ECS, and read when they have ended."""

from __future__ import annotations

import functools
import time
from typing import Any

import boto3
from botocore.exceptions import ClientError

from .decision import Item, as_object

CONTAINER = "release"
LOG_WAIT = 15.0  # seconds for the last log lines to arrive
OWN_EXITS = (0, 3, 4, 5, 75)  # after these the migrator has written its result as the last line
COPIED = (
    *("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes"),
    *("requiresCompatibilities", "cpu", "memory", "runtimePlatform", "ephemeralStorage"),
)  # of a task definition, into the one of another build


@functools.cache
def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service)


def service_role(stack: str) -> str:
    """The role that CloudFormation changes a stack with; empty where it is the caller's own."""
    found = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return str(found.get("RoleARN", ""))


def start_task(operation: Item) -> str:
    """Starts the task of the last hop, and returns its name; its clientToken makes a second start the same task."""
    properties = operation["event"]["ResourceProperties"]
    number, hop = len(operation["hops"]) - 1, operation["hops"][-1]
    request = operation["event"]["RequestId"]
    if hop["busy"]:
        time.sleep(min(2 ** int(hop["busy"]), 15))
    definition = properties["TaskDefinition"]
    if hop["digest"] != operation["wanted"]["digest"]:
        definition = register(definition, properties["Image"], hop)
    command = ["-m", "migrator", hop["direction"]]
    if hop["digest"] != operation["wanted"]["digest"] or hop["direction"] == "back":
        command += ["--to", f"build:{operation['wanted']['build']}"]
    if hop["direction"] == "forward" and properties.get("AcceptLoss") == "yes":
        command += ["--accept-loss"]
    environment = [{"name": "LASTGOOD_HOP", "value": str(number)}]
    if hop["direction"] == "forward" and properties.get("LeaveAhead") == "yes":
        environment.append({"name": "LASTGOOD_LEAVE_AHEAD", "value": "yes"})
    network = {"subnets": properties["Subnets"], "securityGroups": properties["SecurityGroups"]}
    started = client("ecs").run_task(
        cluster=properties["Cluster"],
        taskDefinition=definition,
        launchType="FARGATE",
        clientToken=f"{request}-{number}",
        startedBy=request,
        group=f"lastgood-{properties['Project']}",
        overrides={"containerOverrides": [{"name": CONTAINER, "command": command, "environment": environment}]},
        networkConfiguration={"awsvpcConfiguration": network | {"assignPublicIp": properties["AssignPublicIp"]}},
    )
    if not started["tasks"]:
        reasons = [failure.get("reason", "no reason given") for failure in started["failures"]]
        raise RuntimeError("ECS started no task: " + "; ".join(reasons))
    return str(started["tasks"][0]["taskArn"])


def register(definition: str, image: str, hop: Item) -> str:
    """Another build's image with the wanted build's settings: its own task definition may be gone with its stack."""
    source = client("ecs").describe_task_definition(taskDefinition=definition)["taskDefinition"]
    copied = {name: source[name] for name in COPIED if source.get(name)}
    containers = []
    for container in source["containerDefinitions"]:
        facts = {"LASTGOOD_BUILD": hop["build"], "LASTGOOD_DIGEST": hop["digest"]}
        others = [pair for pair in container.get("environment", []) if pair["name"] not in (*facts, "LASTGOOD_COMMIT")]
        environment = others + [{"name": name, "value": value} for name, value in facts.items()]
        containers.append(container | {"image": f"{image.split('@')[0]}@{hop['digest']}", "environment": environment})
    made = client("ecs").register_task_definition(**copied, containerDefinitions=containers)
    return str(made["taskDefinition"]["taskDefinitionArn"])


def stopped_task(operation: Item) -> Item | None:
    """The task of the last hop as ECS describes it; None where it has not stopped, or is not known any more."""
    cluster, task = operation["event"]["ResourceProperties"]["Cluster"], operation["hops"][-1]["task"]
    found = client("ecs").describe_tasks(cluster=cluster, tasks=[task])["tasks"]
    return next((one for one in found if one["lastStatus"] == "STOPPED"), None)


def forget_definition(definition: str) -> None:
    """Takes back what `register` made."""
    try:
        client("ecs").deregister_task_definition(taskDefinition=definition)
    except ClientError as error:  # one that stays costs nothing
        print(f"{definition} stays registered: {error}")


def read_outcome(operation: Item, task: Item) -> Item:
    """The container's exit status, the migrator's last line, and the log's last lines, which may come after the end."""
    container: Item = next((one for one in task.get("containers", []) if one["name"] == CONTAINER), {})
    code = container.get("exitCode")
    stopped = container.get("reason") or task.get("stoppedReason") or ""
    lines: list[str] = []
    patience = 0.0 if code is None else LOG_WAIT if code in OWN_EXITS else LOG_WAIT / 5
    deadline = time.monotonic() + patience
    while True:
        lines = read_log(operation["event"]["ResourceProperties"]["LogGroup"], task)
        result = as_object(lines[-1]) if lines else None
        if result is not None or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    return {"exit": code, "result": result, "stopped": stopped, "log": lines}


def read_log(group: str, task: Item) -> list[str]:
    """The last lines that the task has written, without empty ones."""
    stream = f"{CONTAINER}/{CONTAINER}/{task['taskArn'].rsplit('/', 1)[-1]}"
    try:
        found = client("logs").get_log_events(logGroupName=group, logStreamName=stream, limit=40, startFromHead=False)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return []  # the container never wrote, or not yet
        raise
    return [line for event in found["events"] for line in event["message"].splitlines() if line.strip()]


def hop_number(task: Item) -> int | None:
    """The hop that a task ran: written into its overrides when it was started."""
    for container in task.get("overrides", {}).get("containerOverrides", []):
        for pair in container.get("environment", []):
            if pair["name"] == "LASTGOOD_HOP":
                return int(pair["value"])
    return None
