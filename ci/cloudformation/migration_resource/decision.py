"""The decision: facts in, what to do next out.

An operation is one request of CloudFormation. BECOMES is its states:

    waiting    the request before may still have a task: that is stopped first
    running    its last hop is to be started, or runs
    stopping   a newer request is there, or no time is left: its task has been told to stop
    answering  status and reason are written down: CloudFormation is to be told
    answered   the end

A hop is started when `started` is written, before ECS is asked, and over when `ended` is. A request that comes changes
the one before it to `stopping` in the same transaction that opens it, and no hop is started but from `running`, so of
two requests one moves the database. An operation is at rest when no hop of it, or of one before it, is under way.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_HOPS = 8  # tasks that move the database for one request
MAX_BUSY = 10  # further tries while someone else holds the migration lock
MAX_STARTS = {False: 3, True: 40}  # further tries where ECS could not start the task; more of them on the way back
REASON_LIMIT = 1500  # bytes; CloudFormation takes 4,096 for the whole answer
BECOMES = {
    "waiting": ("running", "stopping", "answering"),
    "running": ("running", "stopping", "answering"),
    "stopping": ("stopping", "answering"),
    "answering": ("answered",),
    "answered": (),
}
FLEETING = re.compile(r"RESOURCE:|CannotPull|ResourceInitialization|(?i:capacity|network interface|time.?out|throttl)")
LASTING = re.compile(
    r"not found|manifest unknown|does not exist|denied|not authorized", re.IGNORECASE
)  # where it goes forward

Item = dict[str, Any]


def next_action(operation: Item, facts: Item) -> str:
    """Says what is done with an operation now: the name of an action of handler.py, or "" for nothing.

    `facts`: `task` (what ECS knows of the last hop's task: none, starting, runs, stopped or gone), `late` (no time is
    left), `early` (the hop is to wait), `ahead` (whether the request before still has a task), `abandoned` (nobody
    waits for an answer any more).
    """
    state, task = operation["state"], facts["task"]
    if state == "waiting":
        return "begin" if not facts["ahead"] else "give_up" if facts["late"] else ""
    if state == "running":
        if task == "stopped":
            return "advance"
        if task == "gone" or (task == "none" and facts["late"]):
            return "give_up"
        if task == "runs":
            return "stop" if facts["late"] else ""
        return "" if facts["early"] else "start"
    if state == "answering":
        return "forget" if facts["abandoned"] else "tell"
    if task in ("runs", "starting"):
        return "stop" if task == "runs" else ""
    if state == "stopping":
        return "" if facts["ahead"] else "finish"
    return "note_end" if under_way(operation) else ""


def under_way(operation: Item) -> bool:
    """Whether the last hop was started and is not known to be over."""
    return any("started" in hop and "ended" not in hop for hop in operation["hops"][-1:])


def time_limit(seconds: int) -> int:
    """Seconds of those that CloudFormation waits, after which a task is stopped: so it can end, and the reason be told."""
    return seconds - min(180, seconds // 4)


def is_way_back(wanted: Item, old: Item | None, before: Item | None) -> bool:
    """Whether a request undoes the one before: CloudFormation's rollback is the same update with old and new swapped."""
    return bool(before and old and before.get("old") == wanted and before["wanted"] == old)


def is_older(release: str, other: str) -> bool:
    """Whether a release was asked for before the other: `12`, then `12-restore`, then `13`."""
    order = [(int(number or 0), bool(rest)) for number, _, rest in (one.partition("-") for one in (release, other))]
    return order[0] < order[1]


def next_step(operation: Item, outcome: Item) -> Item:
    """Says what follows the hop that has just ended.

    `operation`: `wanted` and `old` (each {build, digest}; `old` may be None), `way_back` and `hops`, the ended one last.
    `outcome`: `exit` (None: the container never ran), `result` (the migrator's last line or None), `pushed` (whether
    the release record knows the build that it names), `code` and `stopped` (ECS's stop code and reason), `log` (lines).
    Returns {"run": hop} or {"answer": "SUCCESS" | "FAILED", "reason": text}.
    """
    hop = operation["hops"][-1]
    result = outcome["result"] or {}
    code = outcome["exit"]
    if code == 0 and hop["direction"] == "forward" and hop["digest"] == operation["wanted"]["digest"]:
        in_step = "the database is in step with build " + operation["wanted"]["build"]
        return {"answer": "SUCCESS", "reason": shortened(result.get("reason") or in_step)}
    if code == 0:
        return _run(operation, operation["wanted"], "forward")
    if code == 75:
        busy = [past.get("exit") for past in operation["hops"]].count(75)
        if busy <= MAX_BUSY:
            return {"run": hop_by(hop, hop["direction"], min(2**busy, 15))}
        return _failed(hop, outcome, f"the database was still busy at the last of {busy} tries")
    if code == 3:
        return _hand_over(operation, hop, outcome, result)
    if code is None:
        return _not_started(operation, hop, outcome)
    return _failed(hop, outcome, result.get("reason") or f"exit status {code}")


