"""One-off runs in the release record: who ran what with which build, when, and how it ended.

pk                        sk                  what
environment#<name>        run#<time>#<task>   one run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lastgood.record.release import now
from lastgood.record.table import Record
from lastgood.report.text import head


def begin(record: Record, *, task: str, who: str, process: str, command: Sequence[str], digest: str) -> str:
    """Notes a run that has begun; returns its key. What looks like a secret in the command is masked."""
    at = now()
    item = {"who": who, "process": process, "command": head(" ".join(command), 1000), "digest": digest, "started": at}
    key = f"run#{at}#{task}"
    record.table.put_item(Item=item | {"pk": record.pk, "sk": key})
    return key


def end(record: Record, key: str, said: str) -> None:
    """Notes how a run ended."""
    record.table.update_item(
        Key={"pk": record.pk, "sk": key},
        UpdateExpression="SET #ended = :ended, #said = :said",
        ExpressionAttributeNames={"#ended": "ended", "#said": "said"},
        ExpressionAttributeValues={":ended": now(), ":said": said},
    )


def newest(record: Record, limit: int = 20) -> list[dict[str, Any]]:
    """The newest runs: {started, who, process, command, digest} and, of those that somebody saw end, {ended, said}."""
    return [
        {key: str(value) for key, value in item.items() if key not in ("pk", "sk")}
        for item in record.newest("run#", limit)
    ]
