"""A scan for people: the terminal's text, and Markdown for a job's summary or a pull request. Both from the scan's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.report.terminal import megabytes, seconds, table
from lastgood.report.text import cell, line

_OWNERS = 12  # rows of the terminal's table of owners
_CAUSES = 8
_TITLES = {"project": "the project's own files", "lastgood": "lastgood's own files"}


@dataclass(frozen=True)
class _Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int]


def delta(value: int) -> str:
    """Bytes more or less for people: `+1.9 MB`, `−12.0 kB`."""
    return f"{'−' if value < 0 else '+'}{megabytes(abs(value))}"


def text(facts: Mapping[str, Any]) -> str:
    """For a terminal: what is wrong first, then the sizes, the largest parts, and why it grew."""
    parts = [_wrong(facts, "✗ "), _headline(facts)]
    if facts["growth"]:
        parts.append("\n".join([_growth_title(facts["growth"]), *(f"  {line}" for line in _causes(facts["growth"]))]))
    parts += [table(one.header, one.rows, one.right) for one in (_layers(facts), _owners(facts, _OWNERS))]
    parts.append("\n".join(_remarks(facts)))
    return "\n\n".join(part for part in parts if part)


def markdown(facts: Mapping[str, Any]) -> str:
    """For a job's summary or a pull request's comment; the long tables are folded."""
    verdict = "refused" if facts["findings"] else "accepted"
    parts = [f"### Image: {verdict}", cell(_headline(facts))]
    if facts["findings"]:
        parts.append("\n".join(f"- ❌ {cell(_sentence(one))}" for one in facts["findings"]))
    if facts["growth"]:
        parts.append(f"**{cell(_growth_title(facts['growth']))}**")
        parts.append("\n".join(f"- {cell(line)}" for line in _causes(facts["growth"])))
    parts.append(_markdown_table(_layers(facts)))
    for title, one in (
        ("Parts, by owner", _owners(facts, None)),
        ("Kinds of files", _simple(facts["kinds"], "kind")),
        ("Folders", _simple(facts["folders"][:25], "folder")),
    ):
        parts.append(f"<details><summary>{title}</summary>\n\n{_markdown_table(one)}\n\n</details>")
    parts.append("\n".join(f"- {cell(line)}" for line in _remarks(facts)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrong(facts: Mapping[str, Any], mark: str) -> str:
    return "\n".join(f"{mark}{_sentence(one)}" for one in facts["findings"])


def _sentence(finding: Mapping[str, Any]) -> str:
    platform = f" ({finding['platform']})" if finding.get("platform") else ""
    return line(f"{finding['text']}{platform}" + (f": {finding['do']}" if finding.get("do") else ""))


def _headline(facts: Mapping[str, Any]) -> str:
    share = 100 * facts["compressed"] / facts["budget"]
    sizes = (
        f"{megabytes(facts['compressed'])} compressed, {megabytes(facts['unpacked'])} unpacked, {facts['files']} files"
    )
    rest = [
        f"{line['name']} {megabytes(line['used']) if line['name'] != 'files' else line['used']} of "
        f"{megabytes(line['limit']) if line['name'] != 'files' else line['limit']}"
        for line in facts["budgets"]
        if line["name"] != "total"
    ]
    others = [
        f"{one['platform']}: {megabytes(one['compressed'])} compressed, {one['files']} files"
        for one in facts["platforms"][1:]
    ]
    first = f"{facts['platforms'][0]['platform']}: " if others else ""
    return "; ".join([f"{first}{sizes}; {share:.0f} % of the budget of {megabytes(facts['budget'])}", *rest, *others])


def _growth_title(growth: Mapping[str, Any]) -> str:
    return line(f"{delta(growth['compressed'])} against {growth['against']}")


def _causes(growth: Mapping[str, Any]) -> list[str]:
    causes = sorted(growth["causes"], key=lambda one: -abs(one["compressed"]))
    shown = [f"{delta(one['compressed'])}: {one['cause']}" for one in causes[:_CAUSES]]
    rest = causes[_CAUSES:]
    if rest:
        shown.append(f"{delta(sum(one['compressed'] for one in rest))}: {len(rest)} others")
    return [line(one) for one in shown] or ["nothing weighs more or less"]


def _row(one: Mapping[str, Any]) -> list[str]:
    return [megabytes(one["compressed"]), megabytes(one["unpacked"]), str(one["files"])]


def _layers(facts: Mapping[str, Any]) -> _Table:
    rows = [[one["layer"], *_row(one)] for one in facts["layers"]]
    rows.append(["total", *_row(facts)])
    return _Table(("layer", "compressed", "unpacked", "files"), rows, (1, 2, 3))


def _owners(facts: Mapping[str, Any], limit: int | None) -> _Table:
    shown, rest = facts["owners"][:limit], facts["owners"][limit:] if limit else []
    # What belongs to nobody is never among "others".
    shown = [*shown, *(one for one in rest if one["owner"] == "unattributed")]
    rest = [one for one in rest if one["owner"] != "unattributed"]
    rows = []
    for one in shown:
        origin, _, name = one["owner"].partition(":")
        rows.append([_TITLES.get(origin, name or origin), one.get("version", ""), origin if name else "", *_row(one)])
    if rest:
        sums = {key: sum(one[key] for one in rest) for key in ("compressed", "unpacked", "files")}
        rows.append([f"{len(rest)} others", "", "", *_row(sums)])
    return _Table(("part", "version", "from", "compressed", "unpacked", "files"), rows, (3, 4, 5))


def _simple(rows: Sequence[Mapping[str, Any]], key: str) -> _Table:
    return _Table((key, "compressed", "unpacked", "files"), [[one[key], *_row(one)] for one in rows], (1, 2, 3))


def _remarks(facts: Mapping[str, Any]) -> list[str]:
    """The sentences below the tables: what was checked and is right, what is accepted, what was not looked at, and the costs."""
    native = facts["native"]
    holes = sum(one["rule"] in ("missing-library", "missing-version", "wrong-machine") for one in facts["findings"])
    lines = [f"accepted: {_sentence(one)}" for one in facts["accepted"]]
    lines += facts["notes"]
    if native["files"] and not holes:
        opens = sum(bool(one["opens"]) for one in native["opens"])
        lines.append(
            f"{native['files']} native files find every library and symbol version they need; {opens} files open libraries by name, "
            "which nothing can prove (--json lists them)"
        )
    wasted = facts["wasted"]
    if wasted["files"]:
        lines.append(
            f"{megabytes(wasted['compressed'])} are wasted on {wasted['files']} files that a later layer replaces or deletes"
        )
    audited = facts["vulnerabilities"]
    lines += [f"no known vulnerability to mend in {what}" for what in audited["checked"] if not _vulnerable(facts)]
    if audited["without_a_fix"]:
        lines.append(
            f"{audited['without_a_fix']} known vulnerabilities of Debian packages have no fix in this release yet"
        )
    lines += [f"not checked: {what}" for what in audited["not_checked"]]
    return [line(one) for one in (*lines, _costs(facts["cost"]))]


def _vulnerable(facts: Mapping[str, Any]) -> bool:
    return any(one["rule"] == "vulnerability" for one in [*facts["findings"], *facts["accepted"]])


def _costs(costs: Mapping[str, Any]) -> str:
    storage = costs["storage"]
    pulls = ", ".join(f"{seconds(value)} at {_bandwidth(int(one))}" for one, value in costs["pull_seconds"].items())
    unknown = storage["kept"] - storage["known"]
    how = (
        f", {storage['known']} of them known here, the others taken to share no layer"
        if unknown
        else ", shared layers counted once"
    )
    return (
        f"computed: transfer of a pull {pulls}; storage {storage['usd_a_month']:.2f} USD a month for {storage['kept']} kept images at "
        f"{storage['usd_a_gb']:.2f} USD a GB ({megabytes(storage['bytes'])}{how})"
    )


def _bandwidth(megabits: int) -> str:
    return f"{megabits // 1000} Gbit/s" if megabits % 1000 == 0 else f"{megabits} Mbit/s"


def _markdown_table(one: _Table) -> str:
    rule = ["---:" if number in one.right else "---" for number in range(len(one.header))]
    rows = [one.header, rule, *([cell(one) for one in row] for row in one.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def refusal(facts: Mapping[str, Any]) -> str:
    """One sentence for what refuses the image: the first findings, with the causes, and how many more there are."""
    shown = [_sentence(one) for one in facts["findings"][:3]]
    rest = len(facts["findings"]) - len(shown)
    return "the scan found " + "; ".join([*shown, *([f"and {rest} more, listed above"] if rest else [])])
