"""Does a Debian lock name what Debian signed? Every package of it is compared with the signed indices, whoever wrote the lock.

A version that Debian has replaced leaves the indices the same day. Then the signed indices of the lock's date answer, which a snapshot
archive has; whoever carries them, the signature is Debian's. Without one, only what nobody changed can be believed: the entries of
`base`, the lock that this change began with, which was proven when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from lastgood.debian import locks
from lastgood.debian.closure import Index
from lastgood.debian.locks import Lock, Package
from lastgood.debian.mirror import STAMP, Snapshot
from lastgood.errors import UsageError

_HASH = 16  # characters of a hash that are shown


def differences(lock: Lock, indices: Mapping[str, Index]) -> tuple[list[str], list[Package]]:
    """What the lock says otherwise than the indices, as sentences; and the packages whose version the indices do not have."""
    wrong: dict[str, None] = {}
    absent: dict[Package, None] = {}
    for _, architecture, package in lock.all():
        found = list(_signed(package, architecture, indices))
        if not found:
            absent[package] = None
        elif package not in found:
            wrong[_differs(package, found)] = None
    return list(wrong), list(absent)


def _signed(package: Package, architecture: str, indices: Mapping[str, Index]) -> Iterator[Package]:
    index = indices[architecture if package.architecture == "all" else package.architecture]
    for candidate in index.versions(package.name):
        of_it = locks.of(candidate)
        if (of_it.version, of_it.architecture) == (package.version, package.architecture):
            yield of_it


def _differs(package: Package, found: list[Package]) -> str:
    near = min(found, key=lambda one: sum(asdict(one)[key] != value for key, value in asdict(package).items()))
    parts = [
        f"the {key} {_short(value)} in the lock and {_short(asdict(near)[key])} in Debian's signed index"
        for key, value in asdict(package).items()
        if asdict(near)[key] != value
    ]
    return f"{package.name} {package.version} ({package.architecture}) has {', '.join(parts)}"


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:_HASH]}…" if len(text) == 64 else text


def of_the_past(lock: Lock, snapshot: Snapshot) -> Iterator[Mapping[str, Index]]:
    """The indices of the lock's date and of the day after, as far as the snapshot archive has them. Raises UsageError where it has none.

    A snapshot is taken some hours after the mirrors have changed.
    """
    moment = datetime.strptime(lock.resolved, STAMP).replace(tzinfo=UTC)
    problems = []
    for days in (0, 1):
        at = moment + timedelta(days=days)
        try:
            # What had expired by then was held back, and what had not is what Debian had that day.
            yield locks.read(lock.suite, snapshot.mirror(at), at).indices
        except UsageError as error:
            problems.append(error)
    if len(problems) > 1:
        raise problems[0]


def check(
    lock: Lock,
    signed: Mapping[str, Index],
    past: Callable[[], Iterable[Mapping[str, Index]]] | None,
    base: Callable[[], Lock | None],
) -> str:
    """Empty where every package of the lock is as Debian signed it, else a sentence that names those that are not, and how.

    `past` gives the indices of a snapshot archive, if there is one. Raises UsageError where it does not answer.
    """
    wrong, absent = differences(lock, signed)
    if wrong:
        return "; ".join(wrong)
    for indices in past() if absent and past else ():
        wrong, gone = differences(_only(lock, absent), indices)
        if wrong:
            return "; ".join(wrong)
        absent = gone
        if not absent:
            break
    if absent:
        before = base()
        known = {package for _, _, package in before.all()} if before else set()
        absent = [package for package in absent if package not in known]
    if not absent:
        return ""
    names = ", ".join(sorted({f"{one.name} {one.version}" for one in absent}))
    where = (
        "nor in the snapshot archive's of the lock's date"
        if past
        else "and no snapshot archive is named that has older ones"
    )
    return f"{names}: in no signed index of Debian any more, {where}, so nothing proves the sha256 that the lock names"


def _only(lock: Lock, packages: Iterable[Package]) -> Lock:
    chosen = set(packages)
    stages = {
        stage: {one: tuple(package for package in entries if package in chosen) for one, entries in table.items()}
        for stage, table in lock.stages.items()
    }
    return Lock(lock.suite, lock.seeds, lock.resolved, stages)
