"""Two migrators at once, in every combination of directions: one does the work, no data comes twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .fleet import Fleet, Worker, contents
from .test_faults import NEW, Ground

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

FORWARD, BACK = ("forward",), ("back", "--to", "build:old")
TO_OLD = ("forward", "--to", "build:old")


def at_once(one: Worker, first: tuple[str, ...], other: Worker, second: tuple[str, ...]) -> list[dict[str, Any]]:
    """Start both runs and return both results."""
    one.send({"arguments": first})
    other.send({"arguments": second})
    answers = [worker.receive() for worker in (one, other)]
    assert all(answers)
    return [{**answer, "result": json.loads(answer["stdout"].splitlines()[-1])} for answer in answers if answer]


@pytest.mark.parametrize(
    ("start", "first", "second", "may_end"),
    [
        (BACK, FORWARD, FORWARD, {"forward"}),
        (FORWARD, BACK, BACK, {"back"}),
        (BACK, FORWARD, BACK, {"forward", "back"}),
        (FORWARD, FORWARD, BACK, {"forward", "back"}),
        (BACK, FORWARD, TO_OLD, {"forward", "back"}),
    ],
    ids=["forward+forward", "back+back", "forward+back from old", "forward+back from new", "new+old"],
)
def test_two_at_once(
    fleet: Fleet,
    database: Any,
    tmp_path: Path,
    start: tuple[str, ...],
    first: tuple[str, ...],
    second: tuple[str, ...],
    may_end: set[str],
) -> None:
    ground = Ground(fleet, database, tmp_path, NEW)
    twin = fleet.build(tmp_path / "new", "new", database.django)
    for turn in range(10):
        ground.run(ground.new, *start)
        entries = database.rows("SELECT count(*) FROM lastgood_ledger")[0][0]
        pair = (ground.new, first, twin, second) if turn % 2 else (twin, first, ground.new, second)
        ends = at_once(*pair)
        moved = [key for each in ends for what in ("undone", "applied") for key in each["result"][what]]
        for each in ends:
            # Who comes second and must not undo names who does.
            assert each["exit_status"] in ((0, 3) if TO_OLD in (first, second) else (0,)), each["stdout"]
        found = contents(database.connection)
        assert next(way for way, end in ground.ends.items() if end == found) in may_end
        # What they say they did is what was done, each migration as often as it went to and fro.
        assert database.rows("SELECT count(*) FROM lastgood_ledger")[0][0] - entries == len(moved)
        statuses = sorted(each["result"]["status"] for each in ends)
        if first == second:
            assert statuses == ["done", "nothing"]
            assert sorted(moved) == sorted(ground.all)
        assert not database.rows("SELECT app, name FROM django_migrations GROUP BY 1, 2 HAVING count(*) > 1")
    fleet.close_workers()
