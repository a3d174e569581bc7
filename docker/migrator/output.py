"""What a run says: progress while it goes, and its result as the last line of standard output."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass, field

EXIT_STATUS = {"done": 0, "nothing": 0, "needs": 3, "refused": 4, "failed": 5, "busy": 75}
# C0 but for tab and line feed, C1, separators of lines, and what turns the direction of writing round.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
COMMAND = re.compile(r"^(\s*)::", re.MULTILINE)


@dataclass
class Result:
    """The outcome of `back` or `forward`; `undone` and `applied` hold only what is committed, in order."""

    status: str = "failed"
    needs: str | None = None
    needs_digest: str | None = None
    needs_direction: str | None = None
    reason: str | None = None
    undone: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    build: str | None = None
    target: str | None = None

    def line(self) -> str:
        """Return the result as one line of JSON, also for who ends lines at more than a line feed."""
        text = json.dumps(asdict(self), ensure_ascii=False)
        return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def shown(text: str) -> str:
    """Return `text` with nothing in it that a terminal obeys, or a CI system that shows these lines: names and errors are a project's.

    `::` at the beginning of a line, and `##[` anywhere, are commands to GitHub Actions.
    """
    plain = CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)
    return COMMAND.sub(r"\1\\::", plain).replace("##[", "##\\[")


def progress(text: str) -> None:
    """Print a line at once: nobody watches a task whose output sits in a buffer."""
    print(shown(text), flush=True)


def complain(error: object) -> None:
    """Print an error on standard error."""
    print(shown(str(error)), file=sys.stderr, flush=True)
