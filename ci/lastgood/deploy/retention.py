"""Which builds must stay in registry and record, by what the release record says of every environment that shares them.

A build is needed where it runs or is last good, where somebody may want to go back to it, and where the database has migrations that
nobody but its image can undo. The ledger that knows the last lies in the database; what is decided here, without a task in the cluster,
is what the record says of it, and doubt keeps a build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lastgood.record import migrations
from lastgood.record.release import Release

KEEP = 20  # builds of an environment that one may want to go back to
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ENVIRONMENT = "environment#"
Item = Mapping[str, Any]


def environments(items: Iterable[Item]) -> list[str]:
    """The environments that the record knows."""
    return sorted(
        {str(one["pk"]).removeprefix(_ENVIRONMENT) for one in items if str(one["pk"]).startswith(_ENVIRONMENT)}
    )


def needed(items: Sequence[Item], keep: int) -> tuple[dict[str, str], list[str]]:
    """{digest: why it stays} by the record's items, and what could not be read. `keep` builds of each environment are to go back to."""
    known = {str(one.get("digest")): _brought(one) for one in items if str(one["pk"]).startswith("build#")}
    found: dict[str, str] = {}
    notes = []
    for name in environments(items):
        own = [one for one in items if one["pk"] == f"{_ENVIRONMENT}{name}"]
        try:
            releases = [Release.of(dict(one)) for one in own if str(one["sk"]).startswith("release#")]
        except (KeyError, TypeError, ValueError, AttributeError):
            notes.append(f"the releases of {name} can't be read: no build that they name is expired")
            found = dict.fromkeys(_named(own), f"{name} can't be read") | found
            continue
        releases.sort(key=lambda one: one.number)
        requests = {f"operation#{one.get('request')}" for one in own if one["sk"] == "operation"}
        operations = [one for one in items if one["pk"] in requests]
        found = _of_environment(name, releases, own, operations, known, keep) | found
    return found, notes


def _of_environment(
    name: str,
    releases: list[Release],
    own: list[Item],
    operations: list[Item],
    known: Mapping[str, frozenset[str] | None],
    keep: int,
) -> dict[str, str]:
    """{digest: why}; what is said first counts."""
    why: dict[str, str] = {}
    for one in own:
        if one["sk"] == "last-good":
            why.setdefault(str(one.get("digest")), f"last good of {name}")
    for release in releases:
        if release.state == "pending":
            why.setdefault(release.facts.digest, f"release {release.number} of {name} has no end yet")
    for digest, reason in standing(releases, known).items():
        why.setdefault(digest, f"{name}: {reason}")
    newest: list[str] = []
    for release in reversed(releases):
        if release.state in ("good", "undone") and release.facts.digest not in newest:
            newest.append(release.facts.digest)
    for digest in newest[: keep + 1]:  # last good, and so many before it
        why.setdefault(digest, f"one of the {keep} builds before last good of {name}")
    for digest in _named(operations):
        why.setdefault(digest, f"in the newest request to the migration function of {name}")
    return why


def standing(releases: Iterable[Release], known: Mapping[str, frozenset[str] | None]) -> dict[str, str]:
    """{digest: why} of the builds that may have applied what nobody has undone since. `releases` of one environment, the oldest first.

    What a good release applies, its build applies, and nobody before; what it undoes is undone. What a failed one moved, its build may
    have applied, or the one that was last good and came back; but what was not there before, and it both applied and undid, is not
    there after it. A failed release that says nothing may have left all that its build brings and last good did not have, until a good
    one applies or undoes that.
    """
    applied: dict[str, set[str]] = {}
    unsaid: dict[str, tuple[int, set[str] | None]] = {}
    last = ""
    for release in releases:
        digest = release.facts.digest
        if release.state in ("good", "undone"):
            for key in set(release.undone) - set(release.applied):
                applied.pop(key, None)
            applied |= {key: {digest} for key in release.applied}
            told = {*release.applied, *release.undone}
            left = {one: (number, keys and keys - told) for one, (number, keys) in unsaid.items()}
            unsaid = {one: (number, keys) for one, (number, keys) in left.items() if keys is None or keys}
            last = digest
            continue
        back = {*release.applied} & {*release.undone} - applied.keys()
        for key in {*release.applied, *release.undone} - back:
            applied.setdefault(key, set()).update({digest, last} - {""})
        if not release.applied and not release.undone:
            brought, had = known.get(digest), known.get(last)
            keys = None if brought is None or had is None else set(brought - had)
            if keys is None or keys:
                unsaid[digest] = (release.number, keys)
    found = {
        digest: f"it may have applied {key}, and nothing has undone that"
        for key, digests in sorted(applied.items(), reverse=True)
        for digest in digests
    }
    return {
        digest: f"release {number} failed, and the record does not say what it left in the database"
        for digest, (number, _) in unsaid.items()
    } | found


def _brought(item: Item) -> frozenset[str] | None:
    """The migrations that a build brings; None where nobody knows."""
    try:
        return frozenset(one.key for one in migrations.unpack(str(item["migrations"])))
    except (KeyError, ValueError):
        return None


def _named(items: Iterable[Item]) -> list[str]:
    """Every digest that stands anywhere in these items."""
    return sorted(set(_DIGEST.findall(json.dumps([dict(one) for one in items], default=str))))
