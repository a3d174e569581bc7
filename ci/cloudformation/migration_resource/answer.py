"""The answer to CloudFormation, by the address that its request brought."""

from __future__ import annotations

import json
import urllib.request

from .decision import REASON_LIMIT, Item, without_secrets


class Unanswered(Exception):
    """CloudFormation could not be told. Lambda delivers the event again, and the item says what the answer was."""


def answer(event: Item, status: str, reason: str) -> None:
    """Answers a request. Raises Unanswered where CloudFormation could not be told."""
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
