"""What a command that died has left: a stack on its way, a release that is still `pending`. The next command ends it first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lastgood.aws.errors import patiently
from lastgood.deploy import outcome, stuck, verify
from lastgood.deploy.outcome import Ending
from lastgood.deploy.place import Place
from lastgood.deploy.progress import ended
from lastgood.deploy.removal import removal
from lastgood.deploy.restore import WITHOUT, next_of_a_stuck_rollback
from lastgood.deploy.skip import Skip
from lastgood.deploy.stack import BACK, DONE, STUCK, settled
from lastgood.errors import Refused
from lastgood.record.lock import Lock
from lastgood.record.release import Release
from lastgood.record.table import Record
from lastgood.report.terminal import say, step

PATIENCE = (
    60.0  # seconds for old tasks to leave and new ones to answer, where the stack has come to what was left pending
)
_FRESH = (None, "REVIEW_IN_PROGRESS")  # a stack is created in these, and updated in DONE and BACK


def tidy(place: Place, lock: Lock, *, anew: bool) -> list[int]:
    """Leaves nothing of a command that died: the stack settled, its release ended by what really runs. Returns the releases it ended.

    Raises Refused where the stack is stuck; `anew` says that a person wants it deleted anyhow.
    """
    status = _settle(place, lock, anew=anew)
    numbers = end_pending(place, patience=0.0 if anew else PATIENCE)
    if status in (*_FRESH, *DONE, *BACK) or anew:
        return numbers
    decided = removal(status, serving=verify.facts(place).serving)
    if not decided.allowed:
        raise Refused(
            f"the stack {place.stack.name} is {status}, and lastgood does not delete it by itself: {decided.reason}; mend it in "
            f"CloudFormation, or give it up with `lastgood rollback --environment {place.name} --recreate`"
        )
    with step(f"delete the stack, which is {status}: {decided.reason}"):
        lock.keep()
        place.stack.delete()
        status = place.stack.watch(lambda _events: None)
    if status is not None:
        raise Refused(
            f"the stack {place.stack.name} can't be deleted, it is {status}: look at its events in CloudFormation"
        )
    return numbers


def _settle(place: Place, lock: Lock, *, anew: bool) -> str | None:
    """Waits until nothing goes on in the stack any more, and continues a rollback that stopped; returns the stack's status."""
    stack = place.stack
    status = stack.status()
    if not settled(status):
        with step(f"the stack is still {status}, left by a command that is gone: wait for its end"):
            stack.mark()
            status = stack.watch(lambda _events: None)
    if status != STUCK or anew:
        return status
    done: list[str] = []
    last = place.record.last_good()
    while status == STUCK:
        skip = stuck.look(place, last.facts.digest if last else None, verify.facts(place)) if done else Skip()
        chosen = next_of_a_stuck_rollback(done, skip.resources)
        if chosen == "give up":
            raise Refused(refusal(place.stack.name, place.name, last, skip))
        done.append(chosen)
        with step(f"the rollback had stopped: {chosen}"):
            lock.keep()
            stack.continue_rollback(skip.resources if chosen.startswith(WITHOUT) else ())
            status = stack.watch(lambda _events: None)
    return status


def refusal(stack: str, environment: str, last: Release | None, skip: Skip) -> str:
    """The sentences for a stack whose rollback can't be finished: what stands in the way, and what to type."""
    named = "".join(f"\n  {one}" for one in skip.unproved)
    advice = outcome.advice(Ending(0, environment, last), STUCK, serving=True)
    return f"the stack {stack} can't finish its rollback, and this could not be proved harmless:{named}\nwhat to type: {advice}"


def end_pending(place: Place, *, patience: float) -> list[int]:
    """Ends the releases whose commands died by what really runs, and what they left unwritten; returns their numbers.

    The caller holds the environment's lock, and nothing goes on in the stack. One that the stack has come to has `patience` seconds until
    its tasks alone run and answer.
    """
    record = place.record
    releases = record.releases(limit=50)
    pending = [release for release in releases if release.state == "pending"]
    if pending:
        end_of_patience = time.monotonic() + patience
        found = look(place)
        while hinders(releases[0], found) and time.monotonic() < end_of_patience:
            time.sleep(place.stack.pause)
            found = look(place)
        for release in pending:
            end(record, release, found, newest=release is releases[0])
    last = record.last_good()
    if last and record.take_back(last):
        say(
            f"the releases that release {last.number} took back, and that a command that is gone had not all written down: undone"
        )
    return [release.number for release in pending]


def look(place: Place) -> verify.Facts:
    """The facts, where AWS is busy a little later."""
    return patiently(lambda: verify.facts(place), seconds=verify.PATIENCE, pause=place.stack.pause)


def hinders(newest: Release | None, found: verify.Facts) -> str:
    """What still keeps the newest release, pending, from its good end on a stack that has come to it; empty where nothing does.

    It may pass: when a stack is complete, old tasks still finish what they had begun, and one answer may be late. Of a stack that has not
    come to it, nothing is said: that is over.
    """
    if newest is None or newest.state != "pending":
        return ""
    if found.stack not in DONE or found.wanted != newest.facts.digest:
        return ""
    return verify.wrong(found, newest.facts.digest)


def end(record: Record, release: Release, found: verify.Facts, *, newest: bool) -> None:
    """Ends a release whose command died: `good` if it is what verifiably runs, else `failed`."""
    undone, applied = moved(record.operation(), release.facts.digest)
    if runs(release, found, newest=newest):
        record.good(release, undone=undone, applied=applied)
        say(f"release {release.number} was left pending by a command that is gone; it runs and is verified: good")
        return
    cause = release.cause or "its command ended without an answer"
    record.failed(release, cause, undone=undone, applied=applied)
    say(f"release {release.number} was left pending by a command that is gone: failed")


def runs(release: Release, found: verify.Facts, *, newest: bool) -> bool:
    """Whether a pending release has come to its good end: the newest one, on a stack that is done, and nothing wrong with it."""
    return newest and found.stack in DONE and not verify.wrong(found, release.facts.digest, shape=release.shape)


def is_left(newest: Release | None, lock: Mapping[str, Any] | None) -> bool:
    """Whether the newest release is pending and nobody works on it any more."""
    return newest is not None and newest.state == "pending" and lock is None


def moved(operation: Mapping[str, Any] | None, digest: str) -> tuple[list[str], list[str]]:
    """The migrations that the newest operation has undone and applied, where it was for the build of that digest."""
    own = operation if operation and operation["wanted"]["digest"] == digest else None
    hops = ended(own) if own else []
    return [name for hop in hops for name in hop["undone"]], [name for hop in hops for name in hop["applied"]]
