"""What a scan is compared with: last good of an environment, a build of this machine, or a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from lastgood.config.project import ImageSettings
from lastgood.errors import UsageError
from lastgood.record.table import Record
from lastgood.scan import audit, contents, cost, measure, packages
from lastgood.scan.contents import Contents

LAST_GOOD = "last-good"


def options(
    settings: ImageSettings, builds: Path, build: str, given: argparse.Namespace, record: Callable[[], Record]
) -> measure.Options:
    """The options of a scan of `build` from the command line's, and from the project's settings.

    `builds` is the folder of this machine's builds, `record` gives the environment's release record where last good is to be compared
    with. Raises UsageError for a number that makes no sense or a build nobody knows.
    """
    for name, value in (
        ("--kept", given.kept),
        ("--price", given.price),
        *(("--bandwidth", one) for one in given.bandwidth or ()),
    ):
        if value <= 0:
            raise UsageError(f"{name} is {value}: it must be more than 0")
    before, named = find(given.against, builds, record) if given.against else (None, "")
    return measure.Options(
        accept=settings.accept,
        before=before,
        against=named,
        kept=given.kept,
        price=given.price,
        known=known(builds, build),
        bandwidths=tuple(given.bandwidth or cost.BANDWIDTHS),
        mirror=settings.mirror,
        services=audit.Services(packages.suite()) if given.audit else None,
    )


def find(name: str, builds: Path, record: Callable[[], Record]) -> tuple[Contents | None, str]:
    """The contents to compare with and what they are, in words; None and the reason where last good has none."""
    if name == LAST_GOOD:
        return last_good(record())
    found = contents.from_machine(name, builds)
    return found, f"build {found.build}"


def last_good(record: Record) -> tuple[Contents | None, str]:
    """The contents of an environment's last good release, as `find` returns them."""
    release = record.last_good()
    if release is None:
        return None, f"{record.environment} has no last good release to compare with yet"
    build = record.build(release.facts.digest)
    what = f"last good of {record.environment} (release {release.number}, build {release.facts.build})"
    if build is None or not build.contents:
        return None, f"{what} was pushed without being scanned before"
    try:
        return Contents.read(build.contents), what
    except ValueError as error:
        return None, f"the record's contents of {what} can't be read: {error}"


def known(builds: Path, but: str) -> list[Mapping[str, int]]:
    """The layers of the other builds that were scanned on this machine, newest first."""
    found: list[Mapping[str, int]] = []
    for file in sorted(builds.glob(f"*/{contents.FILE}"), key=lambda one: one.stat().st_mtime, reverse=True):
        try:
            one = Contents.read(file.read_text(encoding="utf-8").strip())
        except ValueError:
            continue
        if one.build != but:
            found.append(one.layers)
    return found
