"""Processes beside web: what counts as wrong with them, what stays up, and what a release takes with it on its way back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from lastgood.config.project import Job, Process, Shape
from lastgood.deploy import logs, progress, rollback, run, skip, status, template, verify
from lastgood.deploy.order import Order
from lastgood.deploy.skip import Skip
from lastgood.deploy.smoke import Health
from lastgood.deploy.stack import Unreverted
from lastgood.deploy.verify import Facts, Service
from lastgood.errors import LastgoodError, Refused, UsageError
from lastgood.record.release import BuildFacts, Release

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
SHAPE = Shape((Process("worker", ("celery",)),), (Job("nightly", ("manage.py", "clean"), cpu=512),))
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def facts(*running: str, desired: int = 1, shape: str = "") -> Facts:
    worker = verify.Process("worker", desired, running)
    return Facts("UPDATE_COMPLETE", ONE, (ONE,), Health(200, ONE, "in step"), (worker,), template.mark(shape))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (facts(ONE), ""),
        (facts(TWO), f"tasks of {TWO[:19]} run as worker, not of {ONE[:19]} alone"),
        (facts(), "0 of 1 tasks of worker run"),
        (facts(ONE, ONE, desired=3), "2 of 3 tasks of worker run"),
        (facts(desired=0), ""),
    ],
)
def test_what_is_wrong_with_a_process(found: Facts, said: str) -> None:
    assert verify.wrong(found, ONE) == said


def test_a_stack_of_other_tables_is_not_last_good() -> None:
    shape = SHAPE.text()
    assert verify.wrong(facts(ONE, shape=shape), ONE, shape=shape) == ""
    assert verify.wrong(facts(ONE, shape=shape), ONE) == ""
    said = "the stack has other processes, jobs, variables or secrets than it should"
    assert verify.wrong(facts(ONE), ONE, shape=shape) == said
    assert status.verdict(facts(ONE, shape=shape), ONE, "") == said


def build(digest: str) -> BuildFacts:
    return BuildFacts("a", "a", "a", digest, "image", "m", 1)


def release(number: int, digest: str, shape: str) -> Release:
    return Release(number, "good", "deploy", build(digest), "ada", "now", shape=shape)


def test_tables_alone_make_a_release() -> None:
    last = release(1, ONE, "")
    assert Order("deploy", build(ONE), "ada", "", again=False).is_done(last)
    assert not Order("deploy", build(ONE), "ada", "", again=False, shape=SHAPE).is_done(last)
    assert Order("deploy", build(ONE), "ada", "", again=False, shape=SHAPE).is_done(release(1, ONE, SHAPE.text()))


def test_a_rollback_brings_the_processes_of_then() -> None:
    releases = [release(2, TWO, ""), release(1, ONE, SHAPE.text())]
    record: Any = SimpleNamespace(releases=lambda: releases, last_good=lambda: releases[0])
    order = rollback.ordered(SimpleNamespace(record=record, name="x"), None, recreate=False, who="ada", reason="")  # type: ignore[arg-type]
    assert order.shape.text() == SHAPE.text()
    kept = Release.of(releases[1].as_dict())
    assert (kept.shape, "shape" in releases[0].as_dict()) == (SHAPE.text(), False)


def test_a_service_that_a_rollback_could_not_send_back_is_proved_by_itself() -> None:
    stopped = [Unreverted("ProcessWorkerService", "AWS::ECS::Service", "no")]
    good = Service(ONE, 1, "COMPLETED", 1, 1)
    assert skip.decide(stopped, facts(ONE), Service(), ONE, others={"ProcessWorkerService": good}) == Skip(
        ("ProcessWorkerService",)
    )
    assert skip.decide(stopped, facts(ONE), good, ONE).unproved == (
        "ProcessWorkerService (AWS::ECS::Service): ECS knows of no such service",
    )


class Ecs:
    """ECS and the log of one cluster: a service with tasks, and what ran beside."""

    def __init__(self, *tasks: dict[str, Any], status: int | None = 0, lines: tuple[str, ...] = ()) -> None:
        self.tasks = list(tasks)
        self.status = status
        self.lines = lines
        self.asked: dict[str, Any] = {}
        self.stopped: list[str] = []

    def describe_services(self, cluster: str, services: list[str]) -> dict[str, Any]:
        known = {"shop_live": "web", "shop_live_worker": "worker"}
        name = known.get(services[0])
        one = {"status": "ACTIVE", "taskDefinition": f"{name}:1", "networkConfiguration": {"net": 1}, "deployments": []}
        return {"services": [one | {"desiredCount": 1, "runningCount": 1}] if name else []}

    def describe_task_definition(self, taskDefinition: str) -> dict[str, Any]:  # noqa: N803
        name = taskDefinition.partition(":")[0]
        logged = {"options": {"awslogs-group": "group", "awslogs-stream-prefix": name}}
        one = {"name": name, "image": f"shop@{ONE}", "logConfiguration": logged}
        return {"taskDefinition": {"containerDefinitions": [one]}}

    def list_tasks(self, **which: Any) -> dict[str, Any]:
        return {"taskArns": [str(at) for at in range(len(self.tasks))]}

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        if tasks == ["arn/task1"]:
            own = {"name": self.asked["overrides"]["containerOverrides"][0]["name"]}
            own |= {} if self.status is None else {"exitCode": self.status}
            return {"tasks": [{"lastStatus": "STOPPED", "containers": [own], "stoppedReason": "no image"}]}
        return {"tasks": [self.tasks[int(one)] for one in tasks]}

    def run_task(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        return {"tasks": [{"taskArn": "arn/task1"}], "failures": []}

    def stop_task(self, cluster: str, task: str, reason: str) -> None:
        self.stopped.append(task)

    def get_log_events(self, **which: Any) -> dict[str, Any]:
        self.stream = which["logStreamName"]
        return {
            "events": [] if "nextToken" in which else [{"message": one} for one in self.lines],
            "nextForwardToken": "t",
        }


def place(ecs: Ecs, table: Any = None) -> Any:
    session = SimpleNamespace(project="shop", cluster="shop_live", client=lambda _: ecs, cloud=object())
    outputs = {"Processes": "worker", "Jobs": "nightly", "JobTaskDefinition": "job:1", "LogGroupName": "group"}
    stack = SimpleNamespace(pause=0.0, outputs=lambda: outputs)
    record = SimpleNamespace(last_good=lambda: release(1, ONE, SHAPE.text()), table=table, pk="environment#live")
    return SimpleNamespace(name="live", session=session, stack=stack, record=record)


def task(age: float) -> dict[str, Any]:
    return {"startedAt": datetime.now(UTC) - timedelta(seconds=age), "lastStatus": "RUNNING", "containers": []}


def test_what_has_run_for_a_while_stays_up() -> None:
    verify.stay(place(Ecs(task(60))), ["worker"], lambda name: "")


def test_what_ends_by_itself_does_not_stay_up() -> None:
    with pytest.raises(LastgoodError, match=r"^worker did not stay up: exit status 1$"):
        verify.stay(place(Ecs(task(60))), ["worker"], lambda name: "exit status 1")


def test_what_has_only_begun_is_waited_for() -> None:
    with pytest.raises(LastgoodError, match=r"^worker did not come to rest within 0 s: 1 of its tasks run$"):
        verify.stay(place(Ecs(task(1))), ["worker"], lambda name: "", deadline=0.0)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"stopCode": "EssentialContainerExited", "stoppedAt": NOW}, "its container ended with exit status 1 (gone)"),
        ({"stopCode": "EssentialContainerExited", "stoppedAt": NOW - timedelta(hours=1)}, ""),
        ({"stopCode": "ServiceSchedulerInitiated", "stoppedAt": NOW}, ""),
    ],
)
def test_only_what_ended_by_itself_in_this_release_is_a_crash(ended: dict[str, Any], said: str) -> None:
    own = {"name": "worker", "image": f"shop@{ONE}", "exitCode": 1}
    ecs = Ecs(
        {"taskArn": "arn/1", "taskDefinitionArn": "worker:1", "stoppedReason": "gone", "containers": [own]} | ended
    )
    record: Any = SimpleNamespace(operation=lambda: None)
    watching = progress.Progress(place(ecs).session, record, ONE)
    assert watching.crash("worker", NOW - timedelta(minutes=1)) == said


def test_a_command_is_a_task_of_what_runs(table: Any) -> None:
    ecs, written = Ecs(status=7, lines=("one", "two")), list[str]()
    there = place(ecs, table)
    command = run.of_process(there, "worker", ["python", "manage.py", "x", "--password=hunter2"])
    assert run.run(there, command, "ada", written.append) == 7
    assert written == ["one", "two"]
    assert ecs.stream == "worker/worker/task1"
    assert ecs.asked == {
        "cluster": "shop_live",
        "taskDefinition": "worker:1",
        "launchType": "FARGATE",
        "networkConfiguration": {"net": 1},
        "overrides": {"containerOverrides": [{"name": "worker", "command": ["manage.py", "x", "--password=hunter2"]}]},
        "startedBy": "lastgood",
    }
    (item,) = [one for one in table.items.values() if str(one["sk"]).startswith("run#")]
    assert {key: item[key] for key in ("who", "process", "command", "digest", "said")} == {
        "who": "ada",
        "process": "worker",
        "command": "python manage.py x --password=***",
        "digest": ONE,
        "said": "exit status 7",
    }


def test_who_ran_what() -> None:
    assert run.render([]) == "nobody has run anything"
    one = {"started": "2026-11-25", "who": "ada", "process": "web", "command": "manage.py x"}
    assert run.render([one | {"said": "exit status 0"}, one]).splitlines() == [
        "started     who  process  command      ended",
        "──────────  ───  ───────  ───────────  ─────────────",
        "2026-11-25  ada  web      manage.py x  exit status 0",
        "2026-11-25  ada  web      manage.py x  –",
    ]


def test_a_job_runs_as_last_good_has_it() -> None:
    command = run.of_job(place(Ecs()), "nightly")
    assert (command.process, command.definition) == ("job", "job:1")
    assert command.overrides == {
        "containerOverrides": [{"name": "job", "command": ["manage.py", "clean"]}],
        "cpu": "512",
        "memory": "1024",
    }


def test_a_task_that_does_not_start(table: Any) -> None:
    there = place(Ecs(status=None), table)
    with pytest.raises(LastgoodError, match=r"^the task did not start: no image$"):
        run.run(there, run.of_process(there, "web", ["x"]), "ada", lambda text: None)


def test_an_interrupted_command_stops_its_task(table: Any) -> None:
    ecs = Ecs(lines=("one",))
    there = place(ecs, table)

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(there, run.of_process(there, "web", ["x"]), "ada", interrupt)
    assert ecs.stopped == ["arn/task1"]


def test_what_can_not_be_run() -> None:
    there = place(Ecs())
    for ask, said in (
        (
            lambda: run.of_process(there, "web", []),
            "what shall run? As `lastgood run -- python manage.py showmigrations`",
        ),
        (
            lambda: run.of_process(there, "wroker", ["x"]),
            "environment live has no process 'wroker' (did you mean 'worker'?): it has web, worker",
        ),
        (
            lambda: run.of_job(there, "nightli"),
            "last good of environment live has no job 'nightli' (did you mean 'nightly'?): it has nightly",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert str(caught.value) == said
    there.stack.outputs = dict
    with pytest.raises(Refused, match=r"^nothing is deployed to environment live: `lastgood deploy` comes first$"):
        run.of_process(there, "web", ["x"])


class Pages:
    """CloudWatch, with these events on pages of one."""

    def __init__(self, *events: tuple[int, str, str]) -> None:
        self.events = [
            {"eventId": str(at), "timestamp": at, "logStreamName": name, "message": text} for at, name, text in events
        ]

    def get_paginator(self, name: str) -> Any:
        assert name == "filter_log_events"
        return self

    def paginate(self, logGroupName: str, startTime: int, logStreamNamePrefix: str = "") -> Any:  # noqa: N803
        return [{"events": [one]} for one in self.events if one["timestamp"] >= startTime]


def read(*arguments: str) -> list[str]:
    pages = Pages(
        (2000, "worker/worker/task2", "two\npassword=hunter2\n\n"),
        (1000, "web/web/task1", "\x1b[2Jone"),
        (3000, "job/job/t", "x"),
    )
    found: list[str] = []
    wanted = logs.Wanted.of(*arguments, datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    logs.follow(place(pages), wanted, lambda one: found.append(logs.render(one)), on=False)  # type: ignore[arg-type]
    return found


def test_the_log_of_all_in_their_order_or_of_one() -> None:
    whole = [
        "00:00:01 web task1  \\x1b[2Jone",
        "00:00:02 worker task2  two",
        "00:00:02 worker task2  password=***",
        "00:00:03 job t  x",
    ]
    assert read("", "1h", "") == whole
    assert read("worker", "1h", "") == whole[1:3]
    assert read("", "1h", "^(one|two)$") == whole[1:2]
    assert read("", "58s", "") == whole[1:]
    assert read("", "1970-01-01T00:00:03", "") == whole[3:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("wroker", "1h", ""),
            "environment live has no process 'wroker' (did you mean 'worker'?): it has web, worker, release, job",
        ),
        (
            ("", "yesterday", ""),
            "--since 'yesterday' must be so long ago, as 10m, 2h or 1d, or a time as 2027-01-31T03:00",
        ),
        (("", "1h", "("), "--grep '(' is no regular expression: missing ), unterminated subpattern at position 0"),
    ],
)
def test_which_log_is_not_known(arguments: tuple[str, str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*arguments)
    assert str(caught.value) == said
