"""CloudFormation cancels a request and sends the next one at once: one of them moves the database, whatever happens in between."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fixtures.requests import (
    NEXT,
    OLD,
    PROPERTIES,
    REQUEST,
    Died,
    died,
    request,
)

LAST = "0b5c1a3e-6f2d-4c58-9d0e-333333333333"
GIVEN_UP = f"request {NEXT} came, and this one was given up"


def rollback(number: str = NEXT, **more: Any) -> dict[str, Any]:
    """The same update with old and new swapped, as CloudFormation sends it."""
    return request(RequestId=number, ResourceProperties=OLD, OldResourceProperties=PROPERTIES, **more)


def told(cloud: Any) -> list[tuple[str, str, str]]:
    """What CloudFormation was told: the last digit of the request, the status, and the reason's first line."""
    return [(one["RequestId"][-1], one["Status"], one["Reason"].splitlines()[0]) for one in cloud.answers]


def started(cloud: Any) -> list[str]:
    """The release tasks that were started: the last digit of the request, and what was run."""
    commands = [one["overrides"]["containerOverrides"][0]["command"][2] for one in cloud.ran]
    return [f"{one['startedBy'][-1]} {command}" for one, command in zip(cloud.ran, commands, strict=True)]


STOPPED = ("1", "FAILED", f"forward by build wanted: stopped, {GIVEN_UP} (stopped by a signal)")
BACK = ("2", "SUCCESS", "the database is in step with build old")


def stop(cloud: Any, number: int) -> dict[str, Any]:
    """The task ends as the migrator does that was told to stop."""
    why = next(task for task in cloud.tokens.values() if task["taskArn"].endswith(f"/{number}"))["why"]
    ended: dict[str, Any] = cloud.end(
        number, 5, status="failed", reason="stopped by a signal", stopped=why, stop_code="UserInitiated"
    )
    return ended


def test_cancelled_while_the_task_runs(cloud: Any) -> None:
    cloud(request())
    cloud(rollback())
    assert cloud.stopped == ["1"]
    assert (started(cloud), told(cloud)) == (["1 forward"], [])
    cloud(stop(cloud, 1))
    assert started(cloud) == ["1 forward", "2 forward"]
    cloud(cloud.end(2, 3, status="needs"))
    cloud(cloud.end(3, 0, status="done"))
    cloud(cloud.end(4, 0, status="nothing"))
    assert started(cloud) == ["1 forward", "2 forward", "2 back", "2 forward"]
    assert told(cloud) == [STOPPED, BACK]
    assert cloud.operation(NEXT)["way_back"] is True
    assert cloud.open.items == {}


def test_cancelled_while_the_task_is_starting(cloud: Any) -> None:
    """Today's accident: the task in PROVISIONING went on, and migrated after the rollback had said "in step"."""
    cloud(request())
    cloud.tokens[f"{REQUEST}-0"]["lastStatus"] = "PROVISIONING"
    cloud(rollback())
    assert cloud.stopped == ["1"]
    cloud(cloud.end(1, None, stopped="", stop_code="UserInitiated"))
    cloud(cloud.end(2, 0, status="nothing"))
    assert started(cloud) == ["1 forward", "2 forward"]
    assert told(cloud) == [("1", "FAILED", f"forward by build wanted: stopped, {GIVEN_UP}"), BACK]


