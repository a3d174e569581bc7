"""A pushed build, released to an environment; last good comes back when anything fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lastgood.deploy.admission import admit
from lastgood.deploy.attempt import carry_out
from lastgood.deploy.order import DEPLOY, Order
from lastgood.deploy.place import Place
from lastgood.errors import UsageError
from lastgood.record.release import BuildFacts


def deploy(
    place: Place, build: BuildFacts, *, who: str, reason: str, force: bool = False, accept_loss: bool = False
) -> dict[str, Any]:
    """Releases a pushed build. Returns the release, with what happened. `accept_loss` lifts the migrator's gate; then `reason` says why.

    Raises UsageError without that reason, or where nobody who may has signed for the build; Refused (somebody else is deploying, or the
    image is not in the registry), FailedRestored or FailedNotRestored.
    """
    order = ordered(build, who=who, reason=reason, force=force, accept_loss=accept_loss)
    return carry_out(place, replace(order, signed=admit(place, build)))


def ordered(build: BuildFacts, *, who: str, reason: str, force: bool = False, accept_loss: bool = False) -> Order:
    """The order of a deploy. Raises UsageError where a loss is to be accepted without a reason."""
    if accept_loss and not reason.strip():
        raise UsageError("--accept-loss needs a --reason: the release record keeps why the loss is acceptable")
    return Order(DEPLOY, build, who, reason, again=force, accept_loss=accept_loss)
