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

from lastgood.errors import Refused
from lastgood.record.release import now
from lastgood.record.table import Record

LEASE = 60  # seconds until a lock that nobody renews is free
BEAT = 15.0  # seconds between renewals


class Lock:
    """The environment's lock, as a context manager; `lost` says that somebody else has taken it over."""

    def __init__(self, record: Record, *, who: str, what: str, beat: float = BEAT) -> None:
        self.record = record
        self.who = who
        self.what = what
        self.beat = beat
        self.token = uuid.uuid4().hex
        self.lost = False
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
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=self.beat)
        with contextlib.suppress(self.record.table.meta.client.exceptions.ConditionalCheckFailedException):
            self.record.table.delete_item(Key=self._key, **self._mine())

    def _mine(self) -> dict[str, Any]:
        from boto3.dynamodb.conditions import Attr

        return {"ConditionExpression": Attr("token").eq(self.token)}

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
        conflict = self.record.table.meta.client.exceptions.ConditionalCheckFailedException
        while not self._end.wait(self.beat):
            try:
                self._update("until", int(time.time()) + LEASE)
            except conflict:
                self.lost = True
                return
            except Exception:  # noqa: S112  (the network may be back at the next beat, before the lease ends)
                continue


def _key(record: Record) -> dict[str, str]:
    return {"pk": record.pk, "sk": "lock"}


def holder(record: Record) -> dict[str, Any] | None:
    """Who is deploying now: {who, what, since}."""
    item = record.table.get_item(Key=_key(record)).get("Item")
    if not item or int(item["until"]) < time.time():
        return None
    return {name: str(item[name]) for name in ("who", "what", "since")}


def refusal(environment: str, holder: dict[str, Any] | None) -> str:
    """The sentence for somebody who has to wait."""
    if holder is None:
        return f"environment {environment} was being deployed a moment ago: run the command again"
    until = datetime.fromtimestamp(int(holder["until"]), UTC)
    return (
        f"environment {environment} is being deployed by {holder['who']} since {holder['since']} ({holder['what']}): wait for it; "
        f"if that command is dead, its lock ends by itself at {until:%H:%M:%S} UTC"
    )
