"""The operation items: what is known of each request, in the release record's table."""

from __future__ import annotations

import functools
import os
import time
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

from .decision import Item

KEEP = 30 * 24 * 3600  # seconds that an operation stays readable


@functools.cache
def table() -> Any:
    return boto3.resource("dynamodb").Table(os.environ["RELEASE_RECORD"])


def open_operation(event: Item, wanted: Item, old: Item | None, hop: Item) -> Item | None:
    """Writes down a request, with its first hop; returns the item. None: it is written down already, this is another delivery."""
    request, properties = event["RequestId"], event["ResourceProperties"]
    operation = {
        **_key(request),
        "expires": int(time.time()) + KEEP,
        "started": now(),
        "state": "running",
        "version": 0,
        "event": {name: value for name, value in event.items() if name != "OldResourceProperties"},
        "wanted": wanted,
        "old": old,
        "hops": [hop],
    }
    try:
        table().put_item(Item=operation, ConditionExpression="attribute_not_exists(pk)")
    except ClientError as error:
        _only_conflicts(error)
        return None
    pointer = {"pk": f"environment#{properties['Environment']}", "sk": "operation", "request": request}
    table().put_item(Item=pointer | {"started": operation["started"]})
    return operation


def load_operation(request: str) -> Item | None:
    """The item of a request; None where there is none."""
    if not request:
        return None
    found: Item | None = table().get_item(Key=_key(request), ConsistentRead=True).get("Item")
    return found


def save_operation(operation: Item) -> bool:
    """Writes the item if nobody has since it was read. False: somebody has, and goes on with it."""
    version = operation["version"]
    try:
        table().put_item(
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


def note_task(operation: Item, task: str) -> None:
    """Writes down the task that was started for the last hop."""
    number = len(operation["hops"]) - 1
    table().update_item(
        Key=_key(operation["event"]["RequestId"]),
        UpdateExpression=f"SET hops[{number}].task = :task, hops[{number}].started = :now",
        ExpressionAttributeValues={":task": task, ":now": now()},
    )


def note_answer(operation: Item, status: str, reason: str) -> None:
    """Writes down what CloudFormation was told, and forgets the address, which lets anyone answer."""
    table().update_item(
        Key=_key(operation["event"]["RequestId"]),
        UpdateExpression="SET #state = :answered, #status = :status, reason = :reason, ended = :now"
        " REMOVE #event.ResponseURL",
        ExpressionAttributeNames={"#state": "state", "#status": "status", "#event": "event"},
        ExpressionAttributeValues={":answered": "answered", ":status": status, ":reason": reason, ":now": now()},
    )


def now() -> str:
    """The time in UTC, ISO 8601, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _only_conflicts(error: ClientError) -> None:
    if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
        raise error


def _key(request: str) -> Item:
    return {"pk": f"operation#{request}", "sk": "operation"}
