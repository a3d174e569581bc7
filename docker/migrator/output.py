"""What a run says: progress while it goes, and its result as the last line of standard output."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

EXIT_STATUS = {"done": 0, "nothing": 0, "needs": 3, "refused": 4, "failed": 5, "busy": 75}


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
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def progress(text: str) -> None:
    """Print a line at once: nobody watches a task whose output sits in a buffer."""
    print(text, flush=True)
