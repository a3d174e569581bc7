"""What a command that died has left: a stack on its way, a release that is still `pending`. The next command ends it first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lastgood.deploy import verify
from lastgood.deploy.place import Place
from lastgood.deploy.progress import ended
from lastgood.deploy.stack import DONE, ONLY_DELETABLE, settled
from lastgood.errors import Refused
from lastgood.record.release import Release
from lastgood.record.table import Record
from lastgood.report.terminal import say, step


def tidy(place: Place, *, anew: bool) -> None:
    """Leaves nothing of a command that died: the stack settled, its release ended by what really runs.

    Raises Refused where the stack is stuck; `anew` says that it will be deleted anyhow.
    """
    stack = place.stack
    status = _settle(place, anew=anew)
    pending = [release for release in place.record.releases(limit=50) if release.state == "pending"]
    if pending:
        found = verify.facts(place)
        for release in pending:
            end(place.record, release, found, newest=release is pending[0])
    if status in ONLY_DELETABLE and not anew:
        with step(f"delete the stack, which is {status}"):
            stack.delete()
            status = stack.watch(lambda _events: None)
        if status is not None:
            raise Refused(
                f"the stack {stack.name} can't be deleted, it is {status}: look at its events in CloudFormation"
            )


def _settle(place: Place, *, anew: bool) -> str | None:
    """Waits until nothing goes on in the stack any more; returns its status."""
    stack = place.stack
    status = stack.status()
    if not settled(status):
        with step(f"the stack is still {status}, left by a command that is gone: wait for its end"):
            stack.mark()
            status = stack.watch(lambda _events: None)
    if status == "UPDATE_ROLLBACK_FAILED" and not anew:
        with step("continue the rollback that stopped"):
            stack.continue_rollback()
            status = stack.watch(lambda _events: None)
        if status == "UPDATE_ROLLBACK_FAILED":
            raise Refused(f"the stack {stack.name} can't finish its rollback: run `lastgood rollback --recreate`")
    return status


def end(record: Record, release: Release, found: verify.Facts, *, newest: bool) -> None:
    """Ends a release whose command died: `good` if it is what verifiably runs, else `failed`."""
    undone, applied = moved(record.operation(), release.facts.digest)
    if runs(release, found, newest=newest):
        record.good(release, undoes=[], undone=undone, applied=applied)
        say(f"release {release.number} was left pending by a command that is gone; it runs and is verified: good")
        return
    record.failed(release, "its command ended without an answer", undone=undone, applied=applied)
    say(f"release {release.number} was left pending by a command that is gone: failed")


def runs(release: Release, found: verify.Facts, *, newest: bool) -> bool:
    """Whether a pending release has come to its good end: the newest one, on a stack that is done, and nothing wrong with it."""
    return newest and found.stack in DONE and not verify.wrong(found, release.facts.digest)


def moved(operation: Mapping[str, Any] | None, digest: str) -> tuple[list[str], list[str]]:
    """The migrations that the newest operation has undone and applied, where it was for the build of that digest."""
    own = operation if operation and operation["wanted"]["digest"] == digest else None
    hops = ended(own) if own else []
    return [name for hop in hops for name in hop["undone"]], [name for hop in hops for name in hop["applied"]]
