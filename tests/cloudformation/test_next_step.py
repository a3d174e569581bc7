"""The decision of the migration function, as a table."""

from __future__ import annotations

from typing import Any

import pytest

WANTED = {"build": "wanted", "digest": "sha256:wanted"}
OLD = {"build": "old", "digest": "sha256:old"}
FORWARD = WANTED | {"direction": "forward", "busy": 0}
BACK = OLD | {"direction": "back", "busy": 0}
LEDGER = {"build": "other", "digest": "sha256:other"}


def outcome(code: int | None, log: tuple[str, ...] = (), stopped: str = "", **result: Any) -> dict[str, Any]:
    return {"exit": code, "result": result or None, "stopped": stopped, "log": list(log)}


def run(build: dict[str, Any], direction: str, busy: int = 0) -> dict[str, Any]:
    return {"run": build | {"direction": direction, "busy": busy}}


def failed(reason: str) -> dict[str, Any]:
    return {"answer": "FAILED", "reason": reason}


NEEDS = {"needs": "other", "needs_digest": "sha256:other"}
CASES = {
    "forward is done": (
        [FORWARD],
        OLD,
        outcome(0, status="done"),
        {"answer": "SUCCESS", "reason": "the database is in step with build wanted"},
    ),
    "forward is done as far as may be": (
        [FORWARD],
        OLD,
        outcome(0, status="nothing", reason="left as it is"),
        {"answer": "SUCCESS", "reason": "left as it is"},
    ),
    "back is done: forward again": ([FORWARD, BACK], OLD, outcome(0), run(WANTED, "forward")),
    "the ledger names the build": ([FORWARD], OLD, outcome(3, **NEEDS), run(LEDGER, "back")),
    "a stepping stone forward": (
        [FORWARD],
        OLD,
        outcome(3, **NEEDS, needs_direction="forward"),
        run(LEDGER, "forward"),
    ),
    "the stepping stone is done: the wanted build": (
        [FORWARD, LEDGER | {"direction": "forward"}],
        OLD,
        outcome(0),
        run(WANTED, "forward"),
    ),
    "the stepping stone hands over": (
        [FORWARD, LEDGER | {"direction": "forward"}],
        OLD,
        outcome(3, needs="wanted", needs_direction="forward"),
        run(WANTED, "forward"),
    ),
    "on Create, too": ([FORWARD], None, outcome(3, **NEEDS), run(LEDGER, "back")),
    "the ledger doesn't: the build that is replaced": ([FORWARD], OLD, outcome(3), run(OLD, "back")),
    "nobody knows": ([FORWARD], None, outcome(3, reason="no ledger"), failed("forward by build wanted: no ledger")),
    "nobody knows, and the migrator says nothing": (
        [FORWARD],
        None,
        outcome(3),
        failed("forward by build wanted: nobody knows the build that must undo what is applied"),
    ),
    "the replaced build is asked once only": (
        [FORWARD, BACK | {"exit": 0}, FORWARD],
        OLD,
        outcome(3, reason="still ahead"),
        failed("forward by build wanted: still ahead"),
    ),
    "back needs a third build": ([FORWARD, BACK], OLD, outcome(3, **NEEDS), run(LEDGER, "back")),
    "a build that asks for itself": (
        [FORWARD, LEDGER | {"direction": "back", "busy": 0}],
        OLD,
        outcome(3, **NEEDS),
        failed("back by build other: build other asked for itself"),
    ),
    "refused": (
        [FORWARD],
        OLD,
        outcome(4, reason="board.0003 can't be undone"),
        failed("forward by build wanted: board.0003 can't be undone"),
    ),
    "failed, with its last lines": (
        [FORWARD],
        OLD,
        outcome(5, ("applied a.0001", '{"status": "failed"}'), reason="a.0002: IntegrityError"),
        failed("forward by build wanted: a.0002: IntegrityError\nlast log lines:\napplied a.0001"),
    ),
    "crashed, with its last lines": (
        [FORWARD],
        OLD,
        outcome(1, ("Traceback", "ImportError: board")),
        failed("forward by build wanted: exit status 1\nlast log lines:\nTraceback\nImportError: board"),
    ),
    "killed": (
        [FORWARD],
        OLD,
        outcome(137, stopped="OutOfMemoryError: container killed"),
        failed("forward by build wanted: exit status 137 (OutOfMemoryError: container killed)"),
    ),
    "never started": (
        [FORWARD],
        OLD,
        outcome(None, stopped="CannotPullContainerError: not found"),
        failed("forward by build wanted: the task did not start (CannotPullContainerError: not found)"),
    ),
    "busy": ([FORWARD | {"exit": 75}], OLD, outcome(75), run(WANTED, "forward", busy=1)),
    "busy again": ([FORWARD | {"exit": 75}] * 2, OLD, outcome(75), run(WANTED, "forward", busy=2)),
    "busy for too long": (
        [FORWARD | {"exit": 75}] * 11,
        OLD,
        outcome(75),
        failed("forward by build wanted: the database was still busy at the last of 11 tries"),
    ),
    "busy tries are no hops": (
        [FORWARD | {"exit": 75}] * 8 + [FORWARD],
        OLD,
        outcome(3, **NEEDS),
        run(LEDGER, "back"),
    ),
    "in circles": (
        [FORWARD | {"exit": 3}, LEDGER | {"direction": "back", "exit": 0}] * 4,
        OLD,
        outcome(0),
        failed("no end after 8 release tasks: " + " -> ".join(["forward by wanted", "back by other"] * 4)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_next_step(migration_resource: Any, name: str) -> None:
    hops, old, ended, expected = CASES[name]
    operation = {"wanted": WANTED, "old": old, "hops": hops}
    assert migration_resource.decision.next_step(operation, ended) == expected


def test_the_reason_has_no_password_and_an_end(migration_resource: Any) -> None:
    lines = ("x" * 4000, "could not connect to postgresql://board:s3cr%t@db:5432/board")
    step = migration_resource.decision.next_step({"wanted": WANTED, "old": None, "hops": [FORWARD]}, outcome(1, lines))
    assert step["reason"].startswith("forward by build wanted: exit status 1\nlast log lines:\nxxx")
    assert step["reason"].endswith("could not connect to postgresql://...@db:5432/board")
    assert len(step["reason"]) <= migration_resource.decision.REASON_LIMIT
