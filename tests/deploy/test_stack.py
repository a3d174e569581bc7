"""Change sets in, events out: over botocore's stubs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber
from lastgood.deploy.stack import STACK, ChangeSet, Event, Stack, Unreverted, causes, settled, unreverted
from lastgood.errors import UsageError

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CHANGE = "arn:aws:cloudformation:eu-central-1:1:changeSet/lastgood-1/1"
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


def told(stub: Stubber, *events: tuple[int, str, str], more: str = "") -> None:
    """Events (number and second, resource, status), newest first; `more` is the token of the next page."""
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
    page = {"StackEvents": found} | ({"NextToken": more} if more else {})
    stub.add_response("describe_stack_events", page, {"StackName": "board-staging"})


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
    assert stack._seen == {"2", "3", "7", "8"}
    told(stub, (9, "Service", "UPDATE_IN_PROGRESS"), (8, "board-staging", "UPDATE_ROLLBACK_COMPLETE"))
    assert [one.id for one in stack.fresh()] == ["9"]


def test_an_old_stack_is_asked_for_its_newest_events_only(stack: Stack, stub: Stubber) -> None:
    """The stub would refuse a question for a second page."""
    told(stub, (9, "Service", "UPDATE_COMPLETE"), (8, "Service", "UPDATE_IN_PROGRESS"), more="next")
    stack.mark()
    told(stub, (10, "Service", "UPDATE_IN_PROGRESS"), (9, "Service", "UPDATE_COMPLETE"), more="next")
    assert [one.id for one in stack.fresh()] == ["10"]


def tell(*events: tuple[str, str, str]) -> list[Event]:
    """Events (resource, status, reason), oldest first; `stack` is the stack itself."""
    return [
        Event(str(number), EPOCH, resource, STACK if resource == "stack" else f"type of {resource}", status, reason, "")
        for number, (resource, status, reason) in enumerate(events)
    ]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("Service", "UPDATE_FAILED", "no")], ["Service"]),
        ([("Service", "UPDATE_FAILED", "no"), ("Service", "UPDATE_COMPLETE", "")], []),
        # A sibling that was cancelled with it can't be skipped: CloudFormation would refuse, and it is rolled back by the next try.
        ([("Role", "UPDATE_FAILED", "Resource update cancelled"), ("Service", "UPDATE_FAILED", "no")], ["Service"]),
        ([("Cluster", "DELETE_FAILED", "no"), ("stack", "UPDATE_ROLLBACK_FAILED", "no")], []),
        ([("Migration", "UPDATE_FAILED", "a"), ("Service", "UPDATE_FAILED", "b")], ["Migration", "Service"]),
    ],
)
def test_what_stopped_a_rollback(events: list[tuple[str, str, str]], expected: list[str]) -> None:
    assert [one.name for one in unreverted(tell(*events))] == expected


def test_what_failed_on_the_way_forward_did_not_stop_the_rollback(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the same status, and CloudFormation refuses to skip it."""
    events = tell(
        ("Service", "UPDATE_FAILED", "the new build crashes"),
        ("stack", "UPDATE_ROLLBACK_IN_PROGRESS", ""),
        ("Migration", "UPDATE_FAILED", "first try"),
        ("stack", "UPDATE_ROLLBACK_FAILED", ""),
        ("stack", "UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated"),
        ("Migration", "UPDATE_FAILED", "second try"),
        ("stack", "UPDATE_ROLLBACK_FAILED", ""),
    )
    monkeypatch.setattr(stack, "_newest_first", lambda: iter(events[::-1]))
    assert stack.unreverted() == [Unreverted("Migration", "type of Migration", "second try")]


def test_continuing_a_rollback(stack: Stack, stub: Stubber) -> None:
    for skipping, request in ((), {}), (("Service",), {"ResourcesToSkip": ["Service"]}):
        told(stub)
        stub.add_response("continue_update_rollback", {}, {"StackName": "board-staging"} | request)
        stack.continue_rollback(skipping)


