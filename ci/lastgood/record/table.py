"""The release record: which build ran where, when, why and how it ended. One DynamoDB table, outside every stack.

pk                        sk                  what
environment#<name>        release#<number>    one release; `pending` becomes `good` or `failed`, `good` may become `undone`
environment#<name>        last-good           the newest good release
environment#<name>        lock                who is deploying (lock.py)
environment#<name>        unlock#<time>       a lock that a person took away, with the reason
environment#<name>        operation           the newest request to the migration function
build#<digest>            build               what a deploy needs to know of a build
operation#<RequestId>     operation           the migration function's own (migration_resource/record.py)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from lastgood.record.release import OWN, BuildFacts, Release, now
from lastgood.report.text import head

ACTIONS = 100  # that DynamoDB takes in one transaction


class Record:
    """The record of one environment; `table` is the boto3 resource."""

    def __init__(self, table: Any, environment: str) -> None:
        self.table = table
        self.environment = environment
        self.pk = f"environment#{environment}"

    def _get(self, sk: str, pk: str | None = None) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.table.get_item(
            Key={"pk": pk or self.pk, "sk": sk}, ConsistentRead=True
        ).get("Item")
        return found

    def build(self, digest: str) -> BuildFacts | None:
        """The build of that digest, if it was pushed."""
        item = self._get("build", f"build#{digest}")
        return BuildFacts.of(item) if item else None

    def put_build(self, facts: BuildFacts) -> None:
        """Remembers a pushed build; a second time changes nothing that matters, and forgets neither contents nor migrations."""
        own = {name: getattr(facts, name) for name in OWN}
        known = None if all(own.values()) else self.build(facts.digest)
        kept = {name: value or (getattr(known, name) if known else "") for name, value in own.items()}
        item = facts.as_dict() | {name: value for name, value in kept.items() if value}
        self.table.put_item(Item=item | {"pk": f"build#{facts.digest}", "sk": "build"})

    def last_good(self) -> Release | None:
        """The newest good release."""
        item = self._get("last-good")
        return self.release(int(item["number"])) if item else None

    def release(self, number: int) -> Release | None:
        """The release of that number."""
        item = self._get(_sk(number))
        return Release.of(item) if item else None

    def releases(self, limit: int | None = None, before: int | None = None) -> list[Release]:
        """Releases, newest first, at most `limit` of them; with `before` only those with a smaller number."""
        newest = _sk(before - 1) if before is not None else None
        return [Release.of(item) for item in self.newest("release#", limit, newest)]

    def newest(self, prefix: str, limit: int | None = None, until: str | None = None) -> list[dict[str, Any]]:
        """The environment's items whose sort key begins so, the last first, at most `limit`; none that sorts behind `until`."""
        from boto3.dynamodb.conditions import Key

        own = Key("sk").begins_with(prefix) if until is None else Key("sk").between(prefix, until)
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while limit is None or len(found) < limit:
            wanted = {} if limit is None else {"Limit": limit - len(found)}
            page = self.table.query(
                KeyConditionExpression=Key("pk").eq(self.pk) & own,
                ScanIndexForward=False,
                ConsistentRead=True,
                **wanted,
                **more,
            )
            found += page["Items"]
            if "LastEvaluatedKey" not in page:
                break
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        return found[:limit]

    def begin(
        self, kind: str, facts: BuildFacts, *, who: str, reason: str, undoes: Iterable[int] = (), signed: str = ""
    ) -> Release:
        """Writes the next release, `pending`. The caller holds the environment's lock.

        `undoes` are the good releases that it takes back when it becomes good, so that whoever ends it knows them.
        """
        from boto3.dynamodb.conditions import Attr

        newest = self.releases(limit=1)
        number = newest[0].number + 1 if newest else 1
        release = Release(number, "pending", kind, facts, who, now(), reason, undoes=tuple(undoes), signed=signed)
        self.table.put_item(
            Item=release.as_dict() | {"pk": self.pk, "sk": _sk(number)}, ConditionExpression=Attr("pk").not_exists()
        )
        return release

    def good(self, release: Release, *, undone: list[str], applied: list[str]) -> Release:
        """Ends a pending release as `good`: it is last good from now on, and the releases that it `undoes` are `undone`.

        One transaction, as far as DynamoDB takes them: what runs is never in doubt. Where more are undone than it holds, the rest follows,
        oldest last; what a command that dies there leaves, take_back() finishes.
        """
        ended = now()
        own = self._end(release.number, "pending", "good", ended, undone=undone, applied=applied)
        last = release.facts.as_dict() | {"pk": self.pk, "sk": "last-good", "number": release.number, "since": ended}
        numbers = sorted(release.undoes, reverse=True)
        first = [self._end(number, "good", "undone") for number in numbers[: ACTIONS - 2]]
        put = {"Put": {"TableName": self.table.name, "Item": last}}
        self.table.meta.client.transact_write_items(TransactItems=[own, *first, put])
        self._take_back(numbers[ACTIONS - 2 :])
        return self._again(release)

    def take_back(self, release: Release) -> int:
        """Writes `undone` at what a good release undoes and what is still `good`; returns how many those were.

        There are none, unless a command died while it wrote down a rollback over very many releases.
        """
        if len(release.undoes) <= ACTIONS - 2:
            return 0
        own = set(release.undoes)
        left = [one.number for one in self.releases(before=release.number) if one.number in own and one.state == "good"]
        self._take_back(left)
        return len(left)

    def _take_back(self, numbers: list[int]) -> None:
        for start in range(0, len(numbers), ACTIONS):
            writes = [self._end(number, "good", "undone") for number in numbers[start : start + ACTIONS]]
            self.table.meta.client.transact_write_items(TransactItems=writes)

    def failed(self, release: Release, cause: str, *, undone: list[str], applied: list[str]) -> Release:
        """Ends a pending release as `failed`; last good stays what it was. Nothing happens to one that has already ended."""
        ended = self._end(
            release.number, "pending", "failed", now(), cause=head(cause, 4000), undone=undone, applied=applied
        )
        write = {name: value for name, value in ended["Update"].items() if name != "TableName"}
        with contextlib.suppress(self.table.meta.client.exceptions.ConditionalCheckFailedException):
            self.table.update_item(**write)
        return self._again(release)

    def remark(self, release: Release, why: str) -> None:
        """Notes at a pending release why nobody watches it any more. Nothing happens to one that has ended."""
        noted = self._end(release.number, "pending", "pending", cause=head(why, 4000))
        write = {name: value for name, value in noted["Update"].items() if name != "TableName"}
        with contextlib.suppress(self.table.meta.client.exceptions.ConditionalCheckFailedException):
            self.table.update_item(**write)

    def _again(self, release: Release) -> Release:
        return self.release(release.number) or release

    def _end(self, number: int, before: str, after: str, ended: str = "", **facts: Any) -> dict[str, Any]:
        values = {"state": after} | ({"ended": ended} if ended else {}) | facts
        return {
            "Update": {
                "TableName": self.table.name,
                "Key": {"pk": self.pk, "sk": _sk(number)},
                "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
                "ConditionExpression": "#state = :before",
                "ExpressionAttributeNames": {f"#{name}": name for name in values},
                "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}
                | {":before": before},
            }
        }

    def operation(self) -> dict[str, Any] | None:
        """The newest request to the migration function in this environment: `hops`, `state`, `status`, `reason`, `started`."""
        pointer = self._get("operation")
        return self._get("operation", f"operation#{pointer['request']}") if pointer else None


def _sk(number: int) -> str:
    return f"release#{number:08d}"
