"""The facts and the table that the demo ends with."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood.demo import summary
from lastgood.demo.station import Command, Expectation, Station


def stations(count: int, *, held: bool = True) -> list[Station]:
    first = Station("version 1", "t", 93.4, [Command("lastgood build", 0, 2.0)], [Expectation("it runs", held)], 5, 0)
    return [first, *(Station(f"station {number}", "t", 1.0) for number in range(2, count + 1))]


@pytest.mark.parametrize(("count", "held", "whole"), [(7, True, True), (7, False, False), (6, True, False)])
def test_held_is_every_expectation_of_every_station(count: int, held: bool, whole: bool) -> None:
    facts = summary.facts(stations(count, held=held), {"v1": "sha256:a"}, "http://site", 157.123)
    assert (facts["held"], facts["seconds"], facts["site"], facts["digests"]) == (
        whole, 157.12, "http://site", {"v1": "sha256:a"},
    )  # fmt: skip
    assert (facts["stations"][0]["held"], facts["stations"][0]["commands"][0]["line"]) == (held, "lastgood build")


def test_the_table() -> None:
    played = stations(1, held=False)
    facts = summary.facts(played, {}, None, 9.0)
    assert summary.text(played, facts, Path("/x/demo.html")).splitlines() == [
        "",
        "   station    outcome  held  failed answers  time",
        "─  ─────────  ───────  ────  ──────────────  ────",
        "✗  version 1  done      0/1          0 of 5  93 s",
        "",
        "NOT every expectation held, in 9.0 s",
        "the page  file:///x/demo.html",
        "the site  not up   (it stays up; `lastgood local down` stops it)",
    ]
