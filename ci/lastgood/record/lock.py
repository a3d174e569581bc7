"""One deploy at a time in an environment: a lock in the release record, kept alive by its holder.

A holder that dies stops renewing, and after LEASE seconds the lock is anybody's. A holder that ends, however it ends, gives it back.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from lastgood.aws.errors import code
from lastgood.errors import LastgoodError, Refused
from lastgood.record.release import now
from lastgood.record.table import Record

LEASE = 60  # seconds until a lock that nobody renews is free
BEAT = 15.0  # seconds between renewals


class Lost(LastgoodError):
    """Somebody else holds the lock that was ours: nothing more may be done to the environment."""


class Lock:
    """The environment's lock, as a context manager; `lost` says that somebody else has taken it over."""

    def __init__(self, record: Record, *, who: str, what: str, beat: float = BEAT) -> None:
        self.record = record
        self.who = who
        self.what = what
        self.beat = beat
        self.token = uuid.uuid4().hex
        self.lost = False
        self._until = 0.0  # as of the last renewal that was answered
        self._key = _key(record)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name=f"lock of {record.environment}")

    def __enter__(self) -> Lock:
        """Takes the lock. Raises Refused, naming the holder, while somebody else has it."""
        from boto3.dynamodb.conditions import Attr

        seconds = int(time.time())
        item = self._key | {"who": self.who, "what": self.what, "since": now(), "token": self.token}
        conflict = self.record.table.meta.client.exceptions.ConditionalCheckFailedException
        try:
            self.record.table.put_item(
                Item=item | {"until": seconds + LEASE},
                ConditionExpression=Attr("pk").not_exists() | Attr("until").lt(seconds),
            )
        except conflict:
            raise Refused(
                refusal(self.record.environment, self.record.table.get_item(Key=self._key).get("Item"))
            ) from None
        self._until = seconds + LEASE
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=self.beat)
        # Whatever hinders it: the lock ends by itself, and what the command has to say of the release must not be hidden.
        with contextlib.suppress(Exception):
            self.record.table.delete_item(Key=self._key, **self._mine())

    def _mine(self) -> dict[str, Any]:
        from boto3.dynamodb.conditions import Attr

        return {"ConditionExpression": Attr("token").eq(self.token)}

    def keep(self) -> None:
        """Makes sure that the lock is still ours, before each act that nobody else may interfere with. Raises Lost where it is not.

        Where no renewal was answered for so long that it may have ended, it is renewed here; what that raises is not swallowed.
        """
        if not self.lost and time.time() < self._until - BEAT:
            return
        if not self.lost:
            self._extend()
        if self.lost:
            taken = self.record.table.get_item(Key=self._key).get("Item")
            raise Lost(lost(self.record.environment, taken))

    def _extend(self) -> None:
        until = int(time.time()) + LEASE
        try:
            self._update("until", until)
        except self.record.table.meta.client.exceptions.ConditionalCheckFailedException:
            self.lost = True
        else:
            self._until = until

    def rename(self, what: str) -> None:
        """Says more closely what is going on, to those who are refused."""
        self._update("what", what)
        self.what = what

    def _update(self, name: str, value: object) -> None:
        self.record.table.update_item(
            Key=self._key,
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": value},
            **self._mine(),
        )

    def _renew(self) -> None:
        while not self.lost and not self._end.wait(self.beat):
            with contextlib.suppress(Exception):  # the network may be back at the next beat, before the lease ends
                self._extend()


def _key(record: Record) -> dict[str, str]:
    return {"pk": record.pk, "sk": "lock"}


def holder(record: Record) -> dict[str, Any] | None:
    """Who is deploying now: {who, what, since}. None where nobody is, also where a dead command's lock has ended."""
    found = state(record)
    return {name: found[name] for name in ("who", "what", "since")} if found and not found["ended"] else None


def state(record: Record) -> dict[str, Any] | None:
    """The lock as it lies in the record: {who, what, since, until, ended, token}; None where there is none.

    `until` is when it ends unless it is renewed, which its holder does every BEAT seconds; `ended` says that it has.
    """
    item = record.table.get_item(Key=_key(record), ConsistentRead=True).get("Item")
    if not item:
        return None
    until = datetime.fromtimestamp(int(item["until"]), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    named = {name: str(item[name]) for name in ("who", "what", "since", "token")}
    return named | {"until": until, "ended": int(item["until"]) < time.time()}


def force(record: Record, held: dict[str, Any], *, who: str, reason: str) -> None:
    """Takes a lock away from its holder, if it is still the one that was looked at, and leaves a trace in the record: both or neither.

    Raises Refused where it has changed hands meanwhile.
    """
    client, table = record.table.meta.client, record.table.name
    given_up = {
        "TableName": table,
        "Key": _key(record),
        "ConditionExpression": "#token = :token",
        "ExpressionAttributeNames": {"#token": "token"},
        "ExpressionAttributeValues": {":token": held["token"]},
    }
    at = now()
    trace = {"at": at, "by": who, "reason": reason} | {name: held[name] for name in ("who", "what", "since", "until")}
    noted = {"TableName": table, "Item": trace | {"pk": record.pk, "sk": f"unlock#{at}"}}
    try:
        client.transact_write_items(TransactItems=[{"Delete": given_up}, {"Put": noted}])
    except Exception as error:
        if code(error) != "TransactionCanceledException":
            raise
        raise Refused(
            f"the lock of environment {record.environment} is no longer the one that was looked at: look again with "
            "`lastgood lock-status`"
        ) from None


def forced(record: Record, limit: int = 5) -> list[dict[str, Any]]:
    """The newest locks that were taken away by hand: {at, by, reason} and what `state` says of the lock."""
    found = record.newest("unlock#", limit)
    return [{name: str(value) for name, value in item.items() if name not in ("pk", "sk")} for item in found]


def lost(environment: str, taken: dict[str, Any] | None) -> str:
    """The sentence for a command whose lock somebody else has."""
    by = f"{taken['who']} has it since {taken['since']} ({taken['what']})" if taken else "somebody has taken it away"
    return (
        f"the deploy lock of environment {environment} is no longer ours, {by}: nothing more was touched from there on"
    )


def refusal(environment: str, holder: dict[str, Any] | None) -> str:
    """The sentence for somebody who has to wait."""
    if holder is None:
        return f"environment {environment} was being deployed a moment ago: run the command again"
    until = datetime.fromtimestamp(int(holder["until"]), UTC)
    return (
        f"environment {environment} is being deployed by {holder['who']} since {holder['since']} ({holder['what']}): wait for it; "
        f"if that command is dead, its lock ends by itself at {until:%H:%M:%S} UTC"
    )
