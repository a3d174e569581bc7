"""How a release that failed is told: while it goes back, in one line; at the end, with its whole cause and what runs now."""

from __future__ import annotations

from lastgood.deploy.restore import Restored
from lastgood.errors import FailedNotRestored, FailedRestored, LastgoodError
from lastgood.record.release import Release
from lastgood.report.text import masked

INTERRUPTED = "interrupted by hand"
NOT_WAITED = "the command was interrupted again while the stack was going back: `lastgood status` says where it ended"
_SHORT = 120  # characters of the cause in the line of progress


def turn(cause: str) -> str:
    """The line of progress where the way back begins: why, as short as it goes. The whole cause is told at the end, beside what is back."""
    first = masked(cause).partition("\n")[0]
    short = first if len(first) <= _SHORT else f"{first[: _SHORT - 1].rstrip()}…"
    again = "; interrupt again to stop waiting for it" if cause == INTERRUPTED else ""
    return f"failed, going back: {short}{again}"


def failure(number: int, cause: str, restored: Restored, last: Release | None) -> LastgoodError:
    """The error that ends the command: the cause, and below it what is back."""
    head = f"release {number} failed: {cause}"
    if not restored.back:
        return FailedNotRestored(f"{head}\nlast good is NOT back: {restored.wrong}")
    if last is None:
        return FailedRestored(f"{head}\nthere was no good release before: the environment is empty again")
    return FailedRestored(f"{head}\nlast good is back and verified: build {last.facts.build} (release {last.number})")
