"""How the database stands to a build."""

from __future__ import annotations

from collections.abc import Iterable

from ..manifest.document import Manifest
from .facts import Facts, KnowsSquashes
from .names import Names


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


def changed(facts: Facts, wanted: Manifest) -> list[str]:
    """Return the applied migrations whose file in `wanted` is not the one that was applied."""
    there = set(facts.rows)
    return [
        key
        for key, applied in facts.ledger.items()
        if key in wanted and not applied.key and applied.sha256 != wanted[key].sha256 and key in there
    ]


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