def test_cancelled_while_ecs_is_being_asked(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request comes between the look at the item and the task's name: whoever has started it stops it."""
    run = cloud.run_task

    def meanwhile(**asked: Any) -> Any:
        if asked["startedBy"] == REQUEST:
            cloud(rollback())
            assert (started(cloud), cloud.stopped) == ([], [])
        return run(**asked)

    monkeypatch.setattr(cloud, "run_task", meanwhile)
    cloud(request())
    assert cloud.stopped == ["1"]
    assert started(cloud) == ["1 forward"]
    cloud(stop(cloud, 1))
    cloud(cloud.end(2, 0, status="nothing"))
    assert told(cloud) == [STOPPED, BACK]


def test_cancelled_before_ecs_is_asked(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older invocation is overtaken before it writes `started`: it starts nothing."""
    prepare = cloud.function.prepare_definition

    def meanwhile(operation: Any) -> Any:
        monkeypatch.setattr(cloud.function, "prepare_definition", prepare)
        cloud(rollback())
        return prepare(operation)

    monkeypatch.setattr(cloud.function, "prepare_definition", meanwhile)
    cloud(request())
    cloud(cloud.end(1, 0, status="nothing"))
    assert started(cloud) == ["2 forward"]
    assert told(cloud) == [("1", "FAILED", GIVEN_UP), BACK]


def test_cancelled_after_the_invocation_has_died_with_a_task(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is written down nowhere: ECS knows it by who has started it."""
    with monkeypatch.context() as patch:
        patch.setattr(cloud.function, "note_task", died)
        with pytest.raises(Died):
            cloud(request())
    cloud(rollback())
    assert cloud.stopped == ["1"]
    cloud(stop(cloud, 1))
    cloud(cloud.end(2, 0, status="nothing"))
    assert told(cloud) == [STOPPED, BACK]


def test_cancelled_after_the_invocation_has_died_without_a_task(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cloud.function, "start_task", died)
        with pytest.raises(Died):
            cloud(request())
    cloud(rollback())
    cloud.minute()
    assert started(cloud) == []  # it may still be asking
    cloud.minute()
    assert started(cloud) == ["2 forward"]
    cloud(request())  # Lambda delivers the first request again
    cloud(cloud.end(1, 0, status="nothing"))
    assert started(cloud) == ["2 forward"]
    assert told(cloud) == [("1", "FAILED", f"forward by build wanted: stopped, {GIVEN_UP}"), BACK]


def test_cancelled_between_two_tasks(cloud: Any) -> None:
    """The first task ends by itself, and its event comes after the next request: no hop follows it."""
    cloud(request())
    ended = cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer")
    cloud(rollback())
    cloud(ended)
    assert started(cloud) == ["1 forward", "2 forward"]
    cloud(cloud.end(2, 0, status="nothing"))
    assert [one[:2] for one in told(cloud)] == [("1", "FAILED"), ("2", "SUCCESS")]


def test_cancelled_while_a_hop_waits(cloud: Any) -> None:
    cloud.failures = [{"reason": "RESOURCE:ENI"}] * 3
    cloud(request())
    assert started(cloud) == []
    cloud(rollback())
    cloud.minute()
    cloud(cloud.end(1, 0, status="nothing"))
    assert started(cloud) == ["2 forward"]
    assert told(cloud) == [("1", "FAILED", GIVEN_UP), BACK]


def test_stopped_events_that_are_lost_doubled_and_late(cloud: Any) -> None:
    cloud(request())
    cloud(rollback())
    first = stop(cloud, 1)
    cloud.minute()
    assert started(cloud) == ["1 forward", "2 forward"]
    cloud(first)
    second = cloud.end(2, 0, status="nothing")
    for event in (first, second, first, second, rollback(), request()):
        cloud(event)
    assert started(cloud) == ["1 forward", "2 forward"]
    assert told(cloud) == [STOPPED, BACK]


def test_the_older_request_is_delivered_again_while_the_newer_one_runs(cloud: Any) -> None:
    cloud(request())
    cloud(rollback())
    cloud(request())
    cloud(stop(cloud, 1))
    cloud(request())
    cloud(cloud.end(2, 0, status="nothing"))
    assert told(cloud) == [STOPPED, BACK]
    assert cloud.table.items["environment#staging", "operation"]["request"] == NEXT


def sent(event: dict[str, Any], second: int) -> dict[str, Any]:
    return event | {"ResponseURL": event["ResponseURL"] + f"&X-Amz-Date=20261125T1200{second:02}Z"}


def test_the_older_request_is_delivered_after_the_newer_one(cloud: Any) -> None:
    """Lambda's queue keeps no order. The address says when each was signed."""
    cloud(sent(rollback(), 40))
    cloud(sent(request(), 0))
    assert started(cloud) == ["2 forward"]
    assert cloud.stopped == []
    cloud(cloud.end(1, 0, status="nothing"))
    late = ("1", "FAILED", "a newer request came before this one was delivered")
    assert told(cloud) == [late, BACK]


def test_clocks_that_differ_a_little_turn_nothing_round(cloud: Any) -> None:
    cloud(sent(request(), 5))
    cloud(sent(rollback(), 1))
    assert cloud.stopped == ["1"]


def test_three_requests(cloud: Any) -> None:
    """The second one waits for the first one's task when the third comes: that waits for it, too."""
    cloud(request())
    cloud(rollback())
    cloud(request(RequestId=LAST))
    assert started(cloud) == ["1 forward"]
    cloud(stop(cloud, 1))
    cloud(cloud.end(2, 0, status="done"))
    assert started(cloud) == ["1 forward", "3 forward"]
    second = ("2", "FAILED", f"request {LAST} came, and this one was given up")
    assert told(cloud) == [STOPPED, second, ("3", "SUCCESS", "the database is in step with build wanted")]


def test_two_requests_at_once(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the same pointer: one writes it, the other looks again."""
    transact = cloud.table.transact_write_items

    def meanwhile(**asked: Any) -> Any:
        monkeypatch.setattr(cloud.table, "transact_write_items", transact)
        cloud(rollback())
        return transact(**asked)

    monkeypatch.setattr(cloud.table, "transact_write_items", meanwhile)
    cloud(request())
    assert cloud.stopped == ["1"]
    assert started(cloud) == ["2 forward"]
    assert cloud.operation(REQUEST)["ahead"] == NEXT


def test_the_function_dies_while_it_writes_a_request_down(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it or nothing: the item, the pointer, the address."""
    with monkeypatch.context() as patch:
        patch.setattr(cloud.table, "transact_write_items", died)
        with pytest.raises(Died):
            cloud(request())
    assert list(cloud.table.items) == [("build#sha256:newer", "build")]
    with monkeypatch.context() as patch:
        patch.setattr(cloud.function, "proceed", died)
        with pytest.raises(Died):
            cloud(request())
    assert cloud.table.items["environment#staging", "operation"]["request"] == REQUEST
    cloud.minute()
    assert started(cloud) == ["1 forward"]


def test_a_delete_waits_until_no_task_runs(cloud: Any) -> None:
    """Cluster and security groups would go under it."""
    cloud(request("Create"))
    cloud(request("Delete", RequestId=NEXT))
    assert (cloud.stopped, told(cloud)) == (["1"], [])
    cloud(stop(cloud, 1))
    assert told(cloud) == [STOPPED, ("2", "SUCCESS", "the database stays as it is")]
    assert started(cloud) == ["1 forward"]


def test_a_delete_while_a_rollback_waits_and_the_events_are_lost(cloud: Any) -> None:
    cloud(request())
    cloud(rollback())
    cloud(request("Delete", RequestId=LAST))
    stop(cloud, 1)
    cloud.minute()
    assert [one[:2] for one in told(cloud)] == [("1", "FAILED"), ("2", "FAILED"), ("3", "SUCCESS")]
    assert started(cloud) == ["1 forward"]


def test_a_delete_whose_task_does_not_stop(cloud: Any) -> None:
    cloud(request("Create"))
    cloud(request("Delete", RequestId=NEXT, ResourceProperties=PROPERTIES | {"ServiceTimeout": "600"}))
    for _ in range(8):
        cloud.minute()
    reason = f"a release task of request {REQUEST} did not stop: look at it in ECS"
    assert told(cloud) == [("2", "FAILED", reason)]
    cloud(request("Delete", RequestId=LAST))  # the next one waits for it, too
    assert len(cloud.answers) == 1
    cloud(stop(cloud, 1))
    assert told(cloud)[1:] == [STOPPED, ("3", "SUCCESS", "the database stays as it is")]


def test_a_task_that_was_answered_for_is_stopped_before_the_next_starts(cloud: Any) -> None:
    """Where an error of ours has ended an operation whose task goes on."""
    cloud(request())
    cloud.fails["DescribeTasks"] = []
    operation = cloud.operation(REQUEST)
    operation |= {"state": "answered", "status": "FAILED", "reason": "an error of ours", "version": 9}
    cloud(rollback())
    assert cloud.stopped == ["1"]
    stop(cloud, 1)
    cloud.minute()
    assert started(cloud) == ["1 forward", "2 forward"]


def test_cloudformation_no_longer_takes_the_older_answer(cloud: Any) -> None:
    """It is said for whoever may listen; what counts is the newer request."""
    cloud(request())
    cloud(rollback())
    cloud.unreachable = 1
    cloud(stop(cloud, 1))
    cloud(cloud.end(2, 0, status="nothing"))
    assert told(cloud) == [BACK]
    assert cloud.open.items == {}


def test_the_physical_id_stays_the_same(cloud: Any) -> None:
    cloud(request())
    cloud(rollback())
    cloud(stop(cloud, 1))
    cloud(cloud.end(2, 0, status="nothing"))
    cloud(request("Delete", RequestId=LAST))
    assert {one["PhysicalResourceId"] for one in cloud.answers} == {"migrations/board/staging"}
    assert len(cloud.answers) == 3


@pytest.mark.parametrize("order", ["stopped, request", "request, stopped"])
def test_any_order_of_what_is_delivered(cloud: Any, order: str) -> None:
    """ECS's event and CloudFormation's next request are not sent by one clock."""
    cloud(request())
    ended = cloud.end(1, 5, status="failed", reason="a.0002: IntegrityError")
    events = {"stopped": ended, "request": rollback()}
    for name in order.split(", "):
        cloud(json.loads(json.dumps(events[name])))
    cloud(ended)
    cloud(cloud.end(2, 0, status="nothing"))
    assert started(cloud) == ["1 forward", "2 forward"]
    assert [one[:2] for one in told(cloud)] == [("1", "FAILED"), ("2", "SUCCESS")]
