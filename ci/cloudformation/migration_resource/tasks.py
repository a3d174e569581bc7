"""The release tasks: started on ECS, looked at, stopped, and read when they have ended."""

from __future__ import annotations

import functools
import time
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from .decision import Item, as_object

CONTAINER = "release"
LOG_WAIT = 15.0  # seconds for the last log lines to arrive
LOG_LINES = 40
LOG_PAGES = 5  # GetLogEvents may answer pages with less than there is, or nothing
OWN_EXITS = (0, 3, 4, 5, 75)  # after these the migrator has written its result as the last line
START_LIMIT = 120  # seconds after which an invocation that has asked ECS for a task is no more
UNKNOWN_LIMIT = 300  # seconds after which a task that ECS does not describe is not only too new
LAG = 5  # seconds that ECS's description may be behind its event
COPIED = (
    *("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes"),
    *("requiresCompatibilities", "cpu", "memory", "runtimePlatform", "ephemeralStorage"),
)  # of a task definition, into the one of another build


@functools.cache
def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service, config=Config(retries={"mode": "standard", "total_max_attempts": 6}))


def service_role(stack: str) -> str:
    """The role that CloudFormation changes a stack with; empty where it is the caller's own."""
    found = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return str(found.get("RoleARN", ""))


def is_fleeting(error: Exception) -> bool:
    """Whether the same call may succeed in a minute."""
    if not isinstance(error, ClientError):
        return isinstance(error, (NoConnection, HTTPClientError))
    code = error.response["Error"]["Code"]
    names = ("ServerException", "ProvisionedThroughputExceededException", "TransactionInProgressException")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or "Throttl" in code or "TooMany" in code or code in names


def prepare_definition(operation: Item) -> str:
    """The task definition of the last hop; another build needs one made of the wanted build's."""
    properties, hop = operation["event"]["ResourceProperties"], operation["hops"][-1]
    definition = str(properties["TaskDefinition"])
    if hop["digest"] == operation["wanted"]["digest"]:
        return definition
    return register(definition, properties["Image"], hop)


def start_task(operation: Item) -> tuple[str, str]:
    """Starts the task of the last hop. Returns its name, or none and why ECS started none.

    Its clientToken makes a second start the same task, of the same definition. Raises what may pass.
    """
    properties = operation["event"]["ResourceProperties"]
    number, hop = len(operation["hops"]) - 1, operation["hops"][-1]
    request = operation["event"]["RequestId"]
    command = ["-m", "migrator", hop["direction"]]
    if hop["digest"] != operation["wanted"]["digest"] or hop["direction"] == "back":
        command += ["--to", f"build:{operation['wanted']['build']}"]
    if hop["direction"] == "forward" and properties.get("AcceptLoss") == "yes":
        command += ["--accept-loss"]
    environment = [{"name": "LASTGOOD_HOP", "value": str(number)}]
    if hop["direction"] == "forward" and properties.get("LeaveAhead") == "yes":
        environment.append({"name": "LASTGOOD_LEAVE_AHEAD", "value": "yes"})
    network = {"subnets": properties["Subnets"], "securityGroups": properties["SecurityGroups"]}
    try:
        started = client("ecs").run_task(
            cluster=properties["Cluster"],
            taskDefinition=hop["definition"],
            launchType="FARGATE",
            clientToken=f"{request}-{number}",
            startedBy=request,
            group=f"lastgood-{properties['Project']}",
            overrides={"containerOverrides": [{"name": CONTAINER, "command": command, "environment": environment}]},
            networkConfiguration={"awsvpcConfiguration": network | {"assignPublicIp": properties["AssignPublicIp"]}},
        )
    except ClientError as error:
        if is_fleeting(error):  # whether a task was started is not known: the same call will say it
            raise
        return "", str(error)
    reasons = [failure.get("reason", "no reason given") for failure in started["failures"]]
    return (str(started["tasks"][0]["taskArn"]), "") if started["tasks"] else ("", "; ".join(reasons))


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


def look_at_task(operation: Item, told: bool) -> tuple[str, Item | None]:
    """What ECS knows of the last hop's task (starting, runs, stopped or gone; none: there is none), and its description."""
    cluster, hop = operation["event"]["ResourceProperties"]["Cluster"], operation["hops"][-1]
    age = time.time() - int(hop["since"])
    name = hop.get("task")
    if not name and operation["state"] == "running":
        return "starting", None
    if not name:  # whoever has asked for it may be gone without having written its name down
        named = client("ecs").list_tasks(cluster=cluster, startedBy=operation["event"]["RequestId"])["taskArns"]
        if not named:
            return "starting" if age < START_LIMIT else "none", None
        name = named[0]
    found: list[Item] = []
    for _ in range(LAG if told else 1):
        found = client("ecs").describe_tasks(cluster=cluster, tasks=[name])["tasks"]
        if found and found[0]["lastStatus"] == "STOPPED":
            return "stopped", found[0]
        if told:
            time.sleep(1)
    if not found and age > UNKNOWN_LIMIT:  # ECS forgets a task about an hour after its end
        return "gone", None
    return "runs", found[0] if found else {"taskArn": name}


def stop_task(operation: Item, task: Item) -> None:
    """Has ECS stop a task, also one that is still starting. Twice is once."""
    cluster = operation["event"]["ResourceProperties"]["Cluster"]
    client("ecs").stop_task(
        cluster=cluster, task=task["taskArn"], reason=operation.get("why", "its request is over")[:255]
    )


def forget_definition(operation: Item, hop: Item) -> None:
    """Takes back what `register` made for a hop."""
    definition = hop.get("definition")
    if not definition or definition == operation["event"]["ResourceProperties"]["TaskDefinition"]:
        return
    try:
        client("ecs").deregister_task_definition(taskDefinition=definition)
    except ClientError as error:  # one that stays costs nothing
        print(f"{definition} stays registered: {error}")


def read_outcome(operation: Item, task: Item) -> Item:
    """How a task ended: exit status, the migrator's last line, the log's last lines, which may come after the end."""
    container: Item = next((one for one in task.get("containers", []) if one["name"] == CONTAINER), {})
    code = container.get("exitCode")
    stopped = container.get("reason") or task.get("stoppedReason") or ""
    lines: list[str] = []
    result = None
    patience = 0.0 if code is None else LOG_WAIT if code in OWN_EXITS else LOG_WAIT / 5
    deadline = time.monotonic() + patience
    while task:
        try:
            lines = read_log(operation["event"]["ResourceProperties"]["LogGroup"], task)
        except ClientError as error:
            if is_fleeting(error):
                raise
            lines = [f"(the log can't be read: {error})"]
            break
        result = as_object(lines[-1]) if lines else None
        if result is not None or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    return {"exit": code, "result": result, "code": task.get("stopCode"), "stopped": stopped, "log": lines}


def read_log(group: str, task: Item) -> list[str]:
    """The last lines that the task has written, without empty ones."""
    stream = f"{CONTAINER}/{CONTAINER}/{task['taskArn'].rsplit('/', 1)[-1]}"
    asked: Item = {"logGroupName": group, "logStreamName": stream, "limit": LOG_LINES, "startFromHead": False}
    events: list[Item] = []
    for _ in range(LOG_PAGES):
        try:
            page = client("logs").get_log_events(**asked)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []  # the container never wrote, or not yet
            raise
        if page["nextBackwardToken"] == asked.get("nextToken"):
            break  # the beginning of the stream
        events = page["events"] + events
        if len(events) >= LOG_LINES:
            break
        asked["nextToken"] = page["nextBackwardToken"]
    return [line for event in events for line in event["message"].splitlines() if line.strip()]
