"""Decides what to do.

The order is always the same: *back*, by builds that have the files of what must go, then *forward*, by the build that is wanted. What
must go is what is applied and not wanted, and all that stands on it; nothing else is undone. search.py finds who can do it. What these
rules can't do, they refuse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..manifest.document import Manifest
from . import acceptance, interruption, reasons, search
from .facts import Facts
from .steps import Decision, Phase
from .world import World


def forward(
    facts: Facts, image: Manifest, wanted: Manifest, *, accept_loss: bool = False, via: Iterable[Manifest] = ()
) -> Decision:
    """Decide what the build `image` applies so that the database is what `wanted` wants."""
    world = World(facts, *via, wanted, image)
    phases, reason = search.find(world, image, wanted)
    if reason:
        return _nobody_knows(world, wanted) or Decision("refused", reason=reason)
    if not phases:
        return Decision("nothing")
    first, *others = phases
    if first.build != image.build or first.direction != "forward":
        return _handed_over(world, first, image, wanted)
    if facts.rows and not accept_loss:
        reason = acceptance.gate(image[key] for key in first.migrations)
        if reason:
            return Decision("refused", reason=reason)
    decision = Decision("run", first.migrations)
    return _and_then(decision, world, others, image, wanted)


def back(facts: Facts, image: Manifest, wanted: Manifest, *, via: Iterable[Manifest] = ()) -> Decision:
    """Decide what the build `image` undoes of what `wanted` does not want.

    Refused when nobody could finish, what comes after included: nothing is undone that would strand the database between two builds.
    """
    world = World(facts, *via, wanted, image)
    if world.applied <= world.names.target(wanted):
        return Decision("nothing")
    phases, reason = search.find(world, image, wanted)
    if reason:
        return Decision("refused", reason=reason)
    first, *others = phases
    if first.build != image.build:
        return _handed_over(world, first, image, wanted)
    decision = Decision("run", first.migrations)
    return _and_then(decision, world, [phase for phase in others if phase.direction == "back"], image, wanted)


def route(
    facts: Facts, image: Manifest, wanted: Manifest, *, accept_loss: bool = False, via: Iterable[Manifest] = ()
) -> tuple[tuple[Phase, ...], Decision]:
    """Return the phases from here to `wanted`, each by the build that must run it, and the decision they end with."""
    world = World(facts, *via, wanted, image)
    phases, reason = search.find(world, image, wanted)
    if reason:
        return (), Decision("refused", reason=reason)
    if not phases:
        return (), Decision("nothing")
    for phase in phases:
        if phase.direction == "forward" and facts.rows and not accept_loss:
            reason = reason or acceptance.gate(world.builds[phase.build][key] for key in phase.migrations)
    return tuple(phases), Decision("refused", reason=reason) if reason else Decision("run", phases[-1].migrations)


def preview(
    facts: Facts, image: Manifest, wanted: Manifest, *, via: Iterable[Manifest] = ()
) -> tuple[tuple[Phase, ...], Decision]:
    """Return what `route` returns; no phase where an interruption, or a build that is refused, is in the way before that."""
    reason = interruption.interrupted(facts) or acceptance.refusal(facts, wanted)
    if reason:
        return (), Decision("refused", reason=reason)
    handed = interruption.hand_over(facts, image)
    return ((), handed) if handed else route(facts, image, wanted, via=via)


def _handed_over(world: World, phase: Phase, image: Manifest, wanted: Manifest) -> Decision:
    reason = reasons.why(world, phase, image, wanted)
    return Decision(
        "needs",
        needs=phase.build,
        needs_digest=world.digest(phase.build),
        needs_direction=phase.direction,
        reason=reason,
    )


def _and_then(decision: Decision, world: World, others: list[Phase], image: Manifest, wanted: Manifest) -> Decision:
    if not others:
        return decision
    after = _handed_over(world, others[0], image, wanted)
    rest = tuple(key for phase in others for key in phase.migrations)
    return replace(after, status="run", migrations=decision.migrations, rest=rest)


def _nobody_knows(world: World, wanted: Manifest) -> Decision | None:
    """Return what to say where something must go that neither the ledger nor any known build has heard of: the caller may know one."""
    extra = [row for row in reversed(world.facts.rows) if row in world.applied - world.names.target(wanted)]
    if not extra or any(row in world.ledger or any(world.unit(build, row) for build in world.builds) for row in extra):
        return None
    more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
    reason = (
        f"{extra[0]}{more}: applied, but not in build {wanted.build}, and the ledger does not know which build applied it; "
        "run `back` of a build that has it"
    )
    return Decision("needs", reason=reason, needs_direction="back")
