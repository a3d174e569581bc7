"""Runs faults, one after the other, and writes down what came of each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from faults.declared import FAULTS, Fault
from faults.rig import HERE, NotMade, Rig, until

FILE = HERE / "results.json"
Result = dict[str, Any]


class Client:
    """The client at 50 requests a second, while the context lasts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: dict[str, Any] = {}

    def __enter__(self) -> Client:
        command = [sys.executable, "-P", str(HERE / "client.py"), f"{self.url}/"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        out, _errors = self._process.communicate()
        self.got = json.loads(out)


def play(rig: Rig, fault: Fault) -> tuple[Result, bool]:
    """Makes one fault; returns what came of it, and whether the cloud is sound again. Raises nothing that the fault is to blame for."""
    begun = time.monotonic()
    sound = False
    result: Result = {"exit": None, "runs": "", "release": "", "next": "", "problems": []}
    wrong: list[str] = result["problems"]
    before = rig.rows()
    with Client(rig.cloud.site_url) as client:
        try:
            result["exit"] = fault.make(rig)
            if result["exit"] not in fault.exits:
                wrong.append(f"exit status {result['exit']}, not {' or '.join(map(str, fault.exits))}")
        except NotMade as error:
            wrong.append(f"not made: {error}")
        try:
            ended_new = _settle(rig, fault, before, result)
            _next(rig, ended_new, before, result)
            sound = result["next"] in ("deploy", "rollback")
        except (NotMade, subprocess.TimeoutExpired) as error:
            wrong.append(str(error))
    result |= {name: client.got[name] for name in ("asked", "failed", "kinds")}
    result["seconds"] = round(time.monotonic() - begun)
    if result["failed"] and not fault.unanswered:
        wrong.append(f"{result['failed']} of {result['asked']} answers failed: {result['kinds']}")
    return result, sound


def _settle(rig: Rig, fault: Fault, rows: str, result: Result) -> bool:
    """Takes the fault away, waits until all is at rest, and looks at everything. Returns whether the new build is last good."""
    wrong: list[str] = result["problems"]
    rig.calm()
    until(rig.settled, "the stack's end")
    held = rig.lock()
    if held and (result["exit"] is None or result["exit"] < 0 or result["exit"] == 4):
        rig.run("unlock", "--environment", "local", "--force", "--reason", "its command is dead")
    elif held:
        wrong.append(f"the lock is stuck: {held['what']}")
    status: dict[str, Any] = {}

    def in_order() -> bool:
        nonlocal status
        status = rig.status()
        return str(status["verdict"]) == "as last good"

    try:
        until(in_order, "last good")
    except NotMade:
        wrong.append(f"the verdict is {status['verdict']}; the stack is {rig.stack()}")
    last, newest = status["last_good"]["digest"], status["newest"]["state"]
    named = {digest: name for name, digest in rig.digests.items()}
    runs = named.get(last, last)
    result |= {"runs": runs, "release": newest, "cause": status["newest"].get("cause", "").partition("\n")[0][:200]}
    if fault.ends != "either" and (runs == "new") != (fault.ends == "new"):
        wrong.append(f"last good is {runs}, not {fault.ends}")
    if fault.release not in ("either", newest):
        wrong.append(f"the newest release is {newest}, not {fault.release}")
    _look(rig, runs, rows, wrong)
    return bool(runs == "new")


def _look(rig: Rig, runs: str, rows: str, wrong: list[str]) -> None:
    """Rows, schema, and what is left behind."""
    if rig.rows() != rows:
        wrong.append("rows were lost or changed")
    known = rig.schemas.setdefault(runs, rig.schema())
    if rig.schema() != known:
        wrong.append(f"the schema is not that of {runs}")
    try:
        until(lambda: not rig.orphans(), "the end of what is left behind", seconds=90)
    except NotMade:
        wrong.append(f"left behind: {', '.join(rig.orphans())}")


def _next(rig: Rig, ended_new: bool, rows: str, result: Result) -> None:
    """The next release: back where the new build is last good, else the other build of the same schema."""
    wrong: list[str] = result["problems"]
    if ended_new:
        result["next"] = "rollback"
        command = ["rollback", "--to", rig.digests[rig.base]]
        wanted = rig.base
    else:
        result["next"] = "deploy"
        wanted = "other" if rig.base == "old" else "old"
        command = ["deploy", "--digest", rig.digests[wanted]]
    tool = rig.tool(*command, "--environment", "local", "--reason", "the next release")
    status = tool.wait()
    if status:
        result["next"] += f": exit status {status}"
        wrong.append(f"the next {command[0]} ended with {status}: {tool.said()[-800:]}")
        return
    rig.base = wanted  # the command has verified it
    if rig.rows() != rows or rig.schema() != rig.schemas[wanted]:
        wrong.append(f"after the next {command[0]} rows or schema are not as before")


def run(root: Path, names: Iterable[str], say: Callable[[str], None], note: Callable[[str, Result], None]) -> bool:
    """Runs the faults of those names (none: all) in a cloud below `root`; returns whether all came out as declared.

    After one that has left the cloud unsound it is made anew: the next is not to stand on what is wrong.
    """
    wanted = list(names)
    known = {one.name: one for one in FAULTS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"there is no fault {', '.join(unknown)}")
    chosen = [known[name] for name in wanted or known]
    held, number, rig = True, 0, None
    try:
        for fault in chosen:
            if rig is None:
                number += 1
                folder = root / str(number)
                folder.mkdir(parents=True)
                rig = Rig(folder)
                rig.begin()
            result, sound = play(rig, fault)
            note(fault.name, result)
            say(line(fault, result))
            held = held and not result["problems"]
            if not sound:
                rig.end()
                rig = None
    finally:
        if rig:
            rig.end()
    return held


def line(fault: Fault, result: Result) -> str:
    """One line for a terminal."""
    mark = "✗" if result["problems"] else "✓"
    text = f"{mark} {fault.station}: {fault.what} [{fault.name}]  exit {result['exit']}, {result['runs']} runs, {result['release']}"
    text += f"; {result['failed']} of {result['asked']} failed {result['kinds'] or ''}; {result['seconds']} s"
    return text + "".join(f"\n    {one}" for one in result["problems"])
