"""What a new lock changes: one model for the terminal, for Markdown and for --json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from debian.debian_support import version_compare

from lastgood.debian.locks import Lock, Package
from lastgood.python import merge
from lastgood.report import terminal
from lastgood.report.terminal import counted
from lastgood.report.text import cell

_SECURITY = "debian-security"
_NAMED = 3  # names in one reason


@dataclass(frozen=True)
class Change:
    """One package that moved. `old` is None for a new one, `new` for one that is gone. `where` names stages or platforms."""

    kind: str  # debian, python or build
    name: str
    old: str | None
    new: str | None
    where: tuple[str, ...]
    reason: str

    @property
    def security(self) -> bool:
        """Whether the new version comes from Debian's security archive."""
        return self.reason == "security"

    @property
    def move(self) -> str:
        """`1.0 → 1.1`, `new 1.1`, or `1.0 removed`."""
        if self.old is None:
            return f"new {self.new}"
        return f"{self.old} → {self.new}" if self.new else f"{self.old} removed"


def debian(before: Lock | None, after: Lock) -> list[Change]:
    """The Debian packages that moved, security first. Stages in which the same move happens stand together."""
    old, new = _by_place(before), _by_place(after)
    places: dict[tuple[str, str | None, str | None, str], list[tuple[str, str]]] = {}
    for stage, architecture, name in sorted(old.keys() | new.keys()):
        one, two = old.get((stage, architecture, name)), new.get((stage, architecture, name))
        if one == two:
            continue
        key = (name, one.version if one else None, two.version if two else None, _reason(one, two))
        places.setdefault(key, []).append((stage, architecture.partition("/")[0]))
    changes = [
        Change("debian", name, one, two, _where(found), reason) for (name, one, two, reason), found in places.items()
    ]
    return sorted(changes, key=lambda change: (not change.security, change.name))


def _by_place(lock: Lock | None) -> dict[tuple[str, str, str], Package]:
    """{(stage, architecture of the stage, name): package}; what is there for two architectures once for each."""
    found: dict[tuple[str, str, str], Package] = {}
    for stage, architecture, package in lock.all() if lock else ():
        foreign = package.architecture not in ("all", architecture)
        found[stage, f"{architecture}/{package.architecture}" if foreign else architecture, package.name] = package
    return found


def _reason(one: Package | None, two: Package | None) -> str:
    if one is None:
        return "newly needed"
    if two is None:
        return "no longer needed"
    if one.version == two.version:
        return "the same version, built anew"
    if version_compare(two.version, one.version) < 0:
        return "an older version"
    return "security" if two.archive == _SECURITY else "update"


def _where(places: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """`runtime (amd64, arm64)` for each stage."""
    stages: dict[str, list[str]] = {}
    for stage, architecture in places:
        names = stages.setdefault(stage, [])
        if architecture not in names:
            names.append(architecture)
    return tuple(f"{stage} ({', '.join(names)})" for stage, names in stages.items())


def python(before: str, after: str, kind: str = "python") -> list[Change]:
    """The distributions that moved between two texts of a Python lock, and which requirement moved them."""
    old, new = _by_name(before), _by_name(after)
    moved = {name for name in old.keys() | new.keys() if _versions(old, name) != _versions(new, name)}
    changes = []
    for name in sorted(moved):
        asking = new.get(name) or old[name]
        reason = "no longer needed" if name not in new else _because(asking, moved, old, new)
        where = tuple(sorted({_platform(entry) for entry in asking} - {""}))
        changes.append(Change(kind, name, _versions(old, name), _versions(new, name), where, reason))
    return changes


def _by_name(text: str) -> dict[str, list[merge.Entry]]:
    found: dict[str, list[merge.Entry]] = {}
    for entry in merge.entries(text):
        found.setdefault(entry.name, []).append(entry)
    return found


def _versions(table: Mapping[str, list[merge.Entry]], name: str) -> str | None:
    return ", ".join(dict.fromkeys(entry.version for entry in table[name])) if name in table else None


def _platform(entry: merge.Entry) -> str:
    """The machine that an entry holds for, where it does not hold for all."""
    return entry.marker.rpartition('platform_machine == "')[2].rstrip('"') if "platform_machine" in entry.marker else ""


def _because(
    entries: list[merge.Entry],
    moved: set[str],
    old: Mapping[str, list[merge.Entry]],
    new: Mapping[str, list[merge.Entry]],
) -> str:
    askers = sorted({asker for entry in entries for asker in entry.via})
    files = [asker.removeprefix("-r ") for asker in askers if asker.startswith("-r ")]
    others = [merge.normalised(asker.partition("[")[0]) for asker in askers if not asker.startswith("-")]
    movers = [f"{one} ({_moved(old, new, one)})" for one in others if one in moved and one in old]
    if movers:
        return f"moved with {_some(movers)}"
    if files:
        return f"asked for in {', '.join(files)}"
    return f"needed by {_some(others)}" if others else "update"


def _some(names: list[str]) -> str:
    """The first few of them: what half of a lock asks for would fill a page with its reason."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {counted(more, 'other')}" if more > 0 else "")


def _moved(old: Mapping[str, list[merge.Entry]], new: Mapping[str, list[merge.Entry]], name: str) -> str:
    return Change("", name, _versions(old, name), _versions(new, name), (), "").move


def as_dicts(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """For --json."""
    return [asdict(change) | {"security": change.security} for change in changes]


def _rows(changes: Iterable[Change]) -> list[list[str]]:
    return [
        [change.kind, change.name, change.move, "; ".join(change.where) or "all", change.reason] for change in changes
    ]


_HEADER = ("lock", "package", "change", "where", "reason")


def text(changes: list[Change]) -> str:
    """A table for a terminal; an empty text without changes."""
    return terminal.table(_HEADER, _rows(changes)) if changes else ""


def markdown(changes: list[Change]) -> str:
    """A table for a pull request, security first and in bold."""
    if not changes:
        return "The locks did not change."
    secure = sum(change.security for change in changes)
    lines = [f"**{len(changes)} packages change, {secure} of them for security.**", ""]
    lines += [f"| {' | '.join(_HEADER)} |", f"|{' --- |' * len(_HEADER)}"]
    for row in _rows(sorted(changes, key=lambda change: not change.security)):
        cells = [cell(one) for one in row]
        if cells[-1] == "security":
            cells[-1] = "**security**"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
