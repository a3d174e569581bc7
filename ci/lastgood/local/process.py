"""Processes that outlive the command which started them, found again by number and start time."""

from __future__ import annotations

from pathlib import Path


def started(pid: int) -> str | None:
    """When a living process was started, in clock ticks since boot; None for one that is gone or a zombie.

    With its number, that tells a process from a later one that has got the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
