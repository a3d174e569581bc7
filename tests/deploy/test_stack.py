"""Change sets in, events out: over botocore's stubs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from lastgood.deploy.stack import ChangeSet, Stack, settled
from lastgood.errors import UsageError

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ARN = "arn:aws:cloudformation:eu-central-1:1:stack/board-staging/1"


@pytest.fixture
def client() -> Any:
    return boto3.client(
        "cloudformation", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture
def stub(client: Any) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def stack(client: Any, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return Stack(SimpleNamespace(client=lambda name: client, cloud=None), "board-staging")  # type: ignore[arg-type]


def is_(stub: Stubber, status: str | None) -> None:
    if status is None:
        stub.add_client_error("describe_stacks", "ValidationError", "Stack with id board-staging does not exist")
        return
    described = {"StackName": "board-staging", "CreationTime": EPOCH, "StackStatus": status}
    stub.add_response("describe_stacks", {"Stacks": [described]}, {"StackName": "board-staging"})


def told(stub: Stubber, *events: tuple[int, str, str]) -> None:
    """Events (number and second, resource, status), newest first."""
    found = [
        {
            "StackId": ARN,
            "EventId": str(number),
            "StackName": "board-staging",
            "LogicalResourceId": resource,
            "ResourceStatus": status,
            "Timestamp": EPOCH + timedelta(seconds=number),
        }
        for number, resource, status in events
    ]
    stub.add_response("describe_stack_events", {"StackEvents": found}, {"StackName": "board-staging"})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, True),
        ("REVIEW_IN_PROGRESS", True),
        ("UPDATE_COMPLETE", True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", False),
        ("UPDATE_ROLLBACK_IN_PROGRESS", False),
    ],
)
def test_settled(status: str | None, expected: bool) -> None:
    assert settled(status) is expected


def test_no_stack(stack: Stack, stub: Stubber) -> None:
    for _ in range(3):
        is_(stub, None)
    assert (stack.status(), stack.outputs(), stack.parameters()) == (None, {}, {})


def test_only_what_is_new_is_told(stack: Stack, stub: Stubber) -> None:
    told(stub, (2, "Service", "UPDATE_COMPLETE"), (1, "Service", "UPDATE_IN_PROGRESS"))
    stack.mark()
    told(stub, (3, "Service", "UPDATE_IN_PROGRESS"), (2, "Service", "UPDATE_COMPLETE"))
    assert [(one.id, one.seconds) for one in stack.fresh()] == [("3", None)]
    told(stub, (7, "Service", "UPDATE_FAILED"), (3, "Service", "UPDATE_IN_PROGRESS"))
    assert [(one.id, one.seconds, one.failed) for one in stack.fresh()] == [("7", 4.0, True)]
    # A second operation of the same command sees nothing of the first one.
    told(stub, (8, "board-staging", "UPDATE_ROLLBACK_COMPLETE"), (7, "Service", "UPDATE_FAILED"))
    stack.mark()
    told(stub, (9, "Service", "UPDATE_IN_PROGRESS"), (8, "board-staging", "UPDATE_ROLLBACK_COMPLETE"))
    assert [one.id for one in stack.fresh()] == ["9"]


def test_watching_ends_with_the_stack(stack: Stack, stub: Stubber) -> None:
    seen: list[str] = []
    is_(stub, "UPDATE_IN_PROGRESS")
    told(stub, (1, "Service", "UPDATE_IN_PROGRESS"))
    is_(stub, "UPDATE_COMPLETE")
    told(stub, (2, "Service", "UPDATE_COMPLETE"), (1, "Service", "UPDATE_IN_PROGRESS"))
    assert stack.watch(lambda events: seen.extend(one.status for one in events)) == "UPDATE_COMPLETE"
    assert seen == ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"]


def test_watching_a_stack_that_goes_away(stack: Stack, stub: Stubber) -> None:
    is_(stub, None)
    stub.add_client_error("describe_stack_events", "ValidationError", "Stack [board-staging] does not exist")
    assert stack.watch(lambda events: None) is None


def creating(stub: Stubber, kind: str) -> None:
    request = {
        "StackName": "board-staging",
        "ChangeSetName": ANY,
        "ChangeSetType": kind,
        "TemplateBody": "template",
        "Parameters": [{"ParameterKey": "Build", "ParameterValue": "b"}],
        "Tags": [{"Key": "lastgood:project", "Value": "board"}],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    stub.add_response("create_change_set", {}, request)


def prepare(stack: Stack) -> ChangeSet | None:
    return stack.prepare("template", {"Build": "b"}, {"lastgood:project": "board"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [(None, "CREATE"), ("REVIEW_IN_PROGRESS", "CREATE"), ("UPDATE_COMPLETE", "UPDATE"), ("CREATE_COMPLETE", "UPDATE")],
)
def test_a_change_set(stack: Stack, stub: Stubber, status: str | None, kind: str) -> None:
    is_(stub, status)
    creating(stub, kind)
    change = {
        "Action": "Modify",
        "LogicalResourceId": "Service",
        "ResourceType": "AWS::ECS::Service",
        "Replacement": "False",
    }
    stub.add_response("describe_change_set", {"Status": "CREATE_IN_PROGRESS"})
    stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE"})
    stub.add_response("describe_change_set", {"Changes": [{"Type": "Resource", "ResourceChange": change}]})
    made = prepare(stack)
    assert made
    assert (made.kind, made.changes) == (
        kind,
        [{"action": "Modify", "resource": "Service", "type": "AWS::ECS::Service", "replacement": "False"}],
    )


def test_nothing_to_change(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_COMPLETE")
    creating(stub, "UPDATE")
    reason = "The submitted information didn't contain changes. Submit different information to create a change set."
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": reason})
    stub.add_response("delete_change_set", {})
    assert prepare(stack) is None


def test_a_change_set_that_fails_leaves_no_empty_stack(stack: Stack, stub: Stubber) -> None:
    is_(stub, None)
    creating(stub, "CREATE")
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": "Template error: no such output"})
    stub.add_response("delete_change_set", {})
    is_(stub, "REVIEW_IN_PROGRESS")
    stub.add_response("delete_stack", {})
    with pytest.raises(UsageError) as error:
        prepare(stack)
    assert str(error.value) == (
        "CloudFormation made no change set for board-staging: Template error: no such output; mend the environment's parameters"
    )


def test_a_parameter_is_missing(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_COMPLETE")
    stub.add_client_error("create_change_set", "ValidationError", "Parameters: [VpcId] must have values")
    with pytest.raises(UsageError) as error:
        prepare(stack)
    assert str(error.value) == (
        "CloudFormation refused the change to board-staging: Parameters: [VpcId] must have values; mend the environment's "
        "parameters in pyproject.toml"
    )


def test_cancelling_an_update(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_IN_PROGRESS")
    stub.add_response("cancel_update_stack", {}, {"StackName": "board-staging"})
    stack.cancel()


def test_cancelling_a_creation_deletes(stack: Stack, stub: Stubber) -> None:
    is_(stub, "CREATE_IN_PROGRESS")
    stub.add_response("delete_stack", {}, {"StackName": "board-staging"})
    stack.cancel()


def test_cancelling_what_has_just_ended(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_IN_PROGRESS")
    stub.add_client_error(
        "cancel_update_stack", "ValidationError", "CancelUpdateStack cannot be called from current stack status"
    )
    stack.cancel()
    is_(stub, "UPDATE_COMPLETE")
    stack.cancel()
