"""Back to an earlier good build, containers and schema, by the same way that a deploy goes; or the environment made anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lastgood.deploy.admission import admit
from lastgood.deploy.attempt import carry_out
from lastgood.deploy.order import RECREATE, ROLLBACK, Order
from lastgood.deploy.place import Place
from lastgood.errors import Refused
from lastgood.record.release import Release


def rollback(place: Place, *, to: str | None = None, recreate: bool = False, who: str, reason: str) -> dict[str, Any]:
    """Makes a release of an earlier build. `to` is a build, a version, a digest or a release's number.

    Without `to` it is the good release before the current one; with `recreate` it is last good, and the stack is deleted first.
    Returns the release, with what happened. Raises Refused, UsageError where nobody who may has signed for the build, FailedRestored or
    FailedNotRestored.
    """
    order = ordered(place, to, recreate=recreate, who=who, reason=reason)
    signed = replace(order, signed=admit(place, order.build))
    return carry_out(place, signed, decide=lambda: ordered(place, to, recreate=recreate, who=who, reason=reason))


def ordered(place: Place, to: str | None, *, recreate: bool, who: str, reason: str) -> Order:
    """The order of a rollback, from the releases as they stand in the record. Raises Refused where there is nothing to go back to."""
    releases = place.record.releases()
    last = place.record.last_good()
    if last is None:
        raise Refused(f"environment {place.name} has no good release yet: there is nothing to go back to")
    target = choose(releases, last, to, recreate=recreate)
    if target is None:
        wanted = f"no good release of {to!r}" if to else f"no good release before release {last.number}"
        raise Refused(f"environment {place.name} has {wanted}: `lastgood history` lists what there is")
    undoes = tuple(undone_by(releases, target))
    return Order(RECREATE if recreate else ROLLBACK, target.facts, who, reason, undoes)


def choose(releases: list[Release], last: Release, to: str | None, *, recreate: bool) -> Release | None:
    """The release whose build is wanted: the newest one that was good and is meant. `releases` are newest first."""
    if to is not None:
        meant = [
            one for one in releases if to in (one.facts.build, one.facts.version, one.facts.digest, str(one.number))
        ]
        ordered = sorted(meant, key=lambda one: (one.state == "good", one.number), reverse=True)
        return next((one for one in ordered if one.state in ("good", "undone")), None)
    if recreate:
        return last
    older = (one for one in releases if one.state == "good" and one.number < last.number)
    return next((one for one in older if one.facts.digest != last.facts.digest), None)


def undone_by(releases: list[Release], target: Release) -> list[int]:
    """The good releases that going back to `target` takes back: the newer ones of other builds."""
    return [
        one.number
        for one in releases
        if one.state == "good" and one.number > target.number and one.facts.digest != target.facts.digest
    ]
