"""The releases of an environment, newest first."""

from __future__ import annotations

from typing import Any

from lastgood.deploy.place import Place
from lastgood.errors import UsageError
from lastgood.report.terminal import table
from lastgood.report.text import masked


def history(place: Place, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """At most `limit` releases as JSON-able facts; with `before` only those with a smaller number.

    Raises UsageError for a number that makes no sense.
    """
    for name, value in (("--limit", limit), ("--before", before)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}: it must be at least 1")
    return [{"environment": place.name} | one.as_dict() for one in place.record.releases(limit, before)]


def render_history(releases: list[dict[str, Any]], limit: int | None = None) -> str:
    """A table for a terminal; where it is `limit` releases long, with the command for those before."""
    if not releases:
        return "no release yet"
    header = ("release", "state", "kind", "version", "build", "who", "started", "why")
    rows = [
        (
            str(one["number"]),
            one["state"],
            one["kind"],
            one["version"],
            one["build"],
            one["who"],
            one["started"][:19].replace("T", " "),
            masked(one["cause"] or one["reason"]).partition("\n")[0][:60],
        )
        for one in releases
    ]
    text = table(header, rows, right=(0,))
    oldest = releases[-1]
    if limit is None or len(releases) < limit or oldest["number"] == 1:
        return text
    return f"{text}\nthose before: lastgood history --environment {oldest['environment']} --before {oldest['number']}"
