"""All that is said of an environment before its first release, in the order in which it is mended."""

from __future__ import annotations

from collections.abc import Sequence

from lastgood.preflight import account, entrance, network, quotas, secrets
from lastgood.preflight.line import GOOD, NOTE, UNKNOWN, WRONG, Facts, Line

_MARKS = {GOOD: "✓", WRONG: "✗", NOTE: "·", UNKNOWN: "?"}


def examine(facts: Facts) -> list[Line]:
    """What was found: account, network, secrets, the way in, quotas. Where the account can't be asked, that alone."""
    found = account.lines(facts)
    if found[0].state != GOOD:
        return found
    for room in (network, secrets, entrance, quotas):
        found += room.lines(facts)
    return found


def ready(lines: Sequence[Line]) -> bool:
    """Whether nothing is known to be in the way of a release."""
    return all(line.state != WRONG for line in lines)


def render(lines: Sequence[Line]) -> str:
    """The lines for a terminal, what to do below what was found."""
    width = max(len(line.what) for line in lines)
    shown = []
    for line in lines:
        shown.append(f"{_MARKS[line.state]} {line.what.ljust(width)}  {line.text}")
        if line.todo and line.state != GOOD:
            shown.append(f"  {' ' * width}  → {line.todo}")
    wrong = sum(line.state == WRONG for line in lines)
    unknown = sum(line.state == UNKNOWN for line in lines)
    end = "nothing is in the way of a release" if not wrong else f"{wrong} to mend, from the top down"
    return "\n".join([*shown, "", end + (f"; {unknown} could not be seen" if unknown else "")])
