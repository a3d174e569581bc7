"""What came of the demo: its facts, for demo.json and the page, and the table that ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lastgood.demo.station import Station
from lastgood.report.terminal import seconds, table

STATIONS = 7  # a story that ended early has fewer


def facts(stations: Sequence[Station], digests: Mapping[str, str], site: str | None, duration: float) -> dict[str, Any]:
    """What demo.json holds. `digests` are the versions' by name, `site` is where the site stays up, `duration` is in seconds."""
    return {
        "held": len(stations) == STATIONS and all(station.held for station in stations),
        "seconds": round(duration, 2),
        "site": site,
        "digests": dict(digests),
        "stations": [asdict(station) | {"held": station.held} for station in stations],
    }


def text(stations: Sequence[Station], told: Mapping[str, Any], picture: Path) -> str:
    """The table that ends the demo on a terminal; `told` are its facts, `picture` is the page."""
    rows = [
        [
            "✓" if station.held else "✗",
            station.title,
            station.outcome or "done",
            f"{sum(expectation.held for expectation in station.expectations)}/{len(station.expectations)}",
            f"{station.failed} of {station.asked}" if station.asked else "–",
            seconds(station.seconds),
        ]
        for station in stations
    ]
    header = ["", "station", "outcome", "held", "failed answers", "time"]
    verdict = "every expectation held" if told["held"] else "NOT every expectation held"
    return "\n".join(
        [
            "",
            table(header, rows, right=(3, 4, 5)),
            "",
            f"{verdict}, in {seconds(told['seconds'])}",
            f"the page  {picture.as_uri()}",
            f"the site  {told['site'] or 'not up'}   (it stays up; `lastgood local down` stops it)",
        ]
    )
