"""Who applied what, said in originals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .facts import FORWARD, Applied, Started
from .names import Names


def provenance(entries: Iterable[tuple[Any, ...]], names: Names) -> tuple[Mapping[str, Applied], Mapping[str, Started]]:
    """Return by original who applied it, and by migration what was begun and is not known to have ended.

    `entries` are (app, name, direction, build, digest, sha256, started, finished), oldest first.
    """
    found: dict[str, Applied] = {}
    begun: dict[str, Started] = {}
    for app, name, direction, build, digest, sha256, started, finished in entries:
        key = f"{app}.{name}"
        by = Applied(build, digest, sha256, key if key in names.replaces else "", finished)
        begun.pop(key, None)
        if finished is None:
            begun[key] = Started(direction, by, started.isoformat())
            continue
        for original in names.originals(key):
            # A row that is there although the ledger saw it undone was applied behind our back: not known.
            found.pop(original, None)
            if direction == FORWARD:
                found[original] = by
    return found, begun


def by_original(ledger: Mapping[str, Applied], names: Names) -> Mapping[str, Applied]:
    """Return the ledger by original, where `names` knows more squashed migrations than who wrote it down."""
    found = {key: applied for key, applied in ledger.items() if key not in names.replaces}
    for key, applied in ledger.items():
        if key in names.replaces:
            for original in names.originals(key):
                found.setdefault(original, Applied(applied.build, applied.digest, applied.sha256, applied.key or key))
    return found