def test_a_network_that_comes_back_is_waited_for(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_IN_PROGRESS")
    told(stub)
    stub.add_client_error("describe_stacks", "Throttling", "Rate exceeded")
    is_(stub, "UPDATE_COMPLETE")
    stub.add_client_error("describe_stack_events", "ServiceUnavailable", "later")
    is_(stub, "UPDATE_COMPLETE")
    told(stub)
    assert stack.watch(lambda events: None) == "UPDATE_COMPLETE"


@pytest.mark.parametrize(
    ("seen", "before", "kind"),
    [("UPDATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE"), (None, "REVIEW_IN_PROGRESS", "CREATE")],
)
def test_an_operation_that_has_not_begun_yet_has_not_ended(
    stack: Stack, stub: Stubber, seen: str | None, before: str, kind: str
) -> None:
    """CloudFormation answers ExecuteChangeSet first; the status may still be the one before. The emulator's never is."""
    is_(stub, seen)
    stack.status()
    told(stub, (1, "stack", before))
    stub.add_response("execute_change_set", {})
    stack.execute(ChangeSet("lastgood-1", kind))
    for _ in range(2):
        is_(stub, before)
        told(stub, (1, "stack", before))
    is_(stub, "UPDATE_IN_PROGRESS")
    told(stub, (2, "Service", "UPDATE_IN_PROGRESS"), (1, "stack", before))
    is_(stub, "UPDATE_COMPLETE")
    told(stub, (2, "Service", "UPDATE_IN_PROGRESS"))
    assert stack.watch(lambda events: None) == "UPDATE_COMPLETE"


def test_an_operation_that_was_over_before_the_first_look_is_seen_by_its_events(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = tell(("stack", "UPDATE_COMPLETE", ""))
    monkeypatch.setattr(stack, "describe", lambda: {"StackStatus": "UPDATE_COMPLETE"})
    monkeypatch.setattr(stack, "_newest_first", lambda: iter(events[::-1]))
    monkeypatch.setattr(stack.cloudformation, "execute_change_set", lambda **_: None, raising=False)
    stack.status()
    stack.execute(ChangeSet("lastgood-1", "UPDATE"))
    events += [
        Event("8", EPOCH, "stack", STACK, "UPDATE_IN_PROGRESS", "", ""),
        Event("9", EPOCH, "stack", STACK, "UPDATE_COMPLETE", "", ""),
    ]
    assert stack.watch(lambda events: None) == "UPDATE_COMPLETE"


def test_what_could_not_be_shown_is_shown_later(stack: Stack, stub: Stubber) -> None:
    """Whoever shows asks the record, which may not answer: no event, and no cause, is lost for that."""
    seen: list[str] = []
    busy = [ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "GetItem")]

    def show(events: list[Event]) -> None:
        if busy:
            raise busy.pop()
        seen.extend(event.status for event in events)

    is_(stub, "UPDATE_IN_PROGRESS")
    told(stub, (1, "Service", "UPDATE_FAILED"))
    is_(stub, "UPDATE_ROLLBACK_COMPLETE")
    told(stub, (2, "Service", "UPDATE_COMPLETE"), (1, "Service", "UPDATE_FAILED"))
    assert stack.watch(show) == "UPDATE_ROLLBACK_COMPLETE"
    assert seen == ["UPDATE_FAILED", "UPDATE_COMPLETE"]


def test_an_expired_session_is_not(stack: Stack, stub: Stubber) -> None:
    stub.add_client_error("describe_stacks", "ExpiredToken", "The security token included in the request is expired")
    with pytest.raises(ClientError, match="ExpiredToken"):
        stack.watch(lambda events: None)


def test_nor_is_a_network_that_stays_away(stack: Stack, stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastgood.deploy.stack.PATIENCE", 0.0)
    stub.add_client_error("describe_stacks", "Throttling", "Rate exceeded")
    with pytest.raises(ClientError, match="Throttling"):
        stack.watch(lambda events: None)


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
    stub.add_response("create_change_set", {"Id": CHANGE}, request)


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
    stub.add_response(
        "describe_events", {"OperationEvents": []}, {"ChangeSetName": CHANGE, "Filters": {"FailedEvents": True}}
    )
    stub.add_response("delete_change_set", {})
    is_(stub, "REVIEW_IN_PROGRESS")
    stub.add_response("delete_stack", {})
    with pytest.raises(UsageError) as error:
        prepare(stack)
    assert str(error.value) == (
        "CloudFormation made no change set for board-staging: Template error: no such output; mend the environment's parameters"
    )


EARLY = (
    "The following hook(s)/validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]. To troubleshoot Early Validation errors, use "
    "the DescribeEvents API for detailed failure information."
)


def test_the_causes_of_an_early_validation_are_asked_for(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_COMPLETE")
    creating(stub, "UPDATE")
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": EARLY})
    cause = {
        "EventId": "1",
        "EventType": "VALIDATION_ERROR",
        "LogicalResourceId": "LogGroup",
        "ResourceType": "AWS::Logs::LogGroup",
        "ValidationName": "NAME_CONFLICT_VALIDATION",
        "ValidationStatusReason": "Resource of type 'AWS::Logs::LogGroup' with identifier '/lastgood/board/staging' already exists.",
        "ValidationPath": "/Resources/LogGroup",
    }
    stub.add_response("describe_events", {"OperationEvents": [cause]})
    stub.add_response("delete_change_set", {})
    with pytest.raises(UsageError) as error:
        prepare(stack)
    assert str(error.value) == (
        f"CloudFormation made no change set for board-staging: {EARLY}; mend the environment's parameters\n"
        "  LogGroup (AWS::Logs::LogGroup): Resource of type 'AWS::Logs::LogGroup' with identifier '/lastgood/board/staging' already exists."
        " (at /Resources/LogGroup)"
    )


def test_a_role_that_may_not_ask_for_the_causes_hides_no_reason(stack: Stack, stub: Stubber) -> None:
    is_(stub, "UPDATE_COMPLETE")
    creating(stub, "UPDATE")
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": EARLY})
    stub.add_client_error("describe_events", "AccessDenied", "not authorized")
    stub.add_response("delete_change_set", {})
    with pytest.raises(UsageError) as error:
        prepare(stack)
    assert str(error.value) == (
        f"CloudFormation made no change set for board-staging: {EARLY}; mend the environment's parameters\n"
        "  (no more is known: DescribeEvents answered AccessDenied)"
    )


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            {"LogicalResourceId": "P", "ResourceType": "T", "ValidationStatusReason": "r", "ValidationPath": "/p"},
            "P (T): r (at /p)",
        ),
        ({"HookType": "Mine::Guard", "HookStatusReason": "not on Fridays"}, "Mine::Guard: not on Fridays"),
        (
            {"LogicalResourceId": "Service", "ResourceType": "T", "ResourceStatusReason": "no"},
            "Service (T): no",
        ),
        ({"ValidationStatusReason": "no such property"}, "the template: no such property"),
        ({"OperationStatus": "FAILED"}, None),
    ],
)
def test_a_cause(event: dict[str, str], expected: str | None) -> None:
    assert causes([event, event]) == ([expected] if expected else [])


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
