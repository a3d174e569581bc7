"""The decision: facts in, what to do next out."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_HOPS = 8  # tasks that move the database for one request
MAX_BUSY = 10  # further tries while someone else holds the migration lock
REASON_LIMIT = 1500  # characters; CloudFormation takes 4,096 bytes for the whole answer

Item = dict[str, Any]


def next_step(operation: Item, outcome: Item) -> Item:
    """Says what follows the hop that has just ended.

    `operation`: `wanted` and `old` (each {build, digest}; `old` may be None) and `hops`, the ended one last.
    `outcome`: `exit` (None: the container never ran), `result` (the migrator's last line or None), `stopped` (ECS's
    reason), `log` (lines).
    Returns {"run": hop} or {"answer": "SUCCESS" | "FAILED", "reason": text}.
    """
    hop = operation["hops"][-1]
    result = outcome["result"] or {}
    code = outcome["exit"]
    if code == 0 and hop["direction"] == "forward" and hop["digest"] == operation["wanted"]["digest"]:
        in_step = "the database is in step with build " + operation["wanted"]["build"]
        return {"answer": "SUCCESS", "reason": result.get("reason") or in_step}
    if code == 0:
        return _run(operation, operation["wanted"], "forward")
    if code == 75:
        busy = [past.get("exit") for past in operation["hops"]].count(75)
        if busy <= MAX_BUSY:
            return {"run": hop_by(hop, hop["direction"], busy=busy)}
        return _failed(hop, outcome, f"the database was still busy at the last of {busy} tries")
    if code == 3:
        needed = _needed(operation, hop, result)
        if needed is None:
            return _failed(
                hop, outcome, result.get("reason") or "nobody knows the build that must undo what is applied"
            )
        if needed["digest"] == hop["digest"]:
            return _failed(hop, outcome, f"build {hop['build']} asked for itself")
        return _run(operation, needed, result.get("needs_direction") or "back")
    if code is None:
        return _failed(hop, outcome, "the task did not start")
    return _failed(hop, outcome, result.get("reason") or f"exit status {code}")


def _needed(operation: Item, hop: Item, result: Item) -> Item | None:
    """The build that must undo something first: named by the ledger, else the one that CloudFormation replaces."""
    if result.get("needs_digest"):
        return {"build": result.get("needs") or "unknown", "digest": result["needs_digest"]}
    if result.get("needs") == operation["wanted"]["build"]:
        return dict(operation["wanted"])
    old = operation.get("old")
    asked_before = any(past["direction"] == "back" for past in operation["hops"])
    if old and not asked_before and old["digest"] != hop["digest"]:
        return dict(old)
    return None


def _run(operation: Item, build: Item, direction: str) -> Item:
    hops = operation["hops"]
    if sum(1 for past in hops if past.get("exit") != 75) >= MAX_HOPS:
        route = " -> ".join(f"{past['direction']} by {past['build']}" for past in hops)
        return {"answer": "FAILED", "reason": f"no end after {MAX_HOPS} release tasks: {route}"[:REASON_LIMIT]}
    return {"run": hop_by(build, direction)}


def hop_by(build: Item, direction: str, busy: int = 0) -> Item:
    """A hop that is to be run; `busy`: the tries before it that met somebody else's lock."""
    return {"build": build["build"], "digest": build["digest"], "direction": direction, "busy": busy}


def _failed(hop: Item, outcome: Item, why: str) -> Item:
    cause = f"{hop['direction']} by build {hop['build']}: {why}"
    if outcome["exit"] is None or outcome["exit"] == 137:
        cause += f" ({outcome['stopped']})" if outcome["stopped"] else ""
    lines = [line for line in outcome["log"] if as_object(line) is None]
    room = REASON_LIMIT - len(cause) - len("\nlast log lines:\n")
    tail = "\n".join(lines)[-room:] if room > 0 else ""
    reason = f"{cause}\nlast log lines:\n{tail}" if tail else cause
    return {"answer": "FAILED", "reason": without_secrets(reason)[:REASON_LIMIT]}


def without_secrets(text: str) -> str:
    """The text with the user and password of every URL hidden."""
    return re.sub(r"://[^\s/@]+@", "://...@", text)


def as_object(line: str) -> Item | None:
    """The JSON object that the line is; None where it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
