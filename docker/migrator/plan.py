"""Decides what to do. Pure: facts and manifests in, a decision out; nothing here reads or writes anything.

The order is always the same: *back*, by builds that have the files of what must go, then *forward*, by the build that is wanted. What
must go is what is applied and not wanted, and all that stands on it; nothing else is undone. search.py finds who can do it. What these
rules can't do, they refuse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from . import reasons, search
from .manifest.document import Manifest
from .search import Phase
from .world import Applied, Build, Facts, KnowsSquashes, Names, World

__all__ = ["Applied", "Build", "Decision", "Facts", "Phase", "Segment", "back", "compare", "forward", "route"]


@dataclass(frozen=True)
class Decision:
    """What this image is to do: `migrations` in the order to run; `status` is run, nothing, needs or refused.

    After `run`, `rest` says what is left for the build `needs`, which goes `needs_direction` (back or forward).
    """

    status: str
    migrations: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    needs: str | None = None
    needs_digest: str | None = None
    needs_direction: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Segment:
    """Migrations that run in one transaction, or, if not `atomic`, one migration that runs outside any."""

    atomic: bool
    migrations: tuple[str, ...]

    def halves(self) -> tuple[Segment, Segment]:
        """Return two segments that do the same one after the other."""
        middle = len(self.migrations) // 2
        return Segment(self.atomic, self.migrations[:middle]), Segment(self.atomic, self.migrations[middle:])


def compare(
    rows: Iterable[str], wanted: Manifest, others: Iterable[KnowsSquashes] = ()
) -> tuple[str, list[str], list[str]]:
    """Return how `rows` stand to `wanted` (in step, ahead, behind, diverged), what is missing and what is extra.

    `others`: manifests that know of squashed migrations which `wanted` does not.
    """
    names = Names((*others, wanted))
    rows = list(dict.fromkeys(rows))
    state, target = names.state(rows), names.target(wanted)
    missing = [migration.key for migration in wanted.atoms if not names.originals(migration.key) <= state]
    extra = [row for row in rows if row in state and row not in target]
    extra += sorted(state - target - {*extra})  # applied by the squashed migration's row alone
    if missing and extra:
        return "diverged", missing, extra
    return ("behind" if missing else "ahead" if extra else "in step"), missing, extra


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
        reason = reasons.gate(image[key] for key in first.migrations)
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
            reason = reason or reasons.gate(world.builds[phase.build][key] for key in phase.migrations)
    return tuple(phases), Decision("refused", reason=reason) if reason else Decision("run", phases[-1].migrations)


def interrupted(facts: Facts) -> str | None:
    """Return why nothing can be decided: of some migration nobody knows how much of it is there, and nobody can find out."""
    for key, started in facts.started.items():
        if _mended_by(facts, key):
            continue
        what = "apply" if started.direction == "forward" else "undo"
        return (
            f"{key}: build {started.by.build} began to {what} it at {started.when[:19]}, outside a transaction, and nobody saw it end, "
            "so a part of it may be there: clear that away, or make sure that its operations bear it (IF EXISTS), and pass --resume"
        )
    return None


def hand_over_interrupted(facts: Facts, image: Manifest) -> Decision | None:
    """Return that another build must go on, where only that build can run again what it was interrupted in."""
    for key in facts.started:
        build = _mended_by(facts, key)
        if build and build != image.build:
            reason = f"{key}: build {build} was interrupted in it, outside a transaction, and must run it again first"
            digest = facts.builds[build].digest or None
            return Decision("needs", needs=build, needs_digest=digest, needs_direction="back", reason=reason)
    return None


def _mended_by(facts: Facts, key: str) -> str | None:
    """Return the build that began `key`, if that bears to be run again."""
    by = facts.started[key].by
    known = facts.builds.get(by.build)
    migration = known.manifest.by_key.get(key) if known else None
    return by.build if migration and migration.again and migration.sha256 == by.sha256 else None


def resumed(facts: Facts, wanted: Manifest, names: Names) -> Facts:
    """Return `facts` as if each interrupted migration had to be run again: applied where `wanted` wants it, else undone."""
    rows, ledger = dict.fromkeys(facts.rows), dict(facts.ledger)
    target = names.target(wanted)
    for key, started in facts.started.items():
        for one in sorted(names.originals(key)):
            if one in target:
                rows.pop(one, None)
                ledger.pop(one, None)
            else:
                rows[one] = None
                ledger.setdefault(one, started.by)
        if key in names.replaces and names.originals(key) <= target:
            rows.pop(key, None)
    return replace(facts, rows=tuple(rows), ledger=ledger, started={})


def drops_an_app(facts: Facts, wanted: Manifest) -> str | None:
    """Return why a build that this database has never met is refused: it has no migration of an app that has tables here.

    A rollback looks the same but for one thing: the build that it wants was here before. Without this, an ordinary deploy of a build
    that drops an app from INSTALLED_APPS would have the tables undone, with their data.
    """
    if wanted.build in facts.builds:
        return None
    apps = {migration.app for migration in wanted.migrations}
    for key in facts.rows:
        app = key.split(".", 1)[0]
        if app not in apps and key in facts.ledger:
            return (
                f"build {wanted.build} has no migration of the app {app}, whose tables build {facts.ledger[key].build} made: they would be "
                "undone with their data; keep the app until its tables are gone by a migration of its own, or pass --accept-loss"
            )
    return None


def edited(facts: Facts, wanted: Manifest) -> str | None:
    """Return why `wanted` is refused: a migration of it was applied here as another one, and what its file says now would never happen.

    An edit that no database sees is none, and neither is one of which nobody knows. A build that was here after the migration was applied
    was accepted with it.
    """
    accepted = facts.builds.get(wanted.build)
    for key in changed(facts, wanted):
        by = facts.ledger[key]
        if accepted and accepted.first_seen and by.when and accepted.first_seen > by.when:
            continue
        seen = facts.builds.get(by.build)
        was = seen.manifest.by_key.get(key) if seen else None
        if was is None or was.sha256 != by.sha256 or not was.effect or not wanted[key].effect:
            continue
        if was.effect != wanted[key].effect:
            return (
                f"{key} was applied by build {by.build}, and does something else in build {wanted.build}, which would never happen here: "
                "put the file back as it was and say the rest in a new migration, or pass --accept-loss"
            )
    return None


def may_stay_ahead(facts: Facts, wanted: Manifest) -> bool:
    """Return whether the database has all that `wanted` wants, and more that its code can live with, as it did when that was applied.

    Then the service can go back first, and the database after it: nobody meets code that lacks what it has just lost.
    """
    name, _, extra = compare(facts.rows, wanted, facts.builds.values())
    if name != "ahead" or facts.started:
        return False
    for key in extra:
        by = facts.ledger.get(key)
        seen = facts.builds.get(by.build) if by and not by.key else None
        known = seen.manifest.by_key.get(key) if seen else None
        if known is None or known.breaks != () or known.lossy:
            return False
    return True


def segments(
    order: Iterable[str], image: Manifest, *, together: bool, transactional: bool = True
) -> tuple[Segment, ...]:
    """Cut `order` into what runs in one transaction.

    `together`: the database can run several migrations in one; `transactional`: it can undo changes of the schema at all.
    """
    cut: list[Segment] = []
    for key in order:
        atomic = image[key].atomic and transactional
        if cut and together and atomic and cut[-1].atomic:
            cut[-1] = Segment(True, (*cut[-1].migrations, key))
        else:
            cut.append(Segment(atomic, (key,)))
    return tuple(cut)


def changed(facts: Facts, wanted: Manifest) -> list[str]:
    """Return the applied migrations whose file in `wanted` is not the one that was applied."""
    there = set(facts.rows)
    return [
        key
        for key, applied in facts.ledger.items()
        if key in wanted and not applied.key and applied.sha256 != wanted[key].sha256 and key in there
    ]


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
