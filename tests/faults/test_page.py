"""docs/faults.md lists what declared.py declares, no more and no less, beside what the runs have noted."""

from __future__ import annotations

import re
from typing import Any

from faults import page
from faults.declared import FAULTS, MISSING, Fault


def test_the_page_is_what_the_runs_have_noted() -> None:
    assert page.FILE.read_text(encoding="utf-8") == page.render(page.results()), "run `make faults`"


def test_the_page_lists_every_declared_fault_once() -> None:
    text = page.FILE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", text.partition("## Answers that failed")[0], re.MULTILINE)
    listed = [row for row in rows if row[0] != "fault"]
    assert sorted(listed) == sorted((one.what, one.how) for one in FAULTS)
    assert [one for one in MISSING if f"| {one.what} | {one.why} |" not in text] == []


def test_faults_are_told_apart_and_are_forty_at_least() -> None:
    assert len({one.name for one in FAULTS}) == len(FAULTS) >= 40
    assert len({(one.station, one.what) for one in FAULTS}) == len(FAULTS)


def test_no_result_is_of_a_fault_that_nobody_declares() -> None:
    assert set(page.results()) <= {one.name for one in FAULTS}


def test_a_row_shows_what_was_wrong_and_what_was_not_run() -> None:
    fault = FAULTS[0]
    result: dict[str, Any] = {
        "exit": 4, "runs": "other", "release": "pending", "next": "deploy", "problems": ["the lock is\nstuck | so"], "cause": "",
        "asked": 1200, "failed": 3, "kinds": {"status 500": 3}, "seconds": 9,
    }  # fmt: skip
    text = page.render({fault.name: result})
    row = next(line for line in text.splitlines() if line.startswith(f"| {fault.what} | {fault.how} "))
    assert row.endswith("| 4 | old | pending | 3 of 1,200 | deploy | ✗ the lock is stuck / so |")
    assert (
        f"**{len(FAULTS)} faults, 1 made, 0 came out as declared.** 1,200 answers were asked for, 3 failed, in 1 of the rows"
        in text
    )
    assert f"| {fault.station}: {fault.what} | 3 × status 500 | not foreseen |" in text
    other: Fault = FAULTS[1]
    assert f"| {other.what} | {other.how} | | | | | | not run |" in text
