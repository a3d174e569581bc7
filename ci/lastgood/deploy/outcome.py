"""How a release that failed is told: while it goes back, in one line; at the end, with its whole cause, what runs, and what to type."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.deploy.removal import removal
from lastgood.deploy.restore import Restored
from lastgood.deploy.stack import BACK, DONE, STUCK, settled
from lastgood.deploy.verify import Facts
from lastgood.errors import FailedNotRestored, FailedRestored, LastgoodError
from lastgood.record.release import Release
from lastgood.report.terminal import counted
from lastgood.report.text import masked

INTERRUPTED = "interrupted by hand"
NOT_WAITED = "the command was interrupted again while the stack was going back: `lastgood status` says where it ended"
_SHORT = 120  # characters of the cause in the line of progress


@dataclass(frozen=True)
class Ending:
    """What the end of a release is told of: its number, the environment, and last good (None: there is none)."""

    number: int
    environment: str
    last: Release | None

    @property
    def recorded(self) -> str:
        """Last good, in words."""
        if self.last is None:
            return "there is no last good"
        return f"last good is release {self.last.number} (build {self.last.facts.build})"


def turn(cause: str) -> str:
    """The line of progress where the way back begins: why, as short as it goes. The whole cause is told at the end, beside what is back."""
    first = masked(cause).partition("\n")[0]
    short = first if len(first) <= _SHORT else f"{first[: _SHORT - 1].rstrip()}…"
    again = "; interrupt again to stop waiting for it" if cause == INTERRUPTED else ""
    return f"failed, going back: {short}{again}"


def failure(ending: Ending, cause: str, restored: Restored, unrecorded: str = "") -> LastgoodError:
    """The error that ends the command: the cause, and below it what is back. `unrecorded` says why the record does not know it."""
    head = f"release {ending.number} failed: {cause}"
    missing = f"\n{_pending(ending.number, unrecorded)}" if unrecorded else ""
    if restored.back and ending.last is None:
        return FailedRestored(f"{head}\nthere was no good release before: the environment is empty again{missing}")
    if restored.back and ending.last:
        back = f"build {ending.last.facts.build} (release {ending.last.number})"
        return FailedRestored(f"{head}\nlast good is back and verified: {back}{missing}")
    state = _pending(ending.number, unrecorded) if unrecorded else f"release {ending.number} is failed"
    stack = restored.facts.stack if restored.facts else ""
    return _told(
        f"{head}\nlast good is NOT back: {restored.wrong}",
        runs=running(restored.facts, ending.last),
        recorded=f"{state}, {ending.recorded}",
        typed=advice(ending, stack, serving=bool(restored.facts and restored.facts.serving)),
    )


def left(ending: Ending, why: str, stack: str | None) -> FailedNotRestored:
    """The error of a command that can't ask AWS any more while its release is under way. `stack` is the status that was seen last."""
    on_its_way = "" if settled(stack) else ", and CloudFormation goes on by itself, forward or back"
    status = f"`lastgood status --environment {ending.environment}`"
    return _told(
        f"release {ending.number} is left to itself: {why}",
        runs=f"not known; the stack was {stack or 'absent'} when it was seen last{on_its_way}",
        recorded=f"release {ending.number} is pending, {ending.recorded}",
        typed=f"with a new session {status}; it, or the next deploy or rollback, ends release {ending.number} by what runs then",
    )


def unrecorded(ending: Ending, build: str, why: str) -> FailedNotRestored:
    """The error of a release that runs and is verified, and that the record could not be told of. It is not taken back for that."""
    status = f"`lastgood status --environment {ending.environment}`"
    return _told(
        f"release {ending.number} runs and is verified, but the release record could not be told: {why}",
        runs=f"build {build}, in step with its database",
        recorded=f"release {ending.number} is pending, {ending.recorded}",
        typed=f"{status}, once the record answers; it, or the next deploy or rollback, ends release {ending.number} by what runs then",
    )


def taken(ending: Ending, why: str, stack: str | None) -> FailedNotRestored:
    """The error of a command that has lost the environment's lock. `stack` is the status that was seen last."""
    where = f"--environment {ending.environment}"
    return _told(
        f"release {ending.number} stops: {why}",
        runs=f"not known; the stack was {stack or 'absent'} when it was seen last",
        recorded=f"whoever has the lock ends release {ending.number}, else the next deploy or rollback does; {ending.recorded}",
        typed=f"`lastgood lock-status {where}`, and `lastgood status {where}` when that command has ended",
    )


def _told(head: str, *, runs: str, recorded: str, typed: str) -> FailedNotRestored:
    return FailedNotRestored(f"{head}\nwhat runs: {runs}\nwhat is recorded: {recorded}\nwhat to type: {typed}")


def running(facts: Facts | None, last: Release | None) -> str:
    """What runs, in words."""
    if facts is None:
        return "not known"
    if not facts.running:
        return "nothing"
    named = [f"{digest[:19]}{_is(digest, last)}" for digest in sorted(set(facts.running))]
    health = facts.health
    said = f"answered {health.status}" if health.status else f"no answer ({health.detail})"
    database = f", the database is {health.database}" if health.database else ""
    return f"{counted(len(facts.running), 'task')} of {', '.join(named)}; {said}{database}"


def advice(ending: Ending, stack: str | None, *, serving: bool) -> str:
    """The command that goes on from here. `stack` is the stack's status, empty where it is not known."""
    environment = f"--environment {ending.environment}"
    if stack == "" or not settled(stack):
        return f"`lastgood status {environment}`; the next deploy or rollback waits for the stack's end, and goes on from there"
    if ending.last is None:
        return f"`lastgood deploy {environment}` once the cause is mended: it goes on from the stack as it is"
    again = f"`lastgood rollback {environment} --to {ending.last.number}`"
    anew = f"`lastgood rollback {environment} --recreate`"
    if stack == STUCK:
        return (
            f"mend what is named above, then {again}, which goes on where this stopped; {anew} gives the stack up, and its load balancer's "
            "name with it"
        )
    if stack in (*DONE, *BACK):
        return f"{again}, which releases last good again"
    if stack is None or removal(stack, serving=serving).allowed:
        return f"{anew}, which makes the stack again from last good"
    return (
        f"look at the stack's events in CloudFormation; {anew} deletes it, and its load balancer's name with it, and makes it again from "
        "last good"
    )


def _is(digest: str, last: Release | None) -> str:
    return " (last good)" if last and digest == last.facts.digest else ""


def _pending(number: int, why: str) -> str:
    return f"release {number} is still pending, for the record could not be told ({why}); the next command ends it by what runs then"
