"""From runs to figures, and from figures to verdicts: pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """What several runs of one thing gave: median, number of runs, least and most, in the runs' unit."""

    median: float
    n: int
    least: float
    most: float

    @classmethod
    def of(cls, runs: Sequence[float]) -> Figure:
        """Of at least one run."""
        return cls(statistics.median(runs), len(runs), min(runs), max(runs))

    def seconds(self) -> str:
        """`0.53 s (0.51–0.60)`."""
        return f"{self.median:.2f} s ({self.least:.2f}–{self.most:.2f})"


@dataclass(frozen=True)
class Goal:
    """One ratio that was promised: ours over theirs, at most `limit`. `text` says what is compared."""

    text: str
    ours: float
    theirs: float
    limit: float
    unit: str

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether the promise holds."""
        return self.ratio <= self.limit


def ratios(subject: Mapping[str, Any]) -> list[Goal]:
    """The goals that the results of one project allow to judge (those of parts that were not measured are left out).

    `subject`: {"size": {image: {gzip, zstd, pushed}}, "floor": {gzip, zstd}, "start": {"warm"|"cold": {image: [seconds]}},
    "build": {"code": {image: [seconds]}}, "upload": {"code": {image: bytes}}}.
    """
    goals: list[Goal] = []
    size, floor, start, build, upload = (subject.get(part) for part in ("size", "floor", "start", "build", "upload"))
    for kind, text in (("gzip", "gzip -6"), ("zstd", "zstd -19")):
        if size:
            ours = size["lastgood"][kind]
            goals.append(Goal(f"compressed ({text}) against distroless", ours, size["distroless"][kind], 0.33, "MB"))
            if floor:
                goals.append(Goal(f"compressed ({text}) against the floor", ours, floor[kind], 1.35, "MB"))
    if size:
        ours, theirs = size["lastgood"]["pushed"], size["distroless"]["pushed"]
        goals.append(Goal("compressed, each as its own push does it, against distroless", ours, theirs, 0.33, "MB"))
    if upload and "code" in upload:
        goals.append(Goal("upload of a code change against 50 kB", upload["code"]["lastgood"], 50_000, 1.0, "kB"))
    if build and "code" in build:
        code = build["code"]
        for name, text in (("lastgood", "build"), ("lastgood, loaded", "build and load into the engine")):
            if name in code:
                ours, theirs = statistics.median(code[name]), statistics.median(code["slim"])
                goals.append(Goal(f"code change: {text} against the cached slim build", ours, theirs, 0.5, "s"))
    if start:
        for name, limit in (("slim", 0.95), ("distroless", 0.55)):
            for kind in ("warm", "cold"):
                ours = statistics.median(start[kind]["lastgood"])
                theirs = statistics.median(start[kind][name])
                goals.append(Goal(f"start to first answer, {kind}, against {name}", ours, theirs, limit, "s"))
    return goals
