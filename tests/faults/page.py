"""docs/faults.md: what was declared, beside what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faults.declared import FAULTS, MISSING, Fault

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs/faults.md"
RESULTS = Path(__file__).with_name("results.json")
Result = Mapping[str, Any]

_HEAD = """\
# What a deploy survives

`make faults` has written this page, from what came of each fault: by `lastgood deploy` with the real service.yml and the real function,
real containers and a real PostgreSQL, on the one-machine cloud. `tests/faults/declared.py` declares the faults; a row without a run says
so.

The deploy is of *new*, with three migrations; *old* was last good before. After each fault, it is taken away, and then this must be true:
the command ended with one of the declared statuses; `lastgood status` says "as last good", which compares the tasks' digest and the
database with the record; the newest release is what was declared; every row is there, and the schema is that of the build that runs, by
the catalog; nobody has the deploy lock; no task, open operation or database lock is left; the next release works, a rollback where *new*
has come to run, else a deploy.

A client asks for a page 50 times a second all the while, also during the next release. A failed answer is any but 200, or none in thirty
seconds. It has 16 questions under way at most: a machine that can't keep up, one of two cores with other work to do, is asked less often.
There is one task (`DesiredCount = "1"`).
"""
_LEGEND = """\
Exit statuses: 0 good; 1 refused; 3 failed, and last good is back; 4 failed, and not back, or nobody knows; −9 killed. After a killed
command and after a 4, the state is the one that `lastgood status` came to, which ends the release by what runs; the lock of a killed
command was taken away with `unlock --force`, but in the first row, where it ended by itself.
"""


def results() -> dict[str, Any]:
    """What the runs so far have noted, by the faults' names."""
    try:
        found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write(known: Mapping[str, Result]) -> None:
    """Notes the results of the declared faults, and writes the page."""
    kept = {one.name: known[one.name] for one in FAULTS if one.name in known}
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(result, ensure_ascii=False)}" for name, result in kept.items()
    )
    RESULTS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    FILE.write_text(render(kept), encoding="utf-8")


def render(known: Mapping[str, Result]) -> str:
    """The page."""
    run = {name: known[name] for name in (one.name for one in FAULTS) if name in known}
    held = sum(not one["problems"] for one in run.values())
    asked, failed = sum(one["asked"] for one in run.values()), sum(one["failed"] for one in run.values())
    silent = sum(1 for one in run.values() if not one["failed"])
    told = f"{failed:,} failed, in {len(run) - silent} of the rows" if failed else "none failed"
    counts = (
        f"**{len(FAULTS)} faults, {len(run)} made, {held} came out as declared.** {asked:,} answers were asked for, {told}; in {silent} "
        "rows nobody noticed anything."
    )
    parts = [_HEAD, counts, "", _LEGEND]
    for station in dict.fromkeys(one.station for one in FAULTS):
        parts += [
            f"## {station[0].upper()}{station[1:]}",
            "",
            *_table([one for one in FAULTS if one.station == station], run),
            "",
        ]
    parts += ["## Answers that failed", "", *_unanswered(run), ""]
    parts += ["## What could not be made here", "", "| fault | why |", "|---|---|"]
    parts += [f"| {one.what} | {one.why} |" for one in MISSING]
    return "\n".join(parts) + "\n"


def _table(faults: list[Fault], run: Mapping[str, Result]) -> list[str]:
    head = [
        "| fault | how it is made | exit | runs then | release | failed answers | next release | |",
        "|---|---|--:|---|---|--:|---|---|",
    ]
    return head + [_row(one, run.get(one.name)) for one in faults]


def _row(fault: Fault, result: Result | None) -> str:
    if result is None:
        return f"| {fault.what} | {fault.how} | | | | | | not run |"
    status = str(result["exit"]).replace("-", "−")
    came = "✓" if not result["problems"] else "✗ " + "; ".join(_line(one) for one in result["problems"])
    runs = "new" if result["runs"] == "new" else "old"
    answers = f"{result['failed']} of {result['asked']:,}"
    return f"| {fault.what} | {fault.how} | {status} | {runs} | {result['release']} | {answers} | {result['next']} | {came} |"


def _unanswered(run: Mapping[str, Result]) -> list[str]:
    lost = [one for one in FAULTS if run.get(one.name, {}).get("failed")]
    if not lost:
        return ["None."]
    rows = [
        f"| {one.station}: {one.what} | {_kinds(run[one.name])} | {one.unanswered or 'not foreseen'} |" for one in lost
    ]
    return ["| fault | answers | why |", "|---|---|---|", *rows]


def _kinds(result: Result) -> str:
    return ", ".join(f"{count} × {kind}" for kind, count in sorted(result["kinds"].items()))


def _line(text: str) -> str:
    return " ".join(text.split())[:300].replace("|", "/")
