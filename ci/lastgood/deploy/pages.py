"""Do the site's pages answer? docker/lastgood_inside/smoke.py asks them, in a process of its own: what a site sends is a stranger's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lastgood import bundle
from lastgood.deploy.smoke import Health
from lastgood.errors import LastgoodError
from lastgood.report.terminal import counted
from lastgood.report.text import head, line

UNDECLARED = ("/",)  # asked of every site: whatever it answers there, an error of its own is none of it
DEADLINE = 120.0  # seconds: twice what the asking allows itself


@dataclass(frozen=True)
class Pages:
    """What came of asking a site: (path, HTTP's status, number of static files) of each page, and what a person should know."""

    answers: tuple[tuple[str, int, int], ...]
    notes: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """In a few words."""
        shown = (
            f"{path} {status}" + (f" with {counted(files, 'file')}" if files else "")
            for path, status, files in self.answers
        )
        return ", ".join(shown) or "no page was asked"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        named = [dict(zip(("path", "status", "files"), answer, strict=True)) for answer in self.answers]
        return {"pages": named, "notes": list(self.notes)}


def ask(url: str, health: Health, declared: Sequence[str] | None, deadline: float = DEADLINE) -> Pages:
    """Asks the site at `url`, which says of itself what `health` has, for the pages that are declared (None: for UNDECLARED).

    Raises LastgoodError that says which page or file does not answer as it should.
    """
    paths = UNDECLARED if declared is None else declared
    asked = {
        "url": url,
        "paths": list(paths),
        "declared": declared is not None,
        "hosts": health.hosts,
        "static": health.static,
    }
    file = bundle.path("docker/lastgood_inside/smoke.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(file)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LastgoodError(
            f"the smoke test failed: {url} had not answered for all of {', '.join(paths)} after {deadline:.0f} s"
        ) from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LastgoodError(f"the smoke test of {url} could not be made: {line(head(why, 500))}")
    found = json.loads(done.stdout)
    if found["wrong"]:
        raise LastgoodError(f"the smoke test failed: {url}: {line(head(found['wrong'], 1000))}")
    answers = tuple((line(one["path"]), int(one["status"]), int(one["files"])) for one in found["pages"])
    return Pages(answers, tuple(line(head(note, 1000)) for note in found["notes"]))