def _hand_over(operation: Item, hop: Item, outcome: Item, result: Item) -> Item:
    """Another build must go first."""
    needed = _needed(operation, hop, result)
    if needed is None:
        return _failed(hop, outcome, result.get("reason") or "nobody knows the build that must undo what is applied")
    if needed["digest"] == hop["digest"]:
        return _failed(hop, outcome, f"build {hop['build']} asked for itself")
    known = [build["digest"] for build in (operation["wanted"], operation.get("old")) if build]
    if needed["digest"] not in known and not outcome["pushed"]:
        unknown = (
            f"build {needed['build']} ({needed['digest']}) must go first, and the release record has no such build"
        )
        return _failed(hop, outcome, f"{unknown}: push it again, then deploy again")
    return _run(operation, needed, result.get("needs_direction") or "back")


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


def _not_started(operation: Item, hop: Item, outcome: Item) -> Item:
    """ECS had no room, or could not pull: that passes. It is worth more time on the way back, where nothing else helps."""
    back = hop["direction"] == "back" or bool(operation.get("way_back"))
    tries = 0
    for past in reversed(operation["hops"]):
        if past.get("exit") is not None or past["digest"] != hop["digest"]:
            break
        tries += 1
    passes = FLEETING.search(outcome["stopped"]) and (back or not LASTING.search(outcome["stopped"]))
    if outcome["code"] != "TaskFailedToStart" or not passes:
        return _failed(hop, outcome, "the task did not start")
    if tries > MAX_STARTS[back]:
        return _failed(hop, outcome, f"the task did not start in {tries} tries")
    return {"run": hop_by(hop, hop["direction"], min(5 * 2 ** (tries - 1), 60))}


def _run(operation: Item, build: Item, direction: str) -> Item:
    hops = operation["hops"]
    if sum(1 for past in hops if past.get("exit", 0) not in (75, None)) >= MAX_HOPS:
        route = " -> ".join(f"{past['direction']} by {past['build']}" for past in hops)
        return {"answer": "FAILED", "reason": shortened(f"no end after {MAX_HOPS} release tasks: {route}")}
    return {"run": hop_by(build, direction)}


def hop_by(build: Item, direction: str, wait: int = 0) -> Item:
    """A hop that is to be run, after `wait` seconds."""
    return {"build": build["build"], "digest": build["digest"], "direction": direction, "wait": wait}


def _failed(hop: Item, outcome: Item, why: str) -> Item:
    cause = f"{hop['direction']} by build {hop['build']}: {why}"
    if outcome["exit"] is None or outcome["exit"] == 137:
        cause += f" ({outcome['stopped']})" if outcome["stopped"] else ""
    return {"answer": "FAILED", "reason": with_log(cause, outcome["log"])}


def with_log(cause: str, log: list[str]) -> str:
    """The cause, and below it as many of the last lines as there is room for. Masked whole, and only then cut."""
    head = shortened(cause)
    lines = without_secrets("\n".join(line for line in log if as_object(line) is None))
    title = "\nlast log lines:\n"
    room = REASON_LIMIT - len((head + title).encode())
    whole = lines.encode()
    tail = lines if len(whole) <= room else whole[-max(room, 1) :].decode(errors="ignore")
    if len(whole) > room and "\n" in tail:  # a line that began before the cut is not shown in half
        tail = tail.partition("\n")[2]
    return head + title + tail if tail.strip() and room > 0 else head


def shortened(text: str, limit: int = REASON_LIMIT) -> str:
    """The text without secrets, and then at most `limit` bytes of it."""
    return without_secrets(text).encode()[:limit].decode(errors="ignore")


_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s"',;&]\S*)"""
_SECRETS = (
    (re.compile(r"://\S*@"), "://...@"),  # up to the last @: a password may hold any of :/@"'
    (
        re.compile(
            r"""((?:passw(?:or)?d|pwd|secret|token|signature|credentials?|[_-]key)\w*["']?\s*(?:=>|[=:])\s*|\b(?:api)?key=)"""
            + _QUOTED,
            re.IGNORECASE,
        ),
        r"\1...",
    ),
)


def without_secrets(text: str) -> str:
    """The text with the user and password of every URL hidden, and what a name that says "secret" is set to."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def as_object(line: str) -> Item | None:
    """The JSON object that the line is; None where it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
