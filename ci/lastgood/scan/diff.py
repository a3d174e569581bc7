"""What lies between two builds or releases: commits, what is in the image, its size, and what the way does to the database."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError
from lastgood.record import forecast
from lastgood.record.release import BuildFacts, Release
from lastgood.record.table import Record
from lastgood.report.scan import delta
from lastgood.report.terminal import counted, mapping_lines, megabytes, table
from lastgood.report.text import line, masked
from lastgood.scan.contents import Contents, growth

LAST_GOOD = "last-good"
MOST = 50  # commits that are listed on one side


@dataclass(frozen=True)
class Side:
    """A build, and the newest release that was meant by its name."""

    build: BuildFacts
    release: Release | None


def diff(record: Record, folder: Path, before: str, after: str) -> dict[str, Any]:
    """The facts of what lies between two builds or releases, each named as `find` takes it. `folder` is the project's clone.

    Raises UsageError for a name that nobody knows.
    """
    releases = record.releases()
    sides = [find(record, releases, name) for name in (before, after)]
    old, new = (side.build for side in sides)
    return {
        "before": _side(sides[0]),
        "after": _side(sides[1]),
        "size": new.size - old.size,
        "commits": commits(folder, old.commit, new.commit),
        "contents": contents(old, new),
        "database": database(old, new),
    }


def find(record: Record, releases: Iterable[Release], name: str) -> Side:
    """A build by `last-good`, a release's number, a build's name, its version or its digest. Raises UsageError where there is none."""
    known = list(releases)
    if name == LAST_GOOD:
        last = record.last_good()
        if last is None:
            raise UsageError(f"{record.environment} has no last good release yet: name a build by its digest")
        return Side(record.build(last.facts.digest) or last.facts, last)
    by_number = [one for one in known if str(one.number) == name]
    meant = by_number or [one for one in known if name in (one.facts.build, one.facts.version, one.facts.digest)]
    if meant:
        return Side(record.build(meant[0].facts.digest) or meant[0].facts, meant[0])
    build = record.build(name)
    if build is None:
        raise UsageError(
            f"the release record of {record.environment} knows no release and no build {name!r}: `lastgood history` lists the releases; a "
            "build that was pushed and never released is named by its digest"
        )
    return Side(build, None)


def commits(folder: Path, before: str, after: str) -> dict[str, Any]:
    """The commits that come and those that go, newest first, {known, why, come, go}: as far as the clone has both."""
    missing = [sha[:12] for sha in (before, after) if not _has(folder, sha)]
    if missing:
        why = f"this clone does not have {' and '.join(missing)}: git fetch it"
        return {"known": False, "why": why, "come": [], "go": []}
    come, go = (
        _lines(_git(folder, "log", "--no-decorate", "--format=%h %s", f"--max-count={MOST}", f"{one}..{two}"))
        for one, two in ((before, after), (after, before))
    )
    return {"known": True, "why": "", "come": come, "go": go}


def contents(before: BuildFacts, after: BuildFacts) -> dict[str, Any]:
    """What moved in the image, by Debian package and Python distribution, {known, why, causes}: as far as both builds were scanned."""
    without = [one.build for one in (before, after) if not one.contents]
    if without:
        return {
            "known": False,
            "why": f"pushed without being scanned before: {', '.join(without)}",
            "causes": [],
        }
    try:
        found = growth(Contents.read(before.contents), Contents.read(after.contents))
    except ValueError as error:
        return {"known": False, "why": f"the record's contents can't be read: {error}", "causes": []}
    return {"known": True, "why": "", "causes": [one.as_dict() for one in found]}


def database(before: BuildFacts, after: BuildFacts) -> dict[str, Any]:
    """What the way from one build to the other does to a database, {known, why, back, forward, losses, breaks}, by their manifests."""
    try:
        return {"known": True, "why": ""} | forecast.between(before, after).as_dict()
    except ValueError as error:
        return {"known": False, "why": str(error)} | forecast.Forecast().as_dict()


def render(facts: dict[str, Any]) -> str:
    """The facts for a terminal."""
    moved, found = facts["contents"], facts["database"]
    steps = [f"undo {', '.join(found['back'])}"] if found["back"] else []
    steps += [f"apply {', '.join(found['forward'])}"] if found["forward"] else []
    told = facts["commits"]
    counts = f"{counted(len(told['come']), 'commit')} more, {len(told['go'])} fewer" if told["known"] else told["why"]
    lines = {
        "before": _line(facts["before"]),
        "after": _line(facts["after"]),
        "size": f"{delta(facts['size'])}, compressed",
        "commits": counts,
        "database": ("; ".join(steps) or "nothing to move") if found["known"] else found["why"],
        "image": counted(len(moved["causes"]), "thing") + " moved" if moved["known"] else moved["why"],
    }
    parts = [mapping_lines(lines)]
    parts += [_listed(title, told[name]) for name, title in (("come", "commits that come"), ("go", "commits that go"))]
    parts += [
        _listed(title, found[name])
        for name, title in (("losses", "lost for good"), ("breaks", "the build before can't live with"))
    ]
    if moved["causes"]:
        rows = [(one["cause"], delta(one["compressed"])) for one in moved["causes"]]
        parts.append(table(("in the image", "compressed"), rows, right=(1,)))
    return "\n\n".join(part for part in parts if part)


def _listed(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line(one)}" for one in lines)]) if lines else ""


def _side(side: Side) -> dict[str, Any]:
    release = {"release": side.release.number, "state": side.release.state} if side.release else {"release": None}
    return side.build.as_dict() | release


def _line(side: dict[str, Any]) -> str:
    release = f"release {side['release']} ({side['state']}), " if side["release"] else ""
    return f"{release}build {side['build']}, version {side['version']}, {megabytes(side['size'])}"


def _has(folder: Path, sha: str) -> bool:
    """Whether the clone has a commit. What is no commit's name is never given to git, which might take it for an option."""
    named = re.fullmatch(r"[0-9a-f]{7,64}", sha)
    return bool(named) and _git(folder, "cat-file", "-e", f"{sha}^{{commit}}") is not None


def _lines(text: str | None) -> list[str]:
    """The lines of what people wrote, as text."""
    return [line(masked(one)) for one in (text or "").split("\n") if one]


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers; None where it fails, or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
