"""The Debian lock of one project or of the bundle: made, proven, and what of it changed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lastgood.debian import locks, mirror
from lastgood.debian.locks import Lock
from lastgood.debian.seeds import Seeds
from lastgood.errors import Refused, UsageError
from lastgood.lock import changes
from lastgood.lock.changes import Change


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
