"""What the tasks of an environment write: all processes, jobs and release tasks together, or one of them."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lastgood.aws.errors import patiently
from lastgood.config.near import nearest
from lastgood.config.project import WEB
from lastgood.deploy import template, verify
from lastgood.deploy.place import Place
from lastgood.errors import Refused, UsageError
from lastgood.report.text import line, masked

RELEASE = "release"
PATIENCE = 120.0  # seconds for a network to come back
BACK = 15.0  # seconds that a later look begins before what was seen last: lines come late, and not in order
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Line:
    """One line: when (milliseconds since 1970), which process, of which task, and what it says."""

    at: int
    process: str
    task: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {"at": self.at, "process": self.process, "task": self.task, "text": self.text}


@dataclass
class Wanted:
    """Which lines: of one process (empty: all), since a moment, only those that `pattern` is found in."""

    process: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=10))
    pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, process: str, since: str, pattern: str, now: datetime) -> Wanted:
        """From the command line: `since` as 10m, 2h, 1d or a time in ISO 8601. Raises UsageError for what can't be meant."""
        try:
            found = re.compile(pattern) if pattern else None
        except re.error as error:
            raise UsageError(f"--grep {pattern!r} is no regular expression: {error}") from None
        return cls(process, moment(since, now), found)


def moment(text: str, now: datetime) -> datetime:
    """A time said as so long ago (10m, 2h, 1d), or as ISO 8601 has it (without a zone: UTC)."""
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago:
        return now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r} must be so long ago, as 10m, 2h or 1d, or a time as 2027-01-31T03:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def follow(place: Place, wanted: Wanted, write: Callable[[Line], None], *, on: bool) -> None:
    """Hands the lines to `write` in their order; with `on` goes on until it is interrupted. Raises Refused where nothing is deployed."""
    outputs = place.stack.outputs()
    group = outputs.get("LogGroupName")
    if not group:
        raise Refused(f"nothing is deployed to environment {place.name}: there is no log")
    known = [WEB, *verify.names(outputs), RELEASE, *([template.JOB] if outputs.get(template.JOBS) else [])]
    if wanted.process and wanted.process not in known:
        raise UsageError(
            f"environment {place.name} has no process {wanted.process!r}{nearest(wanted.process, known)}: it has {', '.join(known)}"
        )
    logs, since = place.session.client("logs"), int(wanted.since.timestamp() * 1000)
    seen: set[str] = set()
    while True:
        look = functools.partial(_events, logs, group, wanted.process, since)
        found = patiently(look, seconds=PATIENCE, pause=place.stack.pause)
        for event in sorted((one for one in found if one["eventId"] not in seen), key=lambda one: one["timestamp"]):
            seen.add(event["eventId"])
            for one in lines(event, wanted):
                write(one)
        if not on:
            return
        if found:
            since = max(since, max(one["timestamp"] for one in found) - int(BACK * 1000))
            seen &= {one["eventId"] for one in found}
        time.sleep(place.stack.pause)


def _events(logs: Any, group: str, process: str, since: int) -> list[dict[str, Any]]:
    which = {"logStreamNamePrefix": f"{process}/"} if process else {}
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since, **which)
    return [
        one for page in pages for one in page["events"] if not process or one["logStreamName"].startswith(f"{process}/")
    ]


def lines(event: dict[str, Any], wanted: Wanted) -> Iterator[Line]:
    """The lines of one event, secrets masked."""
    process, _, task = str(event["logStreamName"]).partition("/")
    for text in masked(str(event["message"])).splitlines():
        if text.strip() and (wanted.pattern is None or wanted.pattern.search(text)):
            yield Line(int(event["timestamp"]), process, task.rpartition("/")[2], text)


def render(one: Line) -> str:
    """A line for a terminal."""
    at = datetime.fromtimestamp(one.at / 1000, UTC)
    return f"{at:%H:%M:%S} {one.process} {one.task[:8]}  {line(one.text)}"
