"""An environment in memory: the release record's table, and an account whose stack does what a test says."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lastgood.config.project import Environment
from lastgood.deploy import smoke, verify

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE_ROLE = "arn:aws:iam::1:role/lastgood-access/board/staging/ServiceRole"
DECIDED = {
    "ServiceRoleArn": SERVICE_ROLE,
    "PermissionsBoundary": "arn:aws:iam::1:policy/lastgood-access/board/staging/Boundary",
    "LoadBalancerSecurityGroup": "sg-balancer",
    "TaskSecurityGroup": "sg-tasks",
}


MADE = {"MigrationFunctionArn": "arn:function", "RepositoryUri": "1.dkr.ecr.eu-central-1.amazonaws.com/board"}


class CloudFormation:
    """Stacks by name. `plays` are scripts for the next executions: lists of (stack status, [(resource, status, reason)])."""

    def __init__(self) -> None:
        self.stacks: dict[str, dict[str, Any]] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.plays: list[list[tuple[str, list[tuple[str, str, str]]]]] = []
        self.playing: list[tuple[str, list[tuple[str, str, str]]]] = []
        self.calls: list[str] = []
        self.refusing: dict[str, Exception] = {}  # operation → what it raises
        self.hook: Callable[[str], None] = lambda status: None
        self._numbers = itertools.count(1)

    def add(self, name: str, status: str, parameters: dict[str, str], outputs: dict[str, str] | None = None) -> None:
        """A stack that is there already."""
        self.stacks[name] = {
            "StackName": name,
            "StackStatus": status,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in (outputs or {}).items()],
        }

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        if "describe_stacks" in self.refusing:
            raise self.refusing["describe_stacks"]
        if StackName not in self.stacks:
            raise missing(StackName)
        stack = self.stacks[StackName]
        if self.playing and not StackName.startswith("lastgood-"):
            status, events = self.playing.pop(0)
            if status == "UPDATE_ROLLBACK_IN_PROGRESS" and stack["StackStatus"] != status:
                self._tell(StackName, status, "")
            for resource, state, reason in events:
                self._tell(resource, state, reason)
            stack["StackStatus"] = status
            self.hook(status)
            if status == "DELETE_COMPLETE":
                del self.stacks[StackName]
                raise missing(StackName)
        return {"Stacks": [dict(stack)]}

    def _tell(self, resource: str, status: str, reason: str) -> None:
        number = next(self._numbers)
        types = {"Migration": "Custom::Migration", "Service": "AWS::ECS::Service", "Cluster": "AWS::ECS::Cluster"}
        self.events.insert(
            0,
            {
                "EventId": str(number),
                "Timestamp": EPOCH + timedelta(seconds=number),
                "LogicalResourceId": resource,
                "ResourceType": types.get(resource, "AWS::CloudFormation::Stack"),
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
            },
        )

    def create_change_set(self, StackName: str, ChangeSetName: str, **request: Any) -> None:  # noqa: N803
        assert request["RoleARN"] == SERVICE_ROLE
        self.calls.append(f"change set {request['ChangeSetType']}")
        self.changes[ChangeSetName] = request
        if StackName not in self.stacks:
            self.add(StackName, "REVIEW_IN_PROGRESS", {})

    def describe_change_set(self, StackName: str, ChangeSetName: str) -> dict[str, Any]:  # noqa: N803
        return {"Status": "CREATE_COMPLETE", "Changes": []}

    def get_paginator(self, name: str) -> Any:
        if name == "describe_change_set":
            change = {"Action": "Modify", "LogicalResourceId": "Migration", "ResourceType": "Custom::Migration"}
            return SimpleNamespace(paginate=lambda **_: [{"Changes": [{"ResourceChange": change}]}])
        return SimpleNamespace(paginate=lambda **_: [{"StackEvents": list(self.events)}])

    def execute_change_set(self, StackName: str, ChangeSetName: str, ClientRequestToken: str) -> None:  # noqa: N803
        self.calls.append("execute")
        self.playing = list(self.plays.pop(0))
        outputs = {one["OutputKey"]: one["OutputValue"] for one in self.stacks[StackName]["Outputs"]}
        given = {one["ParameterKey"]: one["ParameterValue"] for one in self.changes[ChangeSetName]["Parameters"]}
        self.add(StackName, "UPDATE_IN_PROGRESS", given, outputs)
        self.before = given

    def delete_change_set(self, StackName: str, ChangeSetName: str) -> None:  # noqa: N803
        self.calls.append("discard")
        self.changes.pop(ChangeSetName)

    def cancel_update_stack(self, StackName: str) -> None:  # noqa: N803
        self.calls.append("cancel")

    def continue_update_rollback(self, StackName: str, RoleARN: str, ResourcesToSkip: Sequence[str] = ()) -> None:  # noqa: N803
        assert RoleARN == SERVICE_ROLE
        self.calls.append(" ".join(["continue", *ResourcesToSkip]))
        self.playing = list(self.plays.pop(0))

    def delete_stack(self, StackName: str, RoleARN: str) -> None:  # noqa: N803
        assert RoleARN == SERVICE_ROLE
        self.calls.append("delete")
        self.playing = [("DELETE_IN_PROGRESS", []), ("DELETE_COMPLETE", [])]


def missing(name: str) -> ClientError:
    text = f"Stack with id {name} does not exist"
    return ClientError({"Error": {"Code": "ValidationError", "Message": text}}, "DescribeStacks")


class Account:
    """A session without AWS, and what runs in it. `running` is the digest of the tasks, `database` what /healthz says."""

    def __init__(self, folder: Path, table: Any) -> None:
        self.project = "board"
        self.cluster = "board_staging"
        self.folder = folder
        self.environment = Environment("staging", "board-staging", url="https://board.example")
        self.cloud = None
        self.table = table
        self.cloudformation = CloudFormation()
        self.registry: set[str] = set()
        self.running: tuple[str, ...] = ()
        self.database = "in step"
        self.status = 200
        self.service = ("", "COMPLETED")  # the digest of the service's task definition, and how its deployment stands
        self.patch: Any = None  # pytest's monkeypatch
        self.moving: list[str] = []  # release tasks under way

    def client(self, service: str) -> Any:
        return {"cloudformation": self.cloudformation, "ecr": self, "ecs": self, "logs": self}[service]

    def batch_get_image(self, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        assert repositoryName == "board"
        return {"images": [one for one in imageIds if one["imageDigest"] in self.registry]}

    def describe_services(self, cluster: str, services: list[str]) -> dict[str, Any]:
        assert (cluster, services) == ("board_staging", ["board_staging"])
        deployments = [{"status": "PRIMARY", "rolloutState": self.service[1]}]
        numbers = {"desiredCount": len(self.running), "runningCount": len(self.running)}
        named = {"status": "ACTIVE", "taskDefinition": "definition", "deployments": deployments}
        return {"services": [named | numbers] if self.service[0] else []}

    def describe_task_definition(self, taskDefinition: str) -> dict[str, Any]:  # noqa: N803
        web = {"name": "web", "image": f"registry/board@{self.service[0]}"}
        return {"taskDefinition": {"containerDefinitions": [{"name": "other", "image": "other"}, web]}}

    def list_tasks(self, cluster: str, **which: Any) -> dict[str, Any]:
        assert cluster == "board_staging"
        if "serviceName" not in which and "family" not in which:
            return {"taskArns": self.moving if which["desiredStatus"] == "RUNNING" else []}
        return {"taskArns": [str(number) for number in range(len(self.running))]}

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        if tasks == self.moving:
            return {"tasks": [{"taskArn": arn, "lastStatus": "RUNNING", "group": "lastgood-board"} for arn in tasks]}
        found = [self.running[int(arn)] for arn in tasks]
        containers = [[{"name": "web", "image": f"registry/board@{digest}"}] for digest in found]
        return {"tasks": [{"taskArn": "t/1", "lastStatus": "RUNNING", "containers": one} for one in containers]}

    def ask(self, url: str) -> smoke.Health:
        assert url == "https://board.example"
        return smoke.Health(self.status, self.running[0] if self.running else "", self.database)


@pytest.fixture
def account(tmp_path: Path, table: Any, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A bootstrapped account with nothing deployed; waiting takes no time."""
    made = Account(tmp_path, table)
    made.patch = monkeypatch
    made.cloudformation.add("lastgood-board", "CREATE_COMPLETE", {}, MADE)
    made.cloudformation.add("lastgood-board-staging", "CREATE_COMPLETE", {"Attestations": "none"}, DECIDED)
    monkeypatch.setattr(verify.smoke, "ask", made.ask)
    monkeypatch.setattr(smoke.wait, "__kwdefaults__", smoke.wait.__kwdefaults__ | {"ask": made.ask})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for constant in (
        "lastgood.deploy.smoke.DEADLINE",
        "lastgood.deploy.attempt.FIRST_ANSWER",
        "lastgood.deploy.stack.BEGIN",
    ):
        monkeypatch.setattr(constant, 0.0)
    for function, name in ((verify.wait, "deadline"), (restore_function(), "patience")):
        monkeypatch.setattr(function, "__kwdefaults__", function.__kwdefaults__ | {name: 0.0})
    return made


def restore_function() -> Any:
    from lastgood.deploy import restore

    return restore.restore
