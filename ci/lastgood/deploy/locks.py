"""Who deploys, and the lock taken away by a person who knows that its holder is dead."""

from __future__ import annotations

from typing import Any

from lastgood.deploy.place import Place
from lastgood.errors import Refused, UsageError
from lastgood.record import lock
from lastgood.report.terminal import mapping_lines


def status(place: Place) -> dict[str, Any]:
    """The environment's lock (None: nobody has it), and the newest ones that were taken away by hand."""
    return {"environment": place.name, "lock": _shown(lock.state(place.record)), "forced": lock.forced(place.record)}


def unlock(place: Place, *, who: str, reason: str, force: bool) -> dict[str, Any]:
    """Takes the lock away from its holder, and leaves who did it and why in the record. Returns the lock as it was.

    Raises UsageError without `force` and a reason, Refused where nobody has the lock, or where it changes hands meanwhile.
    """
    if not force or not reason.strip():
        raise UsageError(
            "unlock needs --force and a --reason: a lock is renewed by a command that lives, and ends by itself within a minute of its "
            "death; the release record keeps why it was taken away"
        )
    held = lock.state(place.record)
    if held is None or held["ended"]:
        raise Refused(f"nobody has the lock of environment {place.name}: there is nothing to take away")
    lock.force(place.record, held, who=who, reason=reason)
    return {"environment": place.name, "lock": _shown(held), "by": who, "reason": reason}


def render_status(facts: dict[str, Any]) -> str:
    """The facts for a terminal."""
    held = facts["lock"]
    lines = {"environment": facts["environment"], "lock": "free"}
    if held:
        lines["lock"] = f"{held['who']} since {held['since']} ({held['what']})"
        lines["until"] = (
            f"{held['until']}, unless its command renews it" if not held["ended"] else f"ended at {held['until']}"
        )
    taken = [
        f"{one['at']} by {one['by']} from {one['who']} ({one['what']}): {one['reason']}" for one in facts["forced"]
    ]
    return mapping_lines(lines) + ("\n\ntaken away by hand\n  " + "\n  ".join(taken) if taken else "")


def render_unlock(facts: dict[str, Any]) -> str:
    """One sentence for a terminal."""
    held = facts["lock"]
    return (
        f"the lock of environment {facts['environment']} was taken away from {held['who']} ({held['what']}, since {held['since']}); the "
        "next deploy or rollback begins with what that command left"
    )


def _shown(held: dict[str, Any] | None) -> dict[str, Any] | None:
    """Without the token, which is nobody's business but the holder's."""
    return {name: value for name, value in held.items() if name != "token"} if held else None
