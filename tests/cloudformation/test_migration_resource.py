"""The migration function from CloudFormation's request to its answer, with deliveries doubled, late and lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

REQUEST = "0b5c1a3e-6f2d-4c58-9d0e-111111111111"
PROPERTIES = {
    "ServiceToken": "arn:aws:lambda:eu-central-1:1:function:lastgood-board-migration",
    "ServiceTimeout": "3600",
    "Project": "board",
    "Environment": "staging",
    "Build": "wanted",
    "Commit": "wanted-commit",
    "Image": "registry/board@sha256:wanted",
    "ImageDigest": "sha256:wanted",
    "ManifestSha": "m",
    "Release": "2",
    "Cluster": "arn:aws:ecs:eu-central-1:1:cluster/board_staging",
    "TaskDefinition": "arn:aws:ecs:eu-central-1:1:task-definition/board_staging_release:7",
    "Subnets": ["subnet-1", "subnet-2"],
    "SecurityGroups": ["sg-1"],
    "AssignPublicIp": "DISABLED",
    "LogGroup": "/lastgood/board/staging/1",
}
OLD = PROPERTIES | {"Build": "old", "ImageDigest": "sha256:old", "Image": "registry/board@sha256:old"}


def request(kind: str = "Update", **more: Any) -> dict[str, Any]:
    """A request as CloudFormation sends it."""
    event = {
        "RequestType": kind,
        "ServiceToken": PROPERTIES["ServiceToken"],
        "ResponseURL": "https://cloudformation/?signature=secret",
        "StackId": "arn:aws:cloudformation:eu-central-1:1:stack/board-staging/1",
        "RequestId": REQUEST,
        "LogicalResourceId": "Migration",
        "ResourceType": "Custom::Migration",
        "ResourceProperties": PROPERTIES,
    }
    if kind != "Create":
        event["PhysicalResourceId"] = "migrations/board/staging"
    if kind == "Update":
        event["OldResourceProperties"] = OLD
    return json.loads(json.dumps(event | more))


def answered(status: str, reason: str) -> dict[str, Any]:
    return {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": "migrations/board/staging",
        "StackId": "arn:aws:cloudformation:eu-central-1:1:stack/board-staging/1",
        "RequestId": REQUEST,
        "LogicalResourceId": "Migration",
    }


IN_STEP = answered("SUCCESS", "the database is in step with build wanted")


def test_forward(cloud: Any) -> None:
    cloud.function.handler(request())
    assert cloud.answers == []
    assert cloud.ran == [
        {
            "cluster": PROPERTIES["Cluster"],
            "taskDefinition": PROPERTIES["TaskDefinition"],
            "launchType": "FARGATE",
            "clientToken": f"{REQUEST}-0",
            "startedBy": REQUEST,
            "group": "lastgood-board",
            "overrides": {
                "containerOverrides": [
                    {
                        "name": "release",
                        "command": ["-m", "migrator", "forward"],
                        "environment": [{"name": "LASTGOOD_HOP", "value": "0"}],
                    }
                ]
            },
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": ["subnet-1", "subnet-2"],
                    "securityGroups": ["sg-1"],
                    "assignPublicIp": "DISABLED",
                }
            },
        }
    ]
    cloud.function.handler(cloud.end(1, 0, status="done", applied=["a.0001"], undone=[]))
    assert cloud.answers == [IN_STEP]
    item = cloud.table.items[f"operation#{REQUEST}", "operation"]
    assert item["state"] == "answered"
    assert item["hops"][0]["applied"] == ["a.0001"]
    assert "ResponseURL" not in item["event"]
    assert cloud.table.items["environment#staging", "operation"]["request"] == REQUEST


def test_the_image_that_applied_undoes(cloud: Any) -> None:
    cloud.function.handler(request())
    cloud.function.handler(cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer"))
    copied = cloud.registered[0]
    assert copied["family"] == "board_staging_release"
    assert "revision" not in copied
    assert copied["containerDefinitions"][0]["image"] == "registry/board@sha256:newer"
    assert copied["containerDefinitions"][0]["environment"] == [
        {"name": "ENVIRONMENT", "value": "staging"},
        {"name": "LASTGOOD_BUILD", "value": "newer"},
        {"name": "LASTGOOD_DIGEST", "value": "sha256:newer"},
    ]
    assert cloud.ran[1]["taskDefinition"] == "copy:1"
    assert cloud.ran[1]["overrides"]["containerOverrides"][0]["command"] == [
        "-m",
        "migrator",
        "back",
        "--to",
        "build:wanted",
    ]
    cloud.function.handler(cloud.end(2, 0, status="done", undone=["a.0002"]))
    assert cloud.deregistered == ["copy:1"]
    assert cloud.ran[2]["taskDefinition"] == PROPERTIES["TaskDefinition"]
    cloud.function.handler(cloud.end(3, 0, status="nothing"))
    assert cloud.answers == [IN_STEP]


def test_create_has_no_old_side(cloud: Any) -> None:
    cloud.function.handler(request("Create"))
    cloud.function.handler(cloud.end(1, 3, status="needs", needs=None, reason="the ledger is empty"))
    assert cloud.answers == [answered("FAILED", "forward by build wanted: the ledger is empty")]


def test_delete_is_answered_at_once_and_runs_nothing(cloud: Any) -> None:
    cloud.function.handler(request("Delete"))
    assert cloud.answers == [answered("SUCCESS", "the database stays as it is")]
    assert cloud.ran == []
    assert cloud.table.items == {}


def test_every_delivery_twice(cloud: Any) -> None:
    def twice(event: dict[str, Any]) -> None:
        for _ in range(2):
            cloud.function.handler(json.loads(json.dumps(event)))

    twice(request())
    twice(cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer"))
    twice(cloud.end(2, 0, status="done"))
    twice(cloud.end(3, 0, status="nothing"))
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-{hop}" for hop in range(3)]
    assert cloud.answers == [IN_STEP]


def test_an_event_that_comes_late_is_not_taken_for_the_running_task(cloud: Any) -> None:
    cloud.function.handler(request())
    first = cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer")
    cloud.function.handler(first)
    cloud.function.handler(first)
    assert len(cloud.ran) == 2
    assert cloud.answers == []


def test_a_delivery_that_died_before_it_started_the_next_task(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.function.handler(request())
    ended = cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer")
    with monkeypatch.context() as patch:
        patch.setattr(cloud.function, "proceed", lambda operation: None)
        cloud.function.handler(ended)
    assert len(cloud.ran) == 1
    cloud.function.handler(ended)
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-0", f"{REQUEST}-1"]


def test_two_deliveries_at_once_go_on_only_once(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.function.handler(request())
    ended = cloud.end(1, 0, status="done")
    decide = cloud.function.next_step

    def overtaken(operation: Any, outcome: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(cloud.function, "next_step", decide)
            cloud.function.handler(ended)
        return decide(operation, outcome)

    monkeypatch.setattr(cloud.function, "next_step", overtaken)
    cloud.function.handler(ended)
    assert cloud.answers == [IN_STEP]


def test_a_lost_event_is_made_up_for_when_the_request_comes_again(cloud: Any) -> None:
    cloud.function.handler(request())
    cloud.end(1, 0, status="done")
    cloud.function.handler(request())
    assert cloud.answers == [IN_STEP]


def test_an_event_of_a_task_that_is_not_ours(cloud: Any) -> None:
    for started_by in ("", "ecs-svc/1", "somebody"):
        task = {"taskArn": "t", "startedBy": started_by, "lastStatus": "STOPPED", "containers": []}
        cloud.function.handler({"detail-type": "ECS Task State Change", "detail": task})
    assert cloud.answers == []
    assert cloud.ran == []


def test_busy_runs_the_same_again(cloud: Any) -> None:
    cloud.function.handler(request())
    cloud.function.handler(cloud.end(1, 75, status="busy"))
    cloud.function.handler(cloud.end(2, 0, status="done"))
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-0", f"{REQUEST}-1"]
    assert cloud.answers == [IN_STEP]


def test_a_task_that_could_not_pull_its_image(cloud: Any) -> None:
    cloud.function.handler(request())
    cloud.function.handler(cloud.end(1, None, stopped="CannotPullContainerError: manifest unknown"))
    reason = "forward by build wanted: the task did not start (CannotPullContainerError: manifest unknown)"
    assert cloud.answers == [answered("FAILED", reason)]


def test_ecs_starts_no_task(cloud: Any) -> None:
    cloud.failures = [{"reason": "Capacity is unavailable at this time"}]
    cloud.function.handler(request())
    reason = "forward by build wanted was not started: ECS started no task: Capacity is unavailable at this time"
    assert cloud.answers == [answered("FAILED", reason)]


def test_ecs_refuses(cloud: Any) -> None:
    cloud.refuse = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "iam:PassRole"}}, "RunTask")
    cloud.function.handler(request())
    said = "An error occurred (AccessDeniedException) when calling the RunTask operation: iam:PassRole"
    assert cloud.answers == [answered("FAILED", f"forward by build wanted was not started: {said}")]


def test_the_record_refuses(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no table"}}, "PutItem")

    monkeypatch.setattr(cloud.table, "put_item", refuse)
    cloud.function.handler(request())
    said = "An error occurred (ResourceNotFoundException) when calling the PutItem operation: no table"
    assert cloud.answers == [answered("FAILED", f"the migration could not be started: {said}")]


def test_the_log_can_not_be_read(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "logs"}}, "GetLogEvents")

    cloud.function.handler(request())
    ended = cloud.end(1, 0)
    monkeypatch.setattr(cloud, "get_log_events", refuse)
    cloud.function.handler(ended)
    said = "An error occurred (AccessDeniedException) when calling the GetLogEvents operation: logs"
    assert cloud.answers == [answered("FAILED", f"the release task's end could not be handled: {said}")]


def test_cloudformation_does_not_answer_the_first_time(cloud: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.function.handler(request())
    ended = cloud.end(1, 0, status="done")
    cloud.unreachable = 1
    with pytest.raises(cloud.function.Unanswered) as error:
        cloud.function.handler(ended)
    assert str(error.value) == f"request {REQUEST}: CloudFormation was not told: OSError"
    cloud.function.handler(ended)  # Lambda delivers it again
    assert cloud.answers == [IN_STEP]
    assert "signature" not in capsys.readouterr().out


def test_a_success_whose_definition_stays_registered(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "DeregisterTaskDefinition")

    monkeypatch.setattr(cloud, "deregister_task_definition", refuse)
    cloud.function.handler(request())
    cloud.function.handler(cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer"))
    cloud.function.handler(cloud.end(2, 0, status="done"))
    cloud.function.handler(cloud.end(3, 0, status="done"))
    assert cloud.answers == [IN_STEP]


def test_an_accepted_loss_is_said_to_who_goes_forward(cloud: Any) -> None:
    cloud.function.handler(request(ResourceProperties=PROPERTIES | {"AcceptLoss": "yes"}))
    cloud.function.handler(cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer"))
    cloud.function.handler(cloud.end(2, 0, status="done", undone=["a.0002"]))
    commands = [one["overrides"]["containerOverrides"][0]["command"][2:] for one in cloud.ran]
    assert commands == [["forward", "--accept-loss"], ["back", "--to", "build:wanted"], ["forward", "--accept-loss"]]


def test_a_database_that_may_stay_ahead_is_said_to_who_goes_forward(cloud: Any) -> None:
    """By a variable, which the migrator of an older image passes over."""
    cloud.function.handler(request(ResourceProperties=PROPERTIES | {"LeaveAhead": "yes"}))
    cloud.function.handler(cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer"))
    cloud.function.handler(cloud.end(2, 0, status="done", undone=["a.0002"]))
    said = [one["overrides"]["containerOverrides"][0]["environment"][1:] for one in cloud.ran]
    assert said == [
        [{"name": "LASTGOOD_LEAVE_AHEAD", "value": "yes"}],
        [],
        [{"name": "LASTGOOD_LEAVE_AHEAD", "value": "yes"}],
    ]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"Project": "shop"}, "Project is not that of environment staging of board: shop"),
        (
            {"Environment": "production"},
            "Cluster is not that of environment production of board: arn:aws:ecs:eu-central-1:1:cluster/board_staging",
        ),
        (
            {"Cluster": "arn:aws:ecs:eu-central-1:1:cluster/board_production"},
            "Cluster is not that of environment staging of board: arn:aws:ecs:eu-central-1:1:cluster/board_production",
        ),
        (
            {"TaskDefinition": "arn:aws:ecs:eu-central-1:1:task-definition/board_production_release:7"},
            (
                "TaskDefinition is not that of environment staging of board: "
                "arn:aws:ecs:eu-central-1:1:task-definition/board_production_release:7"
            ),
        ),
        (
            {"LogGroup": "/lastgood/board/production/1"},
            "LogGroup is not that of environment staging of board: /lastgood/board/production/1",
        ),
        (
            {
                "Environment": "production",
                "Cluster": "arn:aws:ecs:eu-central-1:1:cluster/board_production",
                "TaskDefinition": "arn:aws:ecs:eu-central-1:1:task-definition/board_production_release:7",
                "LogGroup": "/lastgood/board/production/1",
            },
            (
                "the stack's service role is not that of environment production: "
                "arn:aws:iam::1:role/lastgood-access/board/staging/ServiceRole-1"
            ),
        ),
    ],
)
def test_a_template_that_asks_for_another_environments_database(cloud: Any, more: dict[str, str], reason: str) -> None:
    cloud.function.handler(request(ResourceProperties=PROPERTIES | more))
    assert [(one["Status"], one["Reason"]) for one in cloud.answers] == [
        ("FAILED", f"the migration could not be started: {reason}")
    ]
    assert cloud.ran == []
    assert cloud.table.items == {}


def test_a_stack_without_a_service_role_is_an_administrators(cloud: Any) -> None:
    cloud.service_role = ""
    cloud.function.handler(request())
    assert len(cloud.ran) == 1
