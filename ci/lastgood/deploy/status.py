"""What runs in an environment, and whether it is last good, containers and schema."""

from __future__ import annotations

from typing import Any

from lastgood.aws.errors import code
from lastgood.config.project import WEB
from lastgood.deploy import leftovers, verify
from lastgood.deploy.place import Place
from lastgood.deploy.stack import BACK, DONE, STUCK, settled
from lastgood.errors import Refused
from lastgood.record.lock import Lock, holder
from lastgood.record.release import Release
from lastgood.report.terminal import mapping_lines, table


def status(place: Place, who: str = "") -> dict[str, Any]:
    """The facts, and a `verdict`: empty of problems (`as last good`), or what is wrong.

    A release that a command which died has left pending is ended by what runs, where that can be told already; `who` looks.
    """
    held = holder(place.record)
    left = settle(place, who) if leftovers.is_left(_newest(place), held) else ""
    found = verify.facts(place)
    last, newest = place.record.last_good(), _newest(place)
    return {
        "environment": place.name,
        "stack": place.stack.name,
        "url": verify.url(place.session, place.stack.outputs()),
        "verdict": verdict(found, last.facts.digest if last else None, last.shape if last else ""),
        "last_good": last.as_dict() if last else None,
        "newest": newest.as_dict() if newest else None,
        "lock": held,
        "left": left,
        "running": running(found),
        "processes": processes(place, found),
    }


def processes(place: Place, found: verify.Facts) -> list[dict[str, Any]]:
    """Each process with its digest (several only while they change), tasks, and how the last one that ended did; empty for web alone."""
    if not found.processes:
        return []
    web = verify.Process(WEB, verify.service(place).desired, found.running)
    return [
        {
            "name": one.name,
            "digest": ", ".join(sorted(set(one.running))),
            "running": len(one.running),
            "desired": one.desired,
            "last_exit": verify.last_exit(place.session, one.name),
        }
        for one in (web, *found.processes)
    ]


def settle(place: Place, who: str) -> str:
    """Ends the releases that commands which died have left; returns why that has to wait, empty where it is done."""
    stack = place.stack.status()
    if not settled(stack):
        return f"the stack is still {stack}; when it has ended, this command or the next deploy or rollback ends the release"
    if stack == STUCK:
        return f"the stack is {STUCK}; the next deploy or rollback continues it, and ends the release"
    hindrance = leftovers.hinders(_newest(place), leftovers.look(place))
    if hindrance:
        return f"the stack is {stack}, but {hindrance}; this command later, or the next deploy or rollback, ends the release"
    try:
        with Lock(place.record, who=who or "lastgood status", what="ending what a command that is gone has left"):
            leftovers.end_pending(place, patience=0.0)
    except Refused:
        return "another command has just begun to work on it"
    except Exception as error:
        if not code(error).startswith("AccessDenied"):
            raise
        return "these credentials may only look; the next deploy or rollback ends the release"
    return ""


def _newest(place: Place) -> Release | None:
    return next(iter(place.record.releases(limit=1)), None)


def running(found: verify.Facts) -> dict[str, Any]:
    """What runs: the stack's state, the tasks' digest (several only while they change), and what the application says."""
    return {
        "stack": found.stack,
        "digest": ", ".join(sorted(set(found.running))),
        "tasks": len(found.running),
        "database": found.health.database,
        "answer": found.health.status,
        "detail": found.health.detail,
        "notes": list(found.health.notes),
    }


def verdict(found: verify.Facts, digest: str | None, shape: str = "") -> str:
    """`as last good`, `nothing deployed`, or what is wrong."""
    if digest is None:
        return "nothing deployed" if found.stack is None else "no good release yet"
    wrong = verify.wrong(found, digest, shape=shape)
    if not wrong and found.stack not in (*DONE, *BACK):
        wrong = f"the stack is {found.stack}"
    return wrong or "as last good"


def render_status(facts: dict[str, Any]) -> str:
    """The facts for a terminal."""
    last, newest, found = facts["last_good"], facts["newest"], facts["running"]
    lines = {
        "environment": facts["environment"],
        "verdict": facts["verdict"],
        "last good": "none" if not last else _release(last),
        "stack": f"{facts['stack']}: {found['stack'] or 'none'}",
        "running": f"{found['tasks']} × {found['digest'][:19]}" if found["tasks"] else "nothing",
        "database": "; ".join([found["database"] or found["detail"] or "unknown", *found["notes"]]),
        "address": facts["url"] or "none",
    }
    if newest and (not last or newest["number"] != last["number"]):
        lines["newest"] = f"{_release(newest)}, {newest['state']}"
    if facts["left"]:
        lines["left"] = f"release {newest['number']} is pending, and its command is gone: {facts['left']}"
    if facts["lock"]:
        lines["deploying"] = "{who} since {since} ({what})".format(**facts["lock"])
    if not facts["processes"]:
        return mapping_lines(lines)
    rows = [
        (one["name"], f"{one['running']} of {one['desired']}", one["digest"][:19] or "–", one["last_exit"] or "–")
        for one in facts["processes"]
    ]
    return mapping_lines(lines) + "\n\n" + table(("process", "tasks", "digest", "last exit"), rows)


def _release(release: dict[str, Any]) -> str:
    return (
        f"release {release['number']}, version {release['version']}, build {release['build']}, {release['digest'][:19]}"
    )
