"""What a release would do to the database, as far as two builds' manifests tell: the release task decides by the database itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.record import migrations
from lastgood.record.migrations import Migration
from lastgood.record.release import BuildFacts

_UNKNOWN = ("what the code of the build before can't live with is not known",)


@dataclass(frozen=True)
class Forecast:
    """The migrations to undo and to apply, in order, and what to know of them: lines for a person.

    `losses` is what no rollback brings back, `breaks` what the code of the build that is left can't live with.
    """

    back: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {name: list(getattr(self, name)) for name in ("back", "forward", "losses", "breaks")}


def forecast(now: Sequence[Migration], wanted: Sequence[Migration]) -> Forecast:
    """From a database that is in step with a build's migrations to one that is in step with another's."""
    replaces = {one.key: one.replaces for one in (*now, *wanted) if one.replaces}

    def atoms(build: Sequence[Migration]) -> dict[str, set[str]]:
        """What the build runs one by one (a squashed one only where originals of it are gone), each with the originals it stands for."""
        keys = {one.key for one in build}
        run = [one.key for one in build if not (one.replaces and keys.issuperset(one.replaces))]
        return {key: _originals(key, replaces) for key in run}

    before, after = atoms(now), atoms(wanted)
    there, target = set().union(*before.values()), set().union(*after.values())
    by_key = {one.key: one for one in (*now, *wanted)}
    back = [by_key[key] for key in reversed(before) if not before[key] <= target]
    forward = [by_key[key] for key in after if not after[key] <= there]
    losses = [f"{one.key}: undoing it: {text}" for one in back for text in (*one.irreversible, *one.holds)]
    losses += [f"{one.key}: {text}{_accepted(one)}" for one in forward for text in (*one.irreversible, *one.lossy)]
    breaks = [f"{one.key}: {text}" for one in forward for text in (_UNKNOWN if one.breaks is None else one.breaks)]
    named = [tuple(one.key for one in side) for side in (back, forward)]
    return Forecast(named[0], named[1], tuple(losses), tuple(breaks))


def between(before: BuildFacts, after: BuildFacts) -> Forecast:
    """The forecast for two builds, as far as the record knows them. Raises ValueError with the reason where it does not."""
    if before.manifest_sha == after.manifest_sha:
        return Forecast()
    without = [one.build for one in (before, after) if not one.migrations]
    if without:
        raise ValueError(f"the record does not know the migrations of build {' and '.join(without)}: push it again")
    try:
        return forecast(migrations.unpack(before.migrations), migrations.unpack(after.migrations))
    except ValueError as error:
        raise ValueError(
            f"what the record keeps of the builds' migrations can't be read: {error}; push them again"
        ) from None


def _originals(key: str, replaces: Mapping[str, tuple[str, ...]]) -> set[str]:
    """What a migration stands for: itself, or what it replaces, however often that was squashed."""
    if key not in replaces:
        return {key}
    return set().union(*(_originals(one, replaces) for one in replaces[key]))


def _accepted(one: Migration) -> str:
    return f" (accepted: {one.rollback})" if one.rollback else ""
