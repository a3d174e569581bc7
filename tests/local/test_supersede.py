"""The migration function with real containers, where CloudFormation cancels a request and sends the next one at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lastgood import bundle

pytestmark = [pytest.mark.docker, pytest.mark.slow]

STACK = "mover-local"


class Mover:
    """The function of bootstrap.yml, and a stack whose release task does as it is told."""

    def __init__(self, site: Any, wait_for: Any) -> None:
        self.site, self.wait_for = site, wait_for
        self.cloudformation, self.ecs = site.client("cloudformation"), site.client("ecs")

    def begin(self, kind: str = "update", **parameters: str) -> None:
        values = {
            "Image": self.site.image,
            "ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:lastgood-mover-migration",
            "Subnets": self.site.cloud.parameters["Subnets"],
        }
        getattr(self.cloudformation, f"{kind}_stack")(
            StackName=STACK,
            TemplateBody=(Path(__file__).parent / "release.yml").read_text(),
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in (values | parameters).items()],
        )

    def status(self) -> str:
        found = [one for one in self.cloudformation.describe_stacks()["Stacks"] if one["StackName"] == STACK]
        return str(found[0]["StackStatus"]) if found else "gone"

    def end(self) -> str:
        return str(self.wait_for(lambda: not (found := self.status()).endswith("_IN_PROGRESS") and found, "the end"))

    def deploy(self, kind: str = "update", **parameters: str) -> str:
        self.begin(kind, **parameters)
        return self.end()

    def task(self, *statuses: str) -> Any:
        """Waits for a release task in one of the states (none: any)."""

        def found() -> Any:
            arns = self.ecs.list_tasks(cluster="mover_local")["taskArns"]
            tasks = self.ecs.describe_tasks(cluster="mover_local", tasks=arns)["tasks"] if arns else []
            return next((one for one in tasks if not statuses or one["lastStatus"] in statuses), None)

        return self.wait_for(found, f"a release task that is {statuses}")

    def said(self) -> list[str]:
        """What the release tasks did, in the order of time: version and word."""
        logs = self.site.client("logs")
        lines: list[str] = []
        for stream in logs.describe_log_streams(logGroupName="/lastgood/mover/local/1")["logStreams"]:
            found = logs.get_log_events(logGroupName="/lastgood/mover/local/1", logStreamName=stream["logStreamName"])
            lines += [one["message"] for one in found["events"] if not one["message"].startswith("{")]
        return [line.split(" ", 1)[1].strip() for line in sorted(lines)]

    def wake(self) -> None:
        """What the schedule does every minute."""
        event = {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}
        self.site.client("lambda").invoke(FunctionName="lastgood-mover-migration", Payload=json.dumps(event))

    def reasons(self, status: str) -> list[str]:
        events = self.cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        return [
            one.get("ResourceStatusReason", "")
            for one in events
            if one["LogicalResourceId"] == "Migration" and one["ResourceStatus"] == status
        ]

    def operation(self) -> Any:
        table = self.site.client("dynamodb")
        key = {"pk": {"S": "environment#local"}, "sk": {"S": "operation"}}
        request = table.get_item(TableName="lastgood-mover", Key=key)["Item"]["request"]["S"]
        key = {"pk": {"S": f"operation#{request}"}, "sk": {"S": "operation"}}
        return table.get_item(TableName="lastgood-mover", Key=key)["Item"]

    def delete(self) -> None:
        if self.status() != "gone":
            self.cloudformation.delete_stack(StackName=STACK)
            self.wait_for(lambda: self.status() == "gone", "the deletion")


@pytest.fixture(scope="module")
def function(site: Any) -> Iterator[None]:
    """bootstrap.yml, as it is."""
    client = site.client("cloudformation")
    client.create_stack(
        StackName="lastgood-mover",
        TemplateBody=bundle.path("cloudformation/bootstrap.yml").read_text(),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in PARAMETERS.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    client.get_waiter("stack_create_complete").wait(StackName="lastgood-mover", WaiterConfig={"Delay": 1})
    yield
    client.delete_stack(StackName="lastgood-mover")


PARAMETERS = {"Project": "mover", "DeletionProtection": "false"}


@pytest.fixture
def mover(site: Any, function: None, wait_for: Any) -> Iterator[Mover]:
    made = Mover(site, wait_for)
    yield made
    made.delete()


def test_an_update_that_is_cancelled_while_its_task_runs(mover: Mover) -> None:
    assert mover.deploy("create", Version="1") == "CREATE_COMPLETE"
    mover.begin(Version="2", Mode="slow")
    mover.wait_for(lambda: "2 began" in mover.said(), "the slow release task")
    mover.cloudformation.cancel_update_stack(StackName=STACK)
    # At once: the function was not waited for, and its task still runs.
    mover.wait_for(lambda: mover.status() == "UPDATE_ROLLBACK_IN_PROGRESS", "the rollback", 1)
    assert "2 stopped" not in mover.said()
    assert mover.end() == "UPDATE_ROLLBACK_COMPLETE"
    assert mover.said() == ["1 began", "1 ended", "2 began", "2 stopped", "1 began", "1 ended"]
    assert mover.reasons("UPDATE_FAILED") == ["Resource update cancelled"]
    assert mover.operation()["way_back"] == {"BOOL": True}


def test_an_update_that_is_cancelled_while_its_task_is_starting(mover: Mover) -> None:
    assert mover.deploy("create", Version="1") == "CREATE_COMPLETE"
    mover.begin(Version="2", Mode="slow")
    task = mover.task()
    mover.cloudformation.cancel_update_stack(StackName=STACK)
    assert task["lastStatus"] in ("PROVISIONING", "PENDING", "ACTIVATING")
    assert mover.end() == "UPDATE_ROLLBACK_COMPLETE"
    said = mover.said()
    assert said[-2:] == ["1 began", "1 ended"]
    assert said[2:-2] in ([], ["2 began", "2 stopped"])
    ended = mover.ecs.describe_tasks(cluster="mover_local", tasks=[task["taskArn"]])["tasks"][0]
    assert (ended["lastStatus"], ended["stopCode"]) == ("STOPPED", "UserInitiated")


def test_a_create_that_is_deleted_while_its_task_runs(mover: Mover) -> None:
    """Delete is sent while Create's function may still run. Its answer comes when no task is left."""
    mover.begin("create", Version="1", Mode="slow")
    task = mover.task("RUNNING")
    mover.wait_for(lambda: "1 began" in mover.said(), "the slow release task")
    mover.cloudformation.delete_stack(StackName=STACK)
    mover.wait_for(lambda: mover.operation()["event"]["M"]["RequestType"]["S"] == "Delete", "the Delete", 2)
    running = mover.ecs.describe_tasks(cluster="mover_local", tasks=[task["taskArn"]])["tasks"][0]
    assert (running["lastStatus"], running["desiredStatus"]) == ("RUNNING", "STOPPED")
    assert mover.operation()["state"] == {"S": "waiting"}
    mover.wait_for(lambda: mover.status() == "gone", "the deletion")
    assert mover.operation()["reason"] == {"S": "the database stays as it is"}


