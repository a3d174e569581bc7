"""The releases of an environment, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lastgood.deploy.aws import Session, explained
from lastgood.deploy.record import Record
from lastgood.report.terminal import table

if TYPE_CHECKING:
    from lastgood.config.project import Project


@explained
def history(project: Project, environment: str, limit: int) -> list[dict[str, Any]]:
    """At most `limit` releases as JSON-able facts."""
    releases = Record(Session(project, environment), environment).releases(limit)
    return [{"environment": environment} | one.as_dict() for one in releases]


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
            (one["cause"] or one["reason"]).partition("\n")[0][:60],
        )
        for one in releases
    ]
    return table(header, rows, right=(0,))
