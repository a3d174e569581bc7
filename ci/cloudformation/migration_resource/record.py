"""What is written down: an item for each request in the release record, and those that are open in a table of the function's own.

OpenOperations holds the address that lets anyone answer for us, so nobody else may read it: who deploys reads the release
record. It is also the list of what is not at its end, which the schedule goes through.
"""

from __future__ import annotations

import functools
import os
import re
import time
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

from .decision import BECOMES, Item, is_way_back, time_limit, under_way

KEEP = 30 * 24 * 3600  # seconds that an operation stays readable
OPENINGS = 5  # tries to open an operation while others write, too
DISORDER = 10  # seconds by which the clocks of those who send requests may differ


@functools.cache
def table(variable: str = "RELEASE_RECORD") -> Any:
    return boto3.resource("dynamodb").Table(os.environ[variable])


def open_operation(event: Item, wanted: Item, old: Item | None, hops: list[Item]) -> Item:
    """The item of a request: written down now, or already. The request before it is to stop from now on."""
    request, properties = event["RequestId"], event["ResourceProperties"]
    name = _name(properties["Environment"])
    sent = (re.findall(r"X-Amz-Date=(\w+)", event["ResponseURL"]) or [""])[0]
    limit = time_limit(int(properties.get("ServiceTimeout", 3600)))
    for _ in range(OPENINGS):
        known = load_operation(request)
        if known:
            return known
        pointer = table().get_item(Key=name, ConsistentRead=True).get("Item") or {}
        before = load_operation(pointer.get("request", ""))
        operation = _key(request) | {
            "expires": int(time.time()) + KEEP,
            "started": now(),
            "deadline": int(time.time()) + limit,
            "limit": limit,
            "state": "waiting",
            "version": 0,
            "event": {key: event[key] for key in event if key not in ("OldResourceProperties", "ResponseURL")},
            "wanted": wanted,
            "old": old,
            "way_back": is_way_back(wanted, old, before),
            "hops": hops,
        }
        opened = {"pk": f"open#{request}", "sk": "operation", "request": request, "address": event["ResponseURL"]}
        put = [_put(operation), _put(opened | {"expires": operation["expires"]}, own=True)]
        if _is_late(sent, pointer.get("sent", "")):  # delivered after its successor: CloudFormation waits for that one
            late = "a newer request came before this one was delivered"
            operation |= {"state": "answering", "status": "FAILED", "reason": late}
        else:
            if before and not at_rest(before):
                operation["ahead"] = before["pk"].removeprefix("operation#")
            put.append(_put(name | {"request": request, "started": operation["started"], "sent": sent}, seen=pointer))
            if before and "stopping" in BECOMES[before["state"]]:
                why = f"request {request} came, and this one was given up"
                put.append({"Update": _change(before, {"state": "stopping", "why": why, "newer": request})})
        try:
            table().meta.client.transact_write_items(TransactItems=put)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("TransactionCanceledException", "TransactionConflictException"):
                raise
            continue
        return operation
    raise RuntimeError(f"the release record was written by others {OPENINGS} times: deploy again")


def _is_late(sent: str, newest: str) -> bool:
    """Whether a request was sent before the newest; both as X-Amz-Date, empty where the address has none."""
    if not sent or not newest:
        return False
    times = [datetime.strptime(one, "%Y%m%dT%H%M%SZ") for one in (sent, newest)]  # noqa: DTZ007  both are UTC
    return (times[1] - times[0]).total_seconds() > DISORDER


def at_rest(operation: Item | None) -> bool:
    """Whether no release task of a request is under way, nor of those before it."""
    if operation is None:
        return True
    if operation["state"] not in ("answering", "answered") or under_way(operation):
        return False
    return not operation.get("ahead") or at_rest(load_operation(operation["ahead"]))


def newest_request(environment: str) -> str:
    """The request that came last."""
    return str(table().get_item(Key=_name(environment), ConsistentRead=True)["Item"]["request"])


def load_operation(request: str) -> Item | None:
    """The item of a request; None where there is none."""
    if not request:
        return None
    found: Item | None = table().get_item(Key=_key(request), ConsistentRead=True).get("Item")
    return found


def write(operation: Item, **values: Any) -> bool:
    """Writes attributes if nobody has written the item since it was read. False: somebody has, so look again.

    Raises ValueError for a change of state that decision.py doesn't have.
    """
    state = operation["state"]
    if values.get("state", state) not in (*BECOMES[state], state):
        raise ValueError(f"an operation that is {state} does not become {values['state']}")
    change = _change(operation, values)
    try:
        table().update_item(**{name: value for name, value in change.items() if name != "TableName"})
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    operation |= values | {"version": operation["version"] + 1}
    return True


def note_task(operation: Item, task: str) -> None:
    """Writes down the task that was started for the last hop, whatever else has happened to the operation."""
    number = len(operation["hops"]) - 1
    table().update_item(
        Key=_key(request_of(operation)),
        UpdateExpression=f"SET hops[{number}].task = :task",
        ExpressionAttributeValues={":task": task},
    )


def address_of(operation: Item) -> str | None:
    """Where CloudFormation waits for the answer; None where it was told."""
    key = {"pk": f"open#{request_of(operation)}", "sk": "operation"}
    found = table("OPEN_OPERATIONS").get_item(Key=key, ConsistentRead=True).get("Item")
    return found["address"] if found else None


def forget_address(request: str) -> None:
    """The operation is at its end."""
    table("OPEN_OPERATIONS").delete_item(Key={"pk": f"open#{request}", "sk": "operation"})


def open_requests() -> list[str]:
    """The requests that are not at their end; a page of them, which is more than there ever are."""
    return [item["request"] for item in table("OPEN_OPERATIONS").scan(ConsistentRead=True)["Items"]]


def is_pushed(digest: str) -> bool:
    """Whether the release record knows the build of that digest: `lastgood push` and `deploy` write it down."""
    return "Item" in table().get_item(Key={"pk": f"build#{digest}", "sk": "build"})


def request_of(operation: Item) -> str:
    return str(operation["event"]["RequestId"])


def now() -> str:
    """The time in UTC, ISO 8601, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _change(operation: Item, values: Item) -> Item:
    """An update of attributes that is refused where the item is not the one that was read."""
    values = values | {"version": operation["version"] + 1}
    return {
        "TableName": table().name,
        "Key": {"pk": operation["pk"], "sk": operation["sk"]},
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
        "ConditionExpression": "#version = :seen",
        "ExpressionAttributeNames": {f"#{name}": name for name in values},
        "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}
        | {":seen": operation["version"]},
    }


def _put(item: Item, *, own: bool = False, seen: Item | None = None) -> Item:
    """A new item; `seen`: the pointer that it replaces, refused where that is another one by now."""
    put = {"TableName": table("OPEN_OPERATIONS" if own else "RELEASE_RECORD").name, "Item": item}
    put["ConditionExpression"] = "#request = :seen" if seen else "attribute_not_exists(pk)"
    if seen:
        put["ExpressionAttributeNames"] = {"#request": "request"}
        put["ExpressionAttributeValues"] = {":seen": seen["request"]}
    return {"Put": put}


def _name(environment: str) -> Item:
    return {"pk": f"environment#{environment}", "sk": "operation"}


def _key(request: str) -> Item:
    return {"pk": f"operation#{request}", "sk": "operation"}
