"""The release record: which build ran where, when, why and how it ended. One DynamoDB table, outside every stack.

pk                        sk                  what
environment#<name>        release#<number>    one release; `pending` becomes `good` or `failed`, `good` may become `undone`
environment#<name>        last-good           the newest good release
environment#<name>        lock                who is deploying (lock.py)
environment#<name>        operation           the newest request to the migration function
build#<digest>            build               what a deploy needs to know of a build
operation#<RequestId>     operation           the migration function's own (migration_resource/record.py)
"""

from __future__ import annotations

import contextlib
from typing import Any

from lastgood.record.release import BuildFacts, Release, now


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
        """Remembers a pushed build; a second time changes nothing that matters, and forgets no contents."""
        known = None if facts.contents else self.build(facts.digest)
        contents = known.contents if known else facts.contents
        item = facts.as_dict() | ({"contents": contents} if contents else {})
        self.table.put_item(Item=item | {"pk": f"build#{facts.digest}", "sk": "build"})

    def last_good(self) -> Release | None:
        """The newest good release."""
        item = self._get("last-good")
        return self.release(int(item["number"])) if item else None

    def release(self, number: int) -> Release | None:
        """The release of that number."""
        item = self._get(_sk(number))
        return Release.of(item) if item else None

    def releases(self, limit: int | None = None) -> list[Release]:
        """Releases, newest first, at most `limit` of them."""
        from boto3.dynamodb.conditions import Key

        found: list[Release] = []
        start: dict[str, Any] = {}
        while limit is None or len(found) < limit:
            page = self.table.query(
                KeyConditionExpression=Key("pk").eq(self.pk) & Key("sk").begins_with("release#"),
                ScanIndexForward=False,
                ConsistentRead=True,
                **start,
            )
            found += [Release.of(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        return found[:limit]

    def begin(self, kind: str, facts: BuildFacts, *, who: str, reason: str) -> Release:
        """Writes the next release, `pending`. The caller holds the environment's lock."""
        from boto3.dynamodb.conditions import Attr

        newest = self.releases(limit=1)
        number = newest[0].number + 1 if newest else 1
        release = Release(number, "pending", kind, facts, who, now(), reason)
        self.table.put_item(
            Item=release.as_dict() | {"pk": self.pk, "sk": _sk(number)}, ConditionExpression=Attr("pk").not_exists()
        )
        return release

    def good(self, release: Release, *, undoes: list[int], undone: list[str], applied: list[str]) -> Release:
        """Ends a pending release as `good`: it is last good from now on, and the releases numbered in `undoes` are `undone`."""
        ended = now()
        writes = [self._end(release.number, "pending", "good", ended, undone=undone, applied=applied)]
        writes += [self._end(number, "good", "undone") for number in undoes]
        last = release.facts.as_dict() | {"pk": self.pk, "sk": "last-good", "number": release.number, "since": ended}
        writes.append({"Put": {"TableName": self.table.name, "Item": last}})
        self.table.meta.client.transact_write_items(TransactItems=writes)
        return self._again(release)

    def failed(self, release: Release, cause: str, *, undone: list[str], applied: list[str]) -> Release:
        """Ends a pending release as `failed`; last good stays what it was. Nothing happens to one that has already ended."""
        ended = self._end(
            release.number, "pending", "failed", now(), cause=cause[:4000], undone=undone, applied=applied
        )
        write = {name: value for name, value in ended["Update"].items() if name != "TableName"}
        with contextlib.suppress(self.table.meta.client.exceptions.ConditionalCheckFailedException):
            self.table.update_item(**write)
        return self._again(release)

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
