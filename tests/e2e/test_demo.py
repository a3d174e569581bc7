from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def facts(home: Path, lastgood: Any) -> dict[str, Any]:
    done = lastgood("demo", "--json")
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_expectation_held(facts: dict[str, Any], home: Path) -> None:
    stations = {station["title"]: station for station in facts["stations"]}
    assert [station["outcome"] for station in facts["stations"]] == [
        "",
        "good",
        "good",
        "failed; version 2 is back, schema included",
        "failed; nothing of it is left",
        "good",
        "good",
    ]
    missed = [item for station in stations.values() for item in station["expectations"] if not item["held"]]
    assert missed == []
    # A station that expects nothing would hold, too.
    assert [len(station["expectations"]) for station in facts["stations"]] == [0, 4, 5, 5, 5, 6, 4]
    assert json.loads((home / ".lastgood/demo.json").read_text(encoding="utf-8")) == facts
    assert "29 of 29 expectations held" in (home / ".lastgood/demo.html").read_text(encoding="utf-8")


def test_nobody_noticed_the_failed_releases_and_the_rollback(facts: dict[str, Any]) -> None:
    for number, verb, status in ((3, " deploy", 3), (4, " deploy", 3), (5, " rollback", 0)):
        station = facts["stations"][number]
        assert station["asked"] > 20
        assert station["failed"] == 0, station["failures"]
        assert next(command["status"] for command in station["commands"] if verb in command["line"]) == status


def test_the_record_tells_the_story(facts: dict[str, Any], lastgood: Any) -> None:
    releases = json.loads(lastgood("history", "--json").stdout)
    assert [(release["kind"], release["state"]) for release in releases] == [
        ("recreate", "good"),
        ("rollback", "good"),
        ("deploy", "failed"),
        ("deploy", "failed"),
        ("deploy", "undone"),
        ("deploy", "good"),
    ]


def test_the_site_stays_up_and_comes_back_with_its_data(facts: dict[str, Any], lastgood: Any) -> None:
    def board() -> str:
        with urllib.request.urlopen(f"{facts['site']}/", timeout=10) as answer:
            return str(answer.read().decode())

    before = board()
    assert "recreate of v1" in before
    assert lastgood("local", "down").returncode == 0
    with pytest.raises(OSError, match="refused"):
        board()
    up = lastgood("local", "up")
    assert up.returncode == 0, up.stderr
    assert "recreate of v1" in board()
    assert json.loads(lastgood("status", "--json").stdout)["verdict"] == "as last good"
