"""The answer to CloudFormation, by the address that its request brought."""

from __future__ import annotations

import json
import urllib.request

from .decision import Item, shortened

ANSWER_LIMIT = 4096  # bytes that CloudFormation takes


class Unanswered(Exception):
    """CloudFormation could not be told. The item says what the answer was, and whoever is woken next tries again."""


def answer(event: Item, address: str, status: str, reason: str) -> None:
    """Answers a request. Raises Unanswered where CloudFormation could not be told."""
    data = written(event, status, shortened(reason))
    request = urllib.request.Request(address, data, {"Content-Type": ""}, method="PUT")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20):  # noqa: S310
            print(f"request {event['RequestId']}: {status}: {json.loads(data)['Reason']}")
    except OSError as error:  # its text may hold the address, which lets anyone answer
        raise Unanswered(f"request {event['RequestId']}: CloudFormation was not told: {type(error).__name__}") from None


def written(event: Item, status: str, reason: str) -> bytes:
    """The answer as JSON, with as much of the reason as there is room for: what JSON escapes takes more of it."""
    properties = event["ResourceProperties"]
    while True:
        body = {
            "Status": status,
            "Reason": reason,
            "PhysicalResourceId": f"migrations/{properties['Project']}/{properties['Environment']}",
            **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
        }
        data = json.dumps(body, ensure_ascii=False).encode()
        if len(data) <= ANSWER_LIMIT or not reason:
            return data
        reason = reason[: -max(1, (len(data) - ANSWER_LIMIT) // 6)]
