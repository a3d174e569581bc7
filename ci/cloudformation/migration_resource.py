"""The Custom::Migration of service.yml: moves the database as release tasks, and holds no worker while they run.

CloudFormation's request starts the first task and returns. Each task that ends comes back as ECS's "Task State Change"
event, which starts the next one or answers CloudFormation. The image that applied a migration is the one that undoes
it, so a request may need several tasks ("hops"). What is known of one is its operation item in the release record.

    forward by the wanted build --0--> SUCCESS
        | 3: needs build X                  75: the same hop again
        v                                   4, 5, anything else: FAILED
    back by X --0--> forward by the wanted build again
        | 3: needs build Y --> back by Y, or forward by Y: it has files that the wanted build has only squashed

Events are delivered at least once: by the hop's number and the item's version a second delivery has no effect.
Standard library and boto3 only: this file stands inline in bootstrap.yml (`python -m lastgood.deploy.inline`).
"""

from __future__ import annotations

import functools
import json
import os
import re
import time
import urllib.request
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

CONTAINER = "release"
MAX_HOPS = 8  # tasks that move the database for one request
MAX_BUSY = 10  # further tries while someone else holds the migration lock
KEEP = 30 * 24 * 3600  # seconds that an operation stays readable
LOG_WAIT = 15.0  # seconds for the last log lines to arrive
OWN_EXITS = (0, 3, 4, 5, 75)  # after these the migrator has written its result as the last line
COPIED = (
    *("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes"),
    *("requiresCompatibilities", "cpu", "memory", "runtimePlatform", "ephemeralStorage"),
)  # of a task definition, into the one of another build
REASON_LIMIT = 1500  # characters; CloudFormation takes 4,096 bytes for the whole answer

Item = dict[str, Any]


# --- The decision: facts in, what to do next out ---


def next_step(operation: Item, outcome: Item) -> Item:
    """Says what follows the hop that has just ended.

    `operation`: `wanted` and `old` (each {build, digest}; `old` may be None) and `hops`, the ended one last.
    `outcome`: `exit` (None: the container never ran), `result` (the migrator's last line or None), `stopped` (ECS's
    reason), `log` (lines).
    Returns {"run": hop} or {"answer": "SUCCESS" | "FAILED", "reason": text}.
    """
    hop = operation["hops"][-1]
    result = outcome["result"] or {}
    code = outcome["exit"]
    if code == 0 and hop["direction"] == "forward" and hop["digest"] == operation["wanted"]["digest"]:
        in_step = "the database is in step with build " + operation["wanted"]["build"]
        return {"answer": "SUCCESS", "reason": result.get("reason") or in_step}
    if code == 0:
        return _run(operation, operation["wanted"], "forward")
    if code == 75:
        busy = [past.get("exit") for past in operation["hops"]].count(75)
        if busy <= MAX_BUSY:
            return {"run": _hop(hop, hop["direction"], busy=busy)}
        return _failed(hop, outcome, f"the database was still busy at the last of {busy} tries")
    if code == 3:
        needed = _needed(operation, hop, result)
        if needed is None:
            return _failed(
                hop, outcome, result.get("reason") or "nobody knows the build that must undo what is applied"
            )
        if needed["digest"] == hop["digest"]:
            return _failed(hop, outcome, f"build {hop['build']} asked for itself")
        return _run(operation, needed, result.get("needs_direction") or "back")
    if code is None:
        return _failed(hop, outcome, "the task did not start")
    return _failed(hop, outcome, result.get("reason") or f"exit status {code}")


def _needed(operation: Item, hop: Item, result: Item) -> Item | None:
    """The build that must undo something first: named by the ledger, else the one that CloudFormation replaces."""
    if result.get("needs_digest"):
        return {"build": result.get("needs") or "unknown", "digest": result["needs_digest"]}
    if result.get("needs") == operation["wanted"]["build"]:
        return dict(operation["wanted"])
    old = operation.get("old")
    asked_before = any(past["direction"] == "back" for past in operation["hops"])
    if old and not asked_before and old["digest"] != hop["digest"]:
        return dict(old)
    return None


def _run(operation: Item, build: Item, direction: str) -> Item:
    hops = operation["hops"]
    if sum(1 for past in hops if past.get("exit") != 75) >= MAX_HOPS:
        route = " -> ".join(f"{past['direction']} by {past['build']}" for past in hops)
        return {"answer": "FAILED", "reason": f"no end after {MAX_HOPS} release tasks: {route}"[:REASON_LIMIT]}
    return {"run": _hop(build, direction)}


