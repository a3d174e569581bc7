"""What a deploy shows and keeps of logs, events and answers: text, in one line where it is one, without secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from lastgood.deploy import history, outcome, progress
from lastgood.deploy.progress import Progress
from lastgood.deploy.stack import Event

TASK = {"taskArn": "arn:aws:ecs:::task/shop/1", "taskDefinitionArn": "shop:1"}
SECRET = "p@ss/w0rd#1"
ADDRESS = f"postgresql://shop:{SECRET}@db/shop"


class Logs:
    """CloudWatch with these messages, and ECS with the definition that says where they are."""

    def __init__(self, *messages: str) -> None:
        self.messages = messages

    def get_log_events(self, **_: Any) -> dict[str, Any]:
        """The newest ones."""
        return {"events": [{"message": message} for message in self.messages]}

    def describe_task_definition(self, **_: Any) -> dict[str, Any]:
        """One with a web container."""
        logged = {"options": {"awslogs-group": "/lastgood/shop"}}
        return {"taskDefinition": {"containerDefinitions": [{"name": "web", "logConfiguration": logged}]}}


def watching(*messages: str) -> Progress:
    logs = Logs(*messages)
    session: Any = SimpleNamespace(project="shop", environment=SimpleNamespace(name="staging"), client=lambda _: logs)
    record: Any = SimpleNamespace(operation=lambda: None)
    return Progress(session, record, "sha256:1")


def event(reason: str, kind: str = "AWS::ECS::TaskDefinition") -> Event:
    return Event("1", datetime(2026, 11, 25, tzinfo=UTC), "Task", kind, "CREATE_FAILED", reason, "")


def test_the_log_of_a_crash() -> None:
    lines = watching(
        f"could not connect to {ADDRESS}\n\n::add-mask::x", "\x1b[31mDB_PASSWORD=hunter2\x1b[0m", "a\rb"
    )._log(TASK, "web")
    assert lines == [
        "could not connect to postgresql://***@db/shop",
        "::add-mask::x",
        "\\x1b[31mDB_PASSWORD=***",
        "a",
        "b",
    ]


def test_the_cause_and_the_events_that_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    seen = watching()
    seen.show([event(f"no: {ADDRESS}\n✓ Service  update complete")])
    assert seen.cause == (
        "Task (AWS::ECS::TaskDefinition) failed: no: postgresql://***@db/shop\n✓ Service  update complete"
    )
    assert seen.events[0]["reason"] == "no: postgresql://***@db/shop\n✓ Service  update complete"
    assert capsys.readouterr().err == "✗ Task  create failed  no: postgresql://***@db/shop\n"


def test_a_reason_is_cut_after_it_was_masked() -> None:
    for length in range(200):
        shown = progress.line_of(event(f"{'x' * length} {ADDRESS}"), ())
        assert not any(SECRET[at : at + 4] in shown for at in range(len(SECRET) - 3))
        turn = outcome.turn(f"{'x' * length} {ADDRESS}")
        assert not any(SECRET[at : at + 4] in turn for at in range(len(SECRET) - 3))


def test_a_reason_of_nothing_but_space() -> None:
    assert progress.line_of(event(" \n "), ()) == "✗ Task  create failed"


def test_what_an_older_record_holds_is_masked_where_it_is_shown() -> None:
    release = dict.fromkeys(("state", "kind", "version", "build", "who", "started", "reason"), "x")
    for length in range(70):
        shown = history.render_history([release | {"number": 1, "cause": f"{'x' * length} {ADDRESS}"}])
        assert not any(SECRET[at : at + 4] in shown for at in range(len(SECRET) - 3))