def test_an_event_that_is_lost_and_a_task_that_only_says_that_it_is_ours(mover: Mover) -> None:
    assert mover.deploy("create", Version="1") == "CREATE_COMPLETE"
    definition = mover.ecs.list_task_definitions(familyPrefix="mover_local_release")["taskDefinitionArns"][-1]
    mover.begin(Version="2", Mode="slow")
    ours = mover.task("RUNNING")
    foreign = mover.ecs.run_task(
        cluster="mover_local",
        taskDefinition=definition,
        startedBy=ours["startedBy"],
        group="lastgood-mover",
        overrides={"containerOverrides": [{"name": "release", "command": ["-m"]}]},
    )["tasks"][0]["taskArn"]
    mover.wait_for(lambda: mover.said().count("1 ended") == 2, "the foreign task's end")
    mover.wake()
    assert mover.status() == "UPDATE_IN_PROGRESS"

    events = mover.site.client("events")
    events.disable_rule(Name="lastgood-mover-ended")
    try:
        mover.ecs.stop_task(cluster="mover_local", task=ours["taskArn"], reason="a person")
        stopped = {"cluster": "mover_local", "tasks": [ours["taskArn"]]}
        described = mover.ecs.describe_tasks
        mover.wait_for(lambda: described(**stopped)["tasks"][0]["lastStatus"] == "STOPPED", "the task's end")
        mover.wake()
    finally:
        events.enable_rule(Name="lastgood-mover-ended")
    assert mover.end() == "UPDATE_ROLLBACK_COMPLETE"
    assert mover.reasons("UPDATE_FAILED")[0].startswith("forward by build 2: stopped by a signal")
    assert foreign not in json.dumps(mover.operation())


def test_a_task_that_outlives_its_time(mover: Mover) -> None:
    """The schedule stops it while there is time left to say why; CloudFormation itself would say that nobody answered."""
    assert mover.deploy("create", Version="1", Timeout="20") == "CREATE_COMPLETE"
    mover.begin(Version="2", Mode="slow", Timeout="20")
    mover.task("RUNNING")

    def woken() -> bool:
        mover.wake()
        return mover.status() != "UPDATE_IN_PROGRESS"

    mover.wait_for(woken, "the end of its time")
    assert mover.end() == "UPDATE_ROLLBACK_COMPLETE"
    assert mover.reasons("UPDATE_FAILED")[0].startswith(
        "forward by build 2: stopped, not at its end 15 s after the request"
    )
