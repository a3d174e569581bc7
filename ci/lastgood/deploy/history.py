"""The releases of an environment, newest first."""

from __future__ import annotations

from typing import Any

from lastgood.aws.errors import explained
from lastgood.deploy.place import Place
from lastgood.report.terminal import table
from lastgood.report.text import masked


@explained
def history(place: Place, limit: int) -> list[dict[str, Any]]:
    """At most `limit` releases as JSON-able facts."""
    return [{"environment": place.name} | one.as_dict() for one in place.record.releases(limit)]


def render_history(releases: list[dict[str, Any]]) -> str:
    """A table for a terminal."""
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
    return table(header, rows, right=(0,))
