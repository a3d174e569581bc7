"""What to make of migrations that were begun outside a transaction, and not seen to end."""

from __future__ import annotations

from dataclasses import replace

from ..manifest.document import Manifest
from .facts import Facts
from .names import Names
from .steps import Decision


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


def hand_over(facts: Facts, image: Manifest) -> Decision | None:
    """Return that another build must go on, where only that build can run again what it was interrupted in."""
    for key in facts.started:
        build = _mended_by(facts, key)
        if build and build != image.build:
            reason = f"{key}: build {build} was interrupted in it, outside a transaction, and must run it again first"
            digest = facts.builds[build].digest or None
            return Decision("needs", needs=build, needs_digest=digest, needs_direction="back", reason=reason)
    return None


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


def _mended_by(facts: Facts, key: str) -> str | None:
    """Return the build that began `key`, if that bears to be run again."""
    by = facts.started[key].by
    known = facts.builds.get(by.build)
    migration = known.manifest.by_key.get(key) if known else None
    return by.build if migration and migration.again and migration.sha256 == by.sha256 else None
