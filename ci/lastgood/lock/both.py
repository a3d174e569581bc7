"""`lastgood lock`: the Debian lock and the Python lock of one project, made, checked and upgraded together."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable
from pathlib import Path

from lastgood import bundle
from lastgood.config.project import Project
from lastgood.debian import chosen, locks, mirror
from lastgood.debian.locks import Lock
from lastgood.debian.seeds import Seeds
from lastgood.errors import Refused, UsageError
from lastgood.lock import changes, python
from lastgood.lock.changes import Change
from lastgood.python import merge
from lastgood.report.terminal import counted, step


def lock(project: Project, names: Iterable[str] | None) -> list[Change]:
    """Makes both locks and returns what changed. `names` are what to upgrade: none, some, or None for everything.

    Raises UsageError where a name is in neither lock, or for what a lock can't be made from.
    """
    before = python.Compiled.read(project)
    own = _own(project) if chosen.has_own(project) else None
    named, deb_named = _named(names, before, own)
    found: list[Change] = []
    if own:
        with step("lock Debian packages") as shown:
            found += own.make(project.image.mirror, deb_named)
            shown.note(counted(len(found), "change"))
    elif chosen.lock_file(project).is_file():
        chosen.lock_file(project).unlink()  # the project adds no packages any more: the bundle's lock is its own
    with step("lock Python packages") as shown:
        after = python.compiled(project, named)
        if after != before:
            python.write(project, after)
        moved = changes.python(before.lock, after.lock)
        moved += changes.python(before.builds, after.builds, kind="build")
        shown.note(counted(len(moved), "change"))
    return found + moved


def check(project: Project, *, prove: bool) -> None:
    """Raises Refused where a lock is not what its inputs say. `prove` makes both anew and compares."""
    if chosen.has_own(project):
        try:
            chosen.locked(project)
        except UsageError as error:
            raise Refused(str(error)) from None
        if prove:
            _own(project).prove(project.image.mirror)
    elif chosen.lock_file(project).is_file():
        raise Refused(f"{chosen.lock_file(project)} is of no use, as the project adds no packages: remove it")
    python.check(project, prove=prove)


def _own(project: Project) -> Seeded:
    return Seeded(chosen.seeds(project), chosen.lock_file(project), bundle.path("docker/base.lock"))


class Seeded:
    """A Debian lock file and its seeds. Where there is none yet, it begins with the versions of `first`."""

    def __init__(self, seeds: Seeds, file: Path, first: Path | None = None) -> None:
        self.seeds = seeds
        self.file = file
        self._first = first

    def before(self) -> Lock | None:
        """The lock as it is; one that can't be read counts as none, and is made anew."""
        for file in (self.file, self._first):
            with contextlib.suppress(UsageError):
                if file is not None:
                    return Lock.read(file)
        return None

    def make(self, configured: str | None, upgrade: frozenset[str] | None) -> list[Change]:
        """Resolves and writes the lock; returns what changed. `configured` is the project's mirror."""
        before = self.before()
        after = locks.resolve(self.seeds, mirror.find(configured, self.seeds.suite), before, upgrade)
        text = after.text()
        if not self.file.is_file() or self.file.read_text(encoding="utf-8") != text:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_name(f".{self.file.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(self.file)
        return changes.debian(before, after)

    def prove(self, configured: str | None) -> None:
        """Raises Refused where the seeds need other packages than the lock has.

        A version that Debian has replaced meanwhile does not count: the lock stays right until someone upgrades it.
        """
        before = self.before()
        after = locks.resolve(self.seeds, mirror.find(configured, self.seeds.suite), before)
        wrong = [change for change in changes.debian(before, after) if change.old is None or change.new is None]
        if wrong:
            raise Refused(
                f"{self.file} is stale: run `{locks.command_for(self.file)}` and commit it; the difference is\n{changes.text(wrong)}"
            )


def _named(
    names: Iterable[str] | None, before: python.Compiled, own: Seeded | None
) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """The Python and the Debian names of what is to be upgraded. Raises UsageError for a name that is in neither lock."""
    if names is None:
        return None, None
    pythons = {entry.name for entry in merge.entries(before.lock) + merge.entries(before.builds)}
    old = own.before() if own else None
    debs = {package.name for _, _, package in old.all()} if old else set()
    wanted = set(names)
    for name in sorted(wanted):
        if merge.normalised(name) not in pythons and name not in debs:
            near = difflib.get_close_matches(name, sorted(pythons | debs), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UsageError(
                f"--upgrade {name}: neither lock holds it{hint}; name a locked package, or none to upgrade all"
            )
    return (
        frozenset(merge.normalised(name) for name in wanted if merge.normalised(name) in pythons),
        frozenset(name for name in wanted if name in debs),
    )
