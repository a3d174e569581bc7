"""The budget's verdict: a pure function of the sizes, the limits and the growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lastgood.config.project import Budget
from lastgood.report.terminal import megabytes
from lastgood.scan.contents import Cause, Contents
from lastgood.scan.findings import Finding
from lastgood.scan.weigh import title


@dataclass(frozen=True)
class Line:
    """One limit with what is used of it, in bytes (or files)."""

    name: str
    used: int
    limit: int

    @property
    def over(self) -> bool:
        """Whether it is exceeded."""
        return self.used > self.limit


def lines(contents: Contents, budget: Budget, before: Contents | None) -> tuple[Line, ...]:
    """Every limit of the budget that can be checked; growth only where there is something to compare with."""
    found = [Line("total", contents.size, budget.total)]
    if budget.growth is not None and before is not None:
        found.append(Line("growth", contents.size - before.size, budget.growth))
    if budget.files is not None:
        found.append(Line("files", contents.files, budget.files))
    for name, limit in budget.distributions.items():
        found.append(Line(name, contents.owners.get(f"python:{name}", ("", 0, 0))[1], limit))
    return tuple(found)


def verdict(contents: Contents, limits: Sequence[Line], causes: Sequence[Cause] = ()) -> tuple[Finding, ...]:
    """A finding for each limit that is exceeded; what grew most, else what weighs most, is named first."""
    return tuple(_finding(contents, line, causes) for line in limits if line.over)


def _finding(contents: Contents, line: Line, causes: Sequence[Cause]) -> Finding:
    over = line.used - line.limit
    grown = next((cause for cause in causes if cause.compressed > 0), None)
    if line.name == "files":
        text = f"the image has {line.used} files, {over} over its budget of {line.limit}"
        return Finding("budget", "files", text, "leave files out or raise budget.files")
    sizes = f"{megabytes(line.used)} compressed, {megabytes(over)} over its budget of {megabytes(line.limit)}"
    if line.name not in ("total", "growth"):
        version = contents.owners[f"python:{line.name}"][0]
        text = f"{line.name} {version} is {sizes}"
        return Finding("budget", line.name, text, "lock another version or raise budget.distributions")
    cause = (
        f"+{megabytes(grown.compressed)} is {grown.text}"
        if grown
        else f"the largest part is {_largest(contents.owners)}"
    )
    if line.name == "growth":
        text = (
            f"{cause}; the image grew by {megabytes(line.used)} since last good, {megabytes(over)} over its budget of "
        )
        return Finding("growth", "growth", f"{text}{megabytes(line.limit)}", "leave it out or raise budget.growth")
    return Finding("budget", "total", f"{cause}; the image is {sizes}", "leave something out or raise budget.total")


def _largest(owners: Mapping[str, tuple[str, int, int]]) -> str:
    name, (version, packed, _) = max(owners.items(), key=lambda pair: pair[1][1])
    return f"{title(name)} {version}".strip() + f" with {megabytes(packed)}"