def _hop(build: Item, direction: str, busy: int = 0) -> Item:
    return {"build": build["build"], "digest": build["digest"], "direction": direction, "busy": busy}


def _failed(hop: Item, outcome: Item, why: str) -> Item:
    cause = f"{hop['direction']} by build {hop['build']}: {why}"
    if outcome["exit"] is None or outcome["exit"] == 137:
        cause += f" ({outcome['stopped']})" if outcome["stopped"] else ""
    lines = [line for line in outcome["log"] if _json(line) is None]
    room = REASON_LIMIT - len(cause) - len("\nlast log lines:\n")
    tail = "\n".join(lines)[-room:] if room > 0 else ""
    reason = f"{cause}\nlast log lines:\n{tail}" if tail else cause
    return {"answer": "FAILED", "reason": without_secrets(reason)[:REASON_LIMIT]}


def without_secrets(text: str) -> str:
    """The text with the user and password of every URL hidden."""
    return re.sub(r"://[^\s/@]+@", "://...@", text)


def _json(line: str) -> Item | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# --- The edge ---


class Unanswered(Exception):
    """CloudFormation could not be told. Lambda delivers the event again, and the item says what the answer was."""


@functools.cache
def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service)


@functools.cache
def record() -> Any:
    return boto3.resource("dynamodb").Table(os.environ["RELEASE_RECORD"])


def handler(event: Item, context: object = None) -> None:
    """Takes CloudFormation's requests and ECS's events. CloudFormation gets an answer whatever happens here."""
    if "RequestType" in event:
        try:
            on_request(event)
        except Unanswered:
            raise
        except Exception as error:
            answer(event, "FAILED", f"the migration could not be started: {error}")
    elif event.get("detail-type") == "ECS Task State Change":
        on_stopped(event["detail"])


def on_request(event: Item) -> None:
    if event["RequestType"] == "Delete":  # of the stack or of a failed Create: the database is nobody's to empty
        answer(event, "SUCCESS", "the database stays as it is")
        return
    wanted, old = event["ResourceProperties"], event.get("OldResourceProperties")
    operation = {
        **_key(event["RequestId"]),
        "expires": int(time.time()) + KEEP,
        "started": _now(),
        "state": "running",
        "version": 0,
        "event": {name: value for name, value in event.items() if name != "OldResourceProperties"},
        "wanted": _build(wanted),
        "old": _build(old) if old else None,
        "hops": [_hop(_build(wanted), "forward")],
    }
    try:
        record().put_item(Item=operation, ConditionExpression="attribute_not_exists(pk)")
    except ClientError as error:
        _only_conflicts(error)
        proceed(load(event["RequestId"]))
        return
    pointer = {"pk": f"environment#{wanted['Environment']}", "sk": "operation", "request": event["RequestId"]}
    record().put_item(Item=pointer | {"started": operation["started"]})
    proceed(operation)


def on_stopped(task: Item) -> None:
    operation = load(task.get("startedBy", ""))
    if operation is None or operation["state"] == "answered":
        return
    if operation["state"] == "running" and _number(task) == len(operation["hops"]) - 1:
        try:
            advance(operation, task)
        except Unanswered:
            raise
        except Exception as error:
            close(operation, "FAILED", f"the release task's end could not be handled: {error}")
    else:  # an earlier hop's event, delivered again: perhaps the first delivery died before it had started the next
        proceed(operation)


def proceed(operation: Item | None) -> None:
    """Does what the item says is next. Doing it twice has no effect."""
    if operation is None or operation["state"] == "answered":
        return
    if operation["state"] == "answering":
        close(operation, operation["status"], operation["reason"])
        return
    hop = operation["hops"][-1]
    if "task" not in hop:
        try:
            start(operation)
        except Exception as error:
            close(operation, "FAILED", f"{hop['direction']} by build {hop['build']} was not started: {error}")
        return
    cluster = operation["event"]["ResourceProperties"]["Cluster"]
    for task in client("ecs").describe_tasks(cluster=cluster, tasks=[hop["task"]])["tasks"]:
        if task["lastStatus"] == "STOPPED":
            advance(operation, task)


