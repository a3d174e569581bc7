"""The decision of the migration function, as a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

WANTED = {"build": "wanted", "digest": "sha256:wanted"}
OLD = {"build": "old", "digest": "sha256:old"}
FORWARD = WANTED | {"direction": "forward"}
BACK = OLD | {"direction": "back"}
LEDGER = {"build": "other", "digest": "sha256:other"}


def outcome(
    code: int | None, log: tuple[str, ...] = (), stopped: str = "", pushed: bool = True, **result: Any
) -> dict[str, Any]:
    why = "TaskFailedToStart" if code is None else "EssentialContainerExited"
    ended = {"exit": code, "result": result or None, "code": why, "stopped": stopped, "log": list(log)}
    return ended | {"pushed": pushed}


def run(build: dict[str, Any], direction: str, wait: int = 0) -> dict[str, Any]:
    return {"run": build | {"direction": direction, "wait": wait}}


def failed(reason: str) -> dict[str, Any]:
    return {"answer": "FAILED", "reason": reason}


CAPACITY = "RESOURCE:ENI Capacity is unavailable at this time."
NO_ROOM = FORWARD | {"exit": None}
NEEDS: dict[str, Any] = {"needs": "other", "needs_digest": "sha256:other"}
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
        [FORWARD, LEDGER | {"direction": "back"}],
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
    "never started, and it would not another time": (
        [FORWARD],
        OLD,
        outcome(None, stopped="CannotPullContainerError: not found"),
        failed("forward by build wanted: the task did not start (CannotPullContainerError: not found)"),
    ),
    "no room": ([FORWARD], OLD, outcome(None, stopped=CAPACITY), run(WANTED, "forward", wait=5)),
    "no room again": ([NO_ROOM, FORWARD], OLD, outcome(None, stopped=CAPACITY), run(WANTED, "forward", wait=10)),
    "no room for the fourth time": (
        [NO_ROOM] * 3 + [FORWARD],
        OLD,
        outcome(None, stopped=CAPACITY),
        failed(f"forward by build wanted: the task did not start in 4 tries ({CAPACITY})"),
    ),
    "no room on the way back": (
        [BACK | {"exit": None}] * 9 + [BACK],
        OLD,
        outcome(None, stopped=CAPACITY),
        run(OLD, "back", wait=60),
    ),
    "it could not pull on the way back, where somebody may put it right": (
        [BACK],
        OLD,
        outcome(None, stopped="CannotPullContainerError: not found"),
        run(OLD, "back", wait=5),
    ),
    "tries are no hops": (
        [FORWARD | {"exit": 3}, *[BACK | {"exit": None}] * 8, BACK],
        OLD,
        outcome(0),
        run(WANTED, "forward"),
    ),
    "somebody stopped it while it was starting": (
        [FORWARD],
        OLD,
        outcome(None, stopped=CAPACITY) | {"code": "UserInitiated"},
        failed(f"forward by build wanted: the task did not start ({CAPACITY})"),
    ),
    "a role is missing on the way back": (
        [BACK],
        OLD,
        outcome(None, stopped="User: x is not authorized to perform: ecs:RunTask on resource: arn:aws:ecs"),
        failed(
            "back by build old: the task did not start"
            " (User: x is not authorized to perform: ecs:RunTask on resource: arn:aws:ecs)"
        ),
    ),
    "a build that was never pushed": (
        [FORWARD],
        OLD,
        outcome(3, **NEEDS, pushed=False),
        failed(
            "forward by build wanted: build other (sha256:other) must go first, and the release record has no such build:"
            " push it again, then deploy again"
        ),
    ),
    "the build that is replaced was pushed, or it would not run": (
        [FORWARD],
        OLD,
        outcome(3, needs="old", needs_digest="sha256:old", pushed=False),
        run(OLD, "back"),
    ),
    "busy": ([FORWARD | {"exit": 75}], OLD, outcome(75), run(WANTED, "forward", wait=2)),
    "busy again": ([FORWARD | {"exit": 75}] * 2, OLD, outcome(75), run(WANTED, "forward", wait=4)),
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


@pytest.mark.parametrize("way_back", [False, True])
def test_patience_is_longer_where_cloudformation_rolls_back(migration_resource: Any, way_back: bool) -> None:
    operation = {"wanted": WANTED, "old": OLD, "hops": [NO_ROOM] * 3 + [FORWARD], "way_back": way_back}
    step = migration_resource.decision.next_step(operation, outcome(None, stopped=CAPACITY))
    assert ("run" in step) == way_back


def test_a_rollback_is_the_update_before_swapped(migration_resource: Any) -> None:
    is_way_back = migration_resource.decision.is_way_back
    before = {"wanted": WANTED, "old": OLD}
    assert is_way_back(OLD, WANTED, before)
    assert not is_way_back(WANTED, OLD, before)
    assert not is_way_back(OLD, WANTED, None)
    assert not is_way_back(OLD, None, before)


@pytest.mark.parametrize(
    ("state", "facts", "action"),
    [
        ("waiting", {}, "begin"),
        ("waiting", {"ahead": True}, ""),
        ("waiting", {"ahead": True, "late": True}, "give_up"),
        ("running", {}, "start"),
        ("running", {"early": True}, ""),
        ("running", {"late": True}, "give_up"),
        ("running", {"task": "starting"}, "start"),
        ("running", {"task": "starting", "late": True}, "start"),  # whether there is a task must be known first
        ("running", {"task": "runs"}, ""),
        ("running", {"task": "runs", "late": True}, "stop"),
        ("running", {"task": "stopped"}, "advance"),
        ("running", {"task": "stopped", "late": True}, "advance"),
        ("running", {"task": "gone"}, "give_up"),
        ("stopping", {}, "finish"),
        ("stopping", {"ahead": True}, ""),
        ("stopping", {"task": "starting"}, ""),
        ("stopping", {"task": "runs"}, "stop"),
        ("stopping", {"task": "stopped"}, "finish"),
        ("stopping", {"task": "gone"}, "finish"),
        ("answering", {}, "tell"),
        ("answering", {"abandoned": True}, "forget"),
        ("answered", {}, ""),
        ("answered", {"task": "runs"}, "stop"),
        ("answered", {"task": "stopped"}, "note_end"),
    ],
)
def test_next_action(migration_resource: Any, state: str, facts: dict[str, Any], action: str) -> None:
    all_facts = {"task": "none", "late": False, "early": False, "ahead": False, "abandoned": False} | facts
    hop = FORWARD | ({} if all_facts["task"] == "none" else {"started": "t"})
    operation = {"state": state, "hops": [hop], "wanted": WANTED}
    assert migration_resource.decision.next_action(operation, all_facts) == action
    assert action in {"", *migration_resource.handler.ACTIONS}


def test_every_state_comes_to_the_end(migration_resource: Any) -> None:
    becomes = migration_resource.decision.BECOMES
    assert {state for after in becomes.values() for state in after} | {"waiting"} == set(becomes)
    reached = {"waiting"}
    for _ in becomes:
        reached |= {after for state in reached for after in becomes[state]}
    assert reached == set(becomes)
    assert [state for state, after in becomes.items() if not after] == ["answered"]


@pytest.mark.parametrize(("seconds", "limit"), [(60, 45), (600, 450), (3600, 3420)])
def test_time_is_left_to_stop_and_to_tell(migration_resource: Any, seconds: int, limit: int) -> None:
    assert migration_resource.decision.time_limit(seconds) == limit


def test_the_reason_has_no_password_and_an_end(migration_resource: Any) -> None:
    lines = ("x" * 4000, "could not connect to postgresql://board:s3cr%t@db:5432/board")
    step = migration_resource.decision.next_step({"wanted": WANTED, "old": None, "hops": [FORWARD]}, outcome(1, lines))
    said = "could not connect to postgresql://...@db:5432/board"
    assert step["reason"] == f"forward by build wanted: exit status 1\nlast log lines:\n{said}"


SECRET = "p4ss/w:rd@x"  # with every letter that ends something in a URL


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"postgresql://board:{SECRET}@db:5432/board", "postgresql://...@db:5432/board"),
        (f"at redis://:{SECRET}@cache/0, and more", "at redis://...@cache/0, and more"),
        (f"password={SECRET} host=db", "password=... host=db"),
        (f"host=db password='{SECRET} {SECRET}' user=x", "host=db password=... user=x"),
        (f"{{'PASSWORD': '{SECRET}', 'HOST': 'db'}}", "{'PASSWORD': ..., 'HOST': 'db'}"),
        (f'"client_secret": "{SECRET}", "a": 1', '"client_secret": ..., "a": 1'),
        (f"SECRET_KEY = {SECRET}", "SECRET_KEY = ..."),
        (f"AWS_SECRET_ACCESS_KEY={SECRET}", "AWS_SECRET_ACCESS_KEY=..."),
        (f"api_key: {SECRET}", "api_key: ..."),
        (f"https://x/?key={SECRET}", "https://...@x"),  # too much of it, never too little
        (f"https://s3/?X-Amz-Date=1&X-Amz-Signature={SECRET[:4]}&b=1", "https://s3/?X-Amz-Date=1&X-Amz-Signature=..."),
        ("DETAIL:  Key (email)=(a) already exists.", "DETAIL:  Key (email)=(a) already exists."),
        ("KeyError: 'board'", "KeyError: 'board'"),
        ("foreign key: board_ticket", "foreign key: board_ticket"),
    ],
)
def test_what_is_secret(migration_resource: Any, line: str, shown: str) -> None:
    assert migration_resource.decision.without_secrets(line) == shown


def test_no_cut_shows_a_secret(migration_resource: Any) -> None:
    """Every offset of the cut against a secret near it: masked before, and never a line in half."""
    limit = migration_resource.decision.REASON_LIMIT
    for length in range(limit - 120, limit + 20):
        for secret in (f"postgresql://board:{SECRET}@db/board", f"PASSWORD='{SECRET}'"):
            told = migration_resource.decision.with_log("it failed", ["y" * 10, f"a {secret} b", "z" * (length - 60)])
            assert "p4ss" not in told
            assert "w:rd" not in told
            assert len(told.encode()) <= limit
            long = migration_resource.decision.with_log(f"it failed: {'x' * (length - 80)} {secret}", [])
            assert "p4ss" not in long


def test_bytes_are_counted_and_no_letter_is_cut(migration_resource: Any) -> None:
    limit = migration_resource.decision.REASON_LIMIT
    told = migration_resource.decision.with_log("é", ["ü" * 4000])
    assert len(told.encode()) in (limit - 1, limit)
    assert set(told.partition("lines:\n")[2]) == {"ü"}
    assert migration_resource.decision.shortened("ü" * 4000) == "ü" * (limit // 2)


def test_the_answer_fits_whatever_json_makes_of_it(migration_resource: Any) -> None:
    event = {
        "StackId": "arn:aws:cloudformation:eu-central-1:1:stack/" + "s" * 128,
        "RequestId": "r" * 36,
        "LogicalResourceId": "Migration",
        "ResourceProperties": {"Project": "board", "Environment": "staging"},
    }
    for letter in ("\x01", '"', "\n", "ü", "x"):
        for length in (0, 1500, 5000):
            data = migration_resource.answer.written(event, "FAILED", letter * length)
            assert len(data) <= 4096
            assert length == 0 or letter in json.loads(data)["Reason"]
