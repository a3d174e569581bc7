"""The migration function from CloudFormation's request to its answer, with deliveries doubled, late and lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fixtures.requests import NEXT, OLD, PROPERTIES, REQUEST, Died, died, request


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
    assert cloud.open.items == {}


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
        patch.setitem(cloud.function.ACTIONS, "start", died)
        with pytest.raises(Died):
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
    cloud(request())
    own = cloud.end(1, 0, status="done")["detail"]
    cloud.tokens[f"{REQUEST}-0"] |= {"lastStatus": "RUNNING", "containers": [{"name": "release"}]}
    for change in (
        {"startedBy": ""},
        {"startedBy": "ecs-svc/1"},
        {"taskArn": "arn:aws:ecs:eu-central-1:1:task/board_staging/9"},
        {"clusterArn": "arn:aws:ecs:eu-central-1:1:cluster/board_production"},
        {},  # our own, by its name: what an event says counts for nothing, it makes the function look
    ):
        cloud({"detail-type": "ECS Task State Change", "detail": own | change})
    assert cloud.answers == []
    assert len(cloud.ran) == 1
    cloud(cloud.end(1, 0, status="done"))
    assert cloud.answers == [IN_STEP]


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


def test_no_room_twice_and_then_some(cloud: Any) -> None:
    cloud.failures = [{"reason": "RESOURCE:ENI"}, {"reason": "Capacity is unavailable at this time"}]
    cloud(request())
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-2"]
    assert cloud.slept == [5, 10]
    cloud(cloud.end(1, 0, status="done"))
    assert cloud.answers == [IN_STEP]
    assert [hop.get("reason") for hop in cloud.operation(REQUEST)["hops"][:2]] == [
        "RESOURCE:ENI",
        "Capacity is unavailable at this time",
    ]


def test_no_room_at_all(cloud: Any) -> None:
    """Three more tries; the last wait is longer than an invocation has patience for, so the schedule ends it."""
    cloud.failures = [{"reason": "RESOURCE:ENI"}] * 9
    cloud(request())
    assert cloud.answers == []
    cloud.minute()
    reason = "forward by build wanted: the task did not start in 4 tries (RESOURCE:ENI)"
    assert cloud.answers == [answered("FAILED", reason)]
    assert len(cloud.failures) == 5


def test_a_task_that_fails_to_start_twice_and_then_starts(cloud: Any) -> None:
    cloud(request())
    cloud(cloud.end(1, None, stopped="ResourceInitializationError: unable to pull secrets or registry auth"))
    cloud(cloud.end(2, None, stopped="CannotPullContainerError: i/o timeout"))
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-{number}" for number in range(3)]
    cloud(cloud.end(3, 0, status="done"))
    assert cloud.answers == [IN_STEP]


@pytest.mark.parametrize("code", [1, 4, 5, 137])
def test_an_error_of_the_migrator_is_never_tried_again(cloud: Any, code: int) -> None:
    cloud(request())
    cloud(
        cloud.end(1, code, "CannotPullContainerError: said by the migrator", stopped="RESOURCE:said by the container")
    )
    cloud.minute()
    assert len(cloud.ran) == 1
    assert [one["Status"] for one in cloud.answers] == ["FAILED"]


def test_the_way_back_goes_on_until_no_time_is_left(cloud: Any) -> None:
    cloud(request())
    cloud(cloud.end(1, 5, status="failed", reason="a.0002: IntegrityError"))
    cloud.failures = [{"reason": "Capacity is unavailable at this time"}] * 100
    back = {"ResourceProperties": OLD | {"ServiceTimeout": "600"}, "OldResourceProperties": PROPERTIES}
    cloud(request(RequestId=NEXT, **back))
    for _ in range(6):
        cloud.minute()
    assert len(cloud.answers) == 1
    for _ in range(3):
        cloud.minute()
    assert cloud.answers[1]["Reason"] == "forward by build old: there was no time left to start it"
    assert len(cloud.failures) > 88  # a minute between two tries, not less


def test_ecs_refuses(cloud: Any) -> None:
    cloud.refuse = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "iam:PassRole"}}, "RunTask")
    cloud.function.handler(request())
    said = "An error occurred (AccessDeniedException) when calling the RunTask operation: iam:PassRole"
    assert cloud.answers == [answered("FAILED", f"forward by build wanted: the task did not start ({said})")]


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
    assert cloud.answers == [IN_STEP]  # its exit status says so


def test_the_log_of_a_failure_can_not_be_read(cloud: Any) -> None:
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "logs"}}
    cloud(request())
    cloud.fails["GetLogEvents"] = [ClientError(denied, "GetLogEvents")]
    cloud(cloud.end(1, 5, status="failed"))
    said = "An error occurred (AccessDeniedException) when calling the GetLogEvents operation: logs"
    reason = f"forward by build wanted: exit status 5\nlast log lines:\n(the log can't be read: {said})"
    assert cloud.answers == [answered("FAILED", reason)]


def test_a_log_with_empty_pages(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """GetLogEvents may answer less than there is, or nothing; the end is where the token comes again."""
    pages = {None: ([], "b1"), "b1": (["last", '{"status": "done", "reason": "left as it is"}'], "b2")}
    pages |= {"b2": ([], "b3"), "b3": (["first"], "b4"), "b4": ([], "b4")}

    def page(nextToken: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: N803
        lines, token = pages[nextToken]
        return {"events": [{"message": line} for line in lines], "nextBackwardToken": token}

    monkeypatch.setattr(cloud, "get_log_events", page)
    cloud(request())
    cloud(cloud.end(1, 0))
    assert cloud.answers == [answered("SUCCESS", "left as it is")]


def test_a_log_that_never_ends_is_left(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def page(**options: Any) -> dict[str, Any]:
        asked.append(options.get("nextToken"))
        return {"events": [], "nextBackwardToken": f"b{len(asked)}"}

    monkeypatch.setattr(cloud, "get_log_events", page)
    cloud(request())
    cloud(cloud.end(1, 0))
    assert asked[:5] == [None, "b1", "b2", "b3", "b4"]
    assert len(asked) == 5 * asked.count(None)
    assert cloud.answers == [IN_STEP]


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
    ("release", "other", "older"),
    [
        ("3", "4", True),
        ("4", "3", False),
        ("9", "10", True),
        ("4", "4-restore", True),
        ("4-restore", "4", False),
        ("4-restore", "5", True),
    ],
)
def test_is_older(cloud: Any, release: str, other: str, older: bool) -> None:
    assert cloud.function.is_older(release, other) is older


@pytest.mark.parametrize(("before", "said"), [("4", []), ("2", [{"name": "LASTGOOD_LEAVE_AHEAD", "value": "yes"}])])
def test_the_way_back_of_cloudformation_leaves_nothing_ahead(cloud: Any, before: str, said: list[Any]) -> None:
    """Release 3 was a rollback, service first; where CloudFormation goes back to it, its properties come as they were then."""
    old = PROPERTIES | {"Release": before, "ImageDigest": "sha256:other", "Build": "other"}
    wanted = PROPERTIES | {"Release": "3", "LeaveAhead": "yes"}
    cloud.function.handler(request(RequestType="Update", ResourceProperties=wanted, OldResourceProperties=old))
    assert cloud.ran[0]["overrides"]["containerOverrides"][0]["environment"][1:] == said


def throttled(call: str) -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, call)


@pytest.mark.parametrize("call", ["RunTask", "DescribeTasks"])
def test_ecs_is_throttled_when_the_request_comes(cloud: Any, call: str) -> None:
    """Whether a task was started is not known: the same call, by the same token, is made again."""
    cloud.fails[call] = [throttled(call)]
    with pytest.raises(ClientError, match="Rate exceeded"):
        cloud(request())
    cloud(request())  # Lambda delivers it again
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-0"]
    cloud(cloud.end(1, 0, status="done"))
    assert cloud.answers == [IN_STEP]


@pytest.mark.parametrize("call", ["DescribeTasks", "GetLogEvents"])
def test_lambda_drops_an_event_after_three_failures(cloud: Any, call: str) -> None:
    cloud(request())
    ended = cloud.end(1, 0, status="done")
    cloud.fails[call] = [throttled(call) for _ in range(4)]
    for _ in range(3):
        with pytest.raises(ClientError, match="Rate exceeded"):
            cloud(ended)
    cloud.minute()  # fails, too, and the schedule does not
    assert cloud.answers == []
    cloud.minute()
    assert cloud.answers == [IN_STEP]


def test_an_event_that_is_lost_costs_a_minute(cloud: Any) -> None:
    cloud(request())
    cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer")
    cloud.minute()
    cloud.end(2, 0, status="done")
    cloud.minute()
    cloud.end(3, 0, status="done")
    cloud.minute()
    assert cloud.answers == [IN_STEP]
    assert cloud.open.items == {}


def test_a_description_that_is_behind_its_event(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud(request())
    ended = cloud.end(1, 0, status="done")
    describe = cloud.describe_tasks

    def behind(**asked: Any) -> Any:
        found = describe(**asked)
        return found if len(cloud.slept) == 2 else {"tasks": [found["tasks"][0] | {"lastStatus": "DEPROVISIONING"}]}

    monkeypatch.setattr(cloud, "describe_tasks", behind)
    cloud(ended)
    assert cloud.answers == [IN_STEP]


def test_a_task_that_ends_before_its_name_is_written_down(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cloud.run_task

    def quick(**asked: Any) -> Any:
        started = run(**asked)
        if len(cloud.asked) == 1 and not cloud.answers:
            monkeypatch.setattr(cloud, "run_task", run)
            cloud(cloud.end(1, 0, status="done"))
        return started

    monkeypatch.setattr(cloud, "run_task", quick)
    cloud(request())
    assert cloud.answers == [IN_STEP]
    assert len(cloud.ran) == 1


def test_a_delivery_that_died_after_it_started_the_task(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud(request())
    ended = cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer")
    with monkeypatch.context() as patch:
        patch.setattr(cloud.function, "note_task", died)
        with pytest.raises(Died):
            cloud(ended)
    cloud(ended)
    assert len(cloud.registered) == 1
    assert [one["clientToken"] for one in cloud.ran] == [f"{REQUEST}-0", f"{REQUEST}-1"]
    cloud(cloud.end(2, 0, status="done"))
    cloud(cloud.end(3, 0, status="done"))
    assert cloud.answers == [IN_STEP]
    assert cloud.deregistered == ["copy:1"]


def test_two_deliveries_at_once_leave_one_definition(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud(request())
    ended = cloud.end(1, 3, status="needs", needs="newer", needs_digest="sha256:newer")
    prepare = cloud.function.prepare_definition

    def overtaken(operation: Any) -> Any:
        made = prepare(operation)
        monkeypatch.setattr(cloud.function, "prepare_definition", prepare)
        cloud(ended)
        return made

    monkeypatch.setattr(cloud.function, "prepare_definition", overtaken)
    cloud(ended)
    assert len(cloud.registered) == 2
    assert cloud.deregistered == ["copy:1"]
    assert cloud.ran[1]["taskDefinition"] == "copy:2"


def test_a_task_that_is_too_new_to_be_described(cloud: Any) -> None:
    cloud.lost = ["arn:aws:ecs:eu-central-1:1:task/board_staging/1"]
    cloud(request())
    for _ in range(4):
        cloud.minute()
    assert cloud.answers == []
    cloud.lost = []
    cloud(cloud.end(1, 0, status="done"))
    assert cloud.answers == [IN_STEP]


def test_a_task_that_ecs_has_forgotten(cloud: Any) -> None:
    cloud(request())
    cloud.lost = ["arn:aws:ecs:eu-central-1:1:task/board_staging/1"]
    for _ in range(6):
        cloud.minute()
    reason = (
        "forward by build wanted: ECS does not know its task any more, so nobody knows how it ended:"
        " deploy again, which looks at the database"
    )
    assert cloud.answers == [answered("FAILED", reason)]


def test_a_task_that_outlives_its_time_is_stopped(cloud: Any) -> None:
    cloud(request(ResourceProperties=PROPERTIES | {"ServiceTimeout": "600"}))
    for _ in range(7):
        cloud.minute()
    assert cloud.stopped == []
    cloud.minute()
    assert cloud.stopped == ["1"]
    assert cloud.answers == []
    cloud(cloud.end(1, 5, "working on a.0002", status="failed", reason="stopped by a signal", stopped="UserInitiated"))
    reason = (
        "forward by build wanted: stopped, not at its end 450 s after the request: make the migration shorter, or"
        " MigrationTimeout longer (stopped by a signal)\nlast log lines:\nworking on a.0002"
    )
    assert cloud.answers == [answered("FAILED", reason)]


def test_a_task_that_ends_well_while_it_is_being_stopped(cloud: Any) -> None:
    cloud(request(ResourceProperties=PROPERTIES | {"ServiceTimeout": "60"}))
    cloud.minute()
    assert cloud.stopped == ["1"]
    cloud(cloud.end(1, 0, status="done"))
    assert cloud.answers == [IN_STEP]


def test_a_build_that_was_never_pushed_does_not_run(cloud: Any) -> None:
    """A task's last line names a build, and that runs with the database's credentials."""
    cloud(request())
    cloud(cloud.end(1, 3, status="needs", needs="evil", needs_digest="sha256:evil"))
    assert cloud.registered == []
    reason = (
        "forward by build wanted: build evil (sha256:evil) must go first, and the release record has no such build:"
        " push it again, then deploy again"
    )
    assert cloud.answers == [answered("FAILED", reason)]


def test_who_reads_the_release_record_can_not_answer(cloud: Any) -> None:
    cloud(request())
    assert "signature" not in json.dumps(list(cloud.table.items.values()))
    assert cloud.open.items[f"open#{REQUEST}", "operation"]["address"] == "https://cloudformation/?signature=secret"
    cloud(cloud.end(1, 0, status="done"))
    assert cloud.open.items == {}
    assert "signature" not in json.dumps(list(cloud.table.items.values()))


def test_cloudformation_does_not_answer_four_times(cloud: Any) -> None:
    cloud(request())
    ended = cloud.end(1, 0, status="done")
    cloud.unreachable = 4
    for _ in range(3):
        with pytest.raises(cloud.function.Unanswered):
            cloud(ended)
    cloud.minute()
    cloud.minute()
    assert cloud.answers == [IN_STEP]


def test_an_answer_that_nobody_takes_is_given_up(cloud: Any) -> None:
    cloud(request())
    cloud.unreachable = 1000
    with pytest.raises(cloud.function.Unanswered):
        cloud(cloud.end(1, 0, status="done"))
    cloud.now += 3 * 3600
    cloud.minute()
    assert cloud.open.items == {}
    assert cloud.operation(REQUEST)["state"] == "answered"


def test_an_answer_of_many_bytes(cloud: Any) -> None:
    cloud(request())
    cloud(cloud.end(1, 1, *['\x01"ü' * 50] * 40))
    assert cloud.answers[0]["Reason"].startswith("forward by build wanted: exit status 1\nlast log lines:\n")


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
    assert [key for key in cloud.table.items if not key[0].startswith("build#")] == []
    assert cloud.open.items == {}


def test_a_delete_from_another_environments_template_stops_nothing(cloud: Any) -> None:
    """A stack must be deletable, and a template that names another environment must not supersede what runs there."""
    cloud(request())
    cloud.service_role = "arn:aws:iam::1:role/lastgood-access/board/scratch/ServiceRole-1"
    cloud(request("Delete", RequestId=NEXT))
    assert cloud.stopped == []
    assert [(one["Status"], one["Reason"]) for one in cloud.answers] == [("SUCCESS", "nothing was done for it")]


def test_a_stack_without_a_service_role_is_an_administrators(cloud: Any) -> None:
    cloud.service_role = ""
    cloud.function.handler(request())
    assert len(cloud.ran) == 1


def test_a_delete_that_names_another_environment_stops_nothing_there(cloud: Any) -> None:
    """Its Create was refused, so the stack must be able to go."""
    cloud(request())
    properties = PROPERTIES | {"Environment": "production"}
    cloud(request("Delete", RequestId=NEXT, ResourceProperties=properties))
    assert [(one["Status"], one["Reason"]) for one in cloud.answers] == [("SUCCESS", "nothing was done for it")]
    assert cloud.stopped == []
    assert cloud.table.items["environment#staging", "operation"]["request"] == REQUEST
