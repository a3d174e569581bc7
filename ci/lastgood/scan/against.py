"""What a scan is compared with: last good of an environment, a build of this machine, or a file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from lastgood import bundle
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image.build import Image
from lastgood.scan import audit, contents, cost, measure
from lastgood.scan.contents import Contents

LAST_GOOD = "last-good"


def options(project: Project, image: Image, given: argparse.Namespace) -> measure.Options:
    """The options of a scan from the command line's. Raises UsageError for a number that makes no sense or a build nobody knows."""
    for name, value in (
        ("--kept", given.kept),
        ("--price", given.price),
        *(("--bandwidth", one) for one in given.bandwidth or ()),
    ):
        if value <= 0:
            raise UsageError(f"{name} is {value}: it must be more than 0")
    before, named = find(project, given.against, given.environment) if given.against else (None, "")
    return measure.Options(
        accept=project.image.accept,
        before=before,
        against=named,
        kept=given.kept,
        price=given.price,
        known=known(project.state / "builds", image.build),
        bandwidths=tuple(given.bandwidth or cost.BANDWIDTHS),
        mirror=project.image.mirror,
        services=audit.Services(suite()) if given.audit else None,
    )


def suite() -> str:
    """The Debian release that images are made of."""
    from lastgood.debian.seeds import Seeds

    return Seeds.read(bundle.path("docker/base.toml")).suite


def find(project: Project, name: str, environment: str) -> tuple[Contents | None, str]:
    """The contents to compare with and what they are, in words; None and the reason where last good has none."""
    if name != LAST_GOOD:
        found = contents.from_machine(name, project.state / "builds")
        return found, f"build {found.build}"
    from lastgood.deploy.aws import Session
    from lastgood.deploy.record import Record

    record = Record(Session(project, environment), environment)
    release = record.last_good()
    if release is None:
        return None, f"{environment} has no last good release to compare with yet"
    build = record.build(release.facts.digest)
    what = f"last good of {environment} (release {release.number}, build {release.facts.build})"
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
