"""The Debian lock of one project or of the bundle: made, proven, and what of it changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from lastgood.debian import locks, mirror, proof
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
        source = mirror.find(configured, self.seeds.suite)
        after = locks.resolve(self.seeds, source, before, upgrade, self._floor())
        text = after.text()
        if not self.file.is_file() or self.file.read_text(encoding="utf-8") != text:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_name(f".{self.file.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(self.file)
        return changes.debian(before, after)

    def prove(self, configured: str | None, snapshot: str | None = None) -> None:
        """Raises Refused where the seeds need other packages than the lock has, or one is not as Debian signed it.

        A version that Debian has replaced meanwhile does not count: the lock stays right until someone upgrades it. `configured` and
        `snapshot` are the project's mirror and snapshot archive; both carry what Debian signed, and are believed nothing else.
        """
        before = Lock.read(self.file)
        if before.suite != self.seeds.suite:
            raise Refused(f"{self.file} is of {before.suite}, not of {self.seeds.suite}: {self._advice}")
        signed = locks.read(self.seeds.suite, mirror.find(configured, self.seeds.suite))
        after = locks.resolve_from(signed, self.seeds, before, floor=self._floor())
        wrong = [change for change in changes.debian(before, after) if change.old is None or change.new is None]
        if wrong:
            raise Refused(
                f"{self.file} is stale: run `{locks.command_for(self.file)}` and commit it; the difference is\n{changes.text(wrong)}"
            )
        archive = mirror.snapshot(snapshot, before.resolved)
        past = (lambda: proof.of_the_past(before, archive)) if archive else None
        said = proof.check(before, signed.indices, past, lambda: _base(self.file))
        if said:
            raise Refused(f"{self.file} is not what Debian signed: {said}; {self._advice}")

    @property
    def _advice(self) -> str:
        return f"restore it from git, or run `{locks.command_for(self.file)}` and commit what it makes"

    def _floor(self) -> list[Lock]:
        """The bundle's lock, which no pull request of a project edits: a mirror must be as new as that."""
        with contextlib.suppress(UsageError):
            return [Lock.read(self._first)] if self._first else []
        return []


def _base(file: Path) -> Lock | None:
    """The lock at the commit that a pull request, or a push to the default branch, begins from; None elsewhere.

    GitHub names it, in a file that no pull request writes. What a push to another branch begins from is its author's.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UsageError, subprocess.CalledProcessError):
        event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        if "pull_request" in event:
            sha = event["pull_request"]["base"]["sha"]
        elif "merge_group" in event:
            sha = event["merge_group"]["base_sha"]
        else:
            sha = event["before"] if event["ref"] == f"refs/heads/{event['repository']['default_branch']}" else ""
        if re.fullmatch("[0-9a-f]{40}", sha):
            arguments = ["git", "-C", str(file.parent), "cat-file", "blob", f"{sha}:./{file.name}"]
            done = subprocess.run(arguments, capture_output=True, check=True)
            with tempfile.TemporaryDirectory(prefix="lastgood-lock-") as folder:
                kept = Path(folder, file.name)
                kept.write_bytes(done.stdout)
                return Lock.read(kept)
    return None