def start(operation: Item) -> None:
    """Starts the task of the last hop; its clientToken makes a second start the same task."""
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
    record().update_item(
        Key=_key(request),
        UpdateExpression=f"SET hops[{number}].task = :task, hops[{number}].started = :now",
        ExpressionAttributeValues={":task": started["tasks"][0]["taskArn"], ":now": _now()},
    )


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


def advance(operation: Item, task: Item) -> None:
    """Writes down how the last hop ended, decides, and does it. Of two deliveries at once, one wins."""
    hop = operation["hops"][-1]
    outcome = read_outcome(operation, task)
    result = outcome["result"] or {}
    hop |= {"task": task["taskArn"], "exit": outcome["exit"], "ended": _now()}
    hop |= {name: result[name] for name in ("status", "undone", "applied") if result.get(name)}
    if outcome["exit"] == 0 and result.get("reason"):
        hop["reason"] = result["reason"]
    step = next_step(operation, outcome)
    if "run" in step:
        operation["hops"].append(step["run"])
    else:
        operation |= {"state": "answering", "status": step["answer"], "reason": step["reason"]}
    if not save(operation):
        return
    if hop["digest"] != operation["wanted"]["digest"]:
        forget(task["taskDefinitionArn"])
    proceed(operation)


def forget(definition: str) -> None:
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
        result = _json(lines[-1]) if lines else None
        if result is not None or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    return {"exit": code, "result": result, "stopped": stopped, "log": lines}


def read_log(group: str, task: Item) -> list[str]:
    stream = f"{CONTAINER}/{CONTAINER}/{task['taskArn'].rsplit('/', 1)[-1]}"
    try:
        found = client("logs").get_log_events(logGroupName=group, logStreamName=stream, limit=40, startFromHead=False)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return []  # the container never wrote, or not yet
        raise
    return [line for event in found["events"] for line in event["message"].splitlines() if line.strip()]


def close(operation: Item, status: str, reason: str) -> None:
    """Answers CloudFormation, and remembers that it was answered."""
    answer(operation["event"], status, reason)
    record().update_item(
        Key=_key(operation["event"]["RequestId"]),
        UpdateExpression="SET #state = :answered, #status = :status, reason = :reason, ended = :now"
        " REMOVE #event.ResponseURL",
        ExpressionAttributeNames={"#state": "state", "#status": "status", "#event": "event"},
        ExpressionAttributeValues={":answered": "answered", ":status": status, ":reason": reason, ":now": _now()},
    )


def answer(event: Item, status: str, reason: str) -> None:
    properties = event["ResourceProperties"]
    body = {
        "Status": status,
        "Reason": without_secrets(reason)[:REASON_LIMIT],
        "PhysicalResourceId": f"migrations/{properties['Project']}/{properties['Environment']}",
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    data = json.dumps(body, ensure_ascii=False).encode()
    request = urllib.request.Request(event["ResponseURL"], data, {"Content-Type": ""}, method="PUT")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20):  # noqa: S310
            print(f"request {event['RequestId']}: {status}: {body['Reason']}")
    except OSError as error:  # its text may hold the address, which lets anyone answer
        raise Unanswered(f"request {event['RequestId']}: CloudFormation was not told: {type(error).__name__}") from None


def load(request: str) -> Item | None:
    if not request:
        return None
    found: Item | None = record().get_item(Key=_key(request), ConsistentRead=True).get("Item")
    return found


def save(operation: Item) -> bool:
    """Writes the item if nobody has since it was read. False: somebody has, and goes on with it."""
    version = operation["version"]
    try:
        record().put_item(
            Item=operation | {"version": version + 1},
            ConditionExpression="version = :seen AND #state = :running",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={":seen": version, ":running": "running"},
        )
    except ClientError as error:
        _only_conflicts(error)
        return False
    operation["version"] = version + 1
    return True


def _only_conflicts(error: ClientError) -> None:
    if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
        raise error


def _key(request: str) -> Item:
    return {"pk": f"operation#{request}", "sk": "operation"}


def _build(properties: Item) -> Item:
    return {"build": properties["Build"], "digest": properties["ImageDigest"]}


def _number(task: Item) -> int | None:
    """The hop that a task ran: written into its overrides when it was started."""
    for container in task.get("overrides", {}).get("containerOverrides", []):
        for pair in container.get("environment", []):
            if pair["name"] == "LASTGOOD_HOP":
                return int(pair["value"])
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
