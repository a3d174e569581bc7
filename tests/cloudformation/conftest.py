"""The migration function with its surroundings in memory: the table, ECS, the log, and CloudFormation's answer box."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fixtures.dynamo import Table
from lastgood.deploy import inline

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("answer", "belonging", "decision", "handler", "record", "tasks")


class Cloud:
    """What the function talks to. ECS is as strict as it is: a token stands for one call, and a stop takes its time."""

    def __init__(self, function: Any, table: Any, opened: Any) -> None:
        self.function = function
        self.table = table
        self.open = opened
        self.now = 1_800_000_000.0
        self.ran: list[dict[str, Any]] = []
        self.tokens: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, dict[str, Any]] = {}
        self.registered: list[dict[str, Any]] = []
        self.deregistered: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.logs: dict[str, list[str]] = {}
        self.refuse: Exception | None = None
        self.failures: list[dict[str, str]] = []
        self.lost: list[str] = []  # tasks that ECS does not describe
        self.stopped: list[str] = []
        self.slept: list[float] = []
        self.fails: dict[str, list[Exception]] = {}  # by API call, what the next calls raise
        self.unreachable = 0
        self.service_role = "arn:aws:iam::1:role/lastgood-access/board/staging/ServiceRole-1"

    # CloudFormation

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        assert StackName == "arn:aws:cloudformation:eu-central-1:1:stack/board-staging/1"
        return {"Stacks": [{"RoleARN": self.service_role} if self.service_role else {}]}

    # ECS

    def _fail(self, call: str) -> None:
        if self.fails.get(call):
            raise self.fails[call].pop(0)

    def run_task(self, **request: Any) -> dict[str, Any]:
        self._fail("RunTask")
        if self.refuse:
            raise self.refuse
        if self.failures:
            return {"tasks": [], "failures": [self.failures.pop(0)]}
        if self.asked.setdefault(request["clientToken"], request) != request:
            raise ClientError({"Error": {"Code": "ConflictException", "Message": "another request"}}, "RunTask")
        if request["clientToken"] not in self.tokens:
            self.ran.append(request)
            arn = f"arn:aws:ecs:eu-central-1:1:task/board_staging/{len(self.ran)}"
            self.tokens[request["clientToken"]] = {
                "taskArn": arn,
                "clusterArn": request["cluster"],
                "startedBy": request["startedBy"],
                "taskDefinitionArn": request["taskDefinition"],
                "overrides": request["overrides"],
                "lastStatus": "RUNNING",
                "containers": [{"name": "release"}],
            }
        return {"tasks": [self.tokens[request["clientToken"]]], "failures": []}

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        self._fail("DescribeTasks")
        known = [task for task in self.tokens.values() if task["taskArn"] not in self.lost]
        return json.loads(json.dumps({"tasks": [task for task in known if task["taskArn"] in tasks]}))

    def list_tasks(self, cluster: str, startedBy: str) -> dict[str, Any]:  # noqa: N803
        own = [task for task in self.tokens.values() if task["startedBy"] == startedBy]
        return {"taskArns": [task["taskArn"] for task in own if task.get("desiredStatus") != "STOPPED"]}

    def stop_task(self, cluster: str, task: str, reason: str) -> None:
        self._fail("StopTask")
        assert len(reason) <= 255
        found = next(one for one in self.tokens.values() if one["taskArn"] == task)
        found |= {"desiredStatus": "STOPPED", "why": reason}
        self.stopped.append(task.rsplit("/", 1)[-1])

    def describe_task_definition(self, taskDefinition: str) -> dict[str, Any]:  # noqa: N803
        environment = [
            {"name": "ENVIRONMENT", "value": "staging"},
            {"name": "LASTGOOD_DIGEST", "value": "sha256:wanted"},
            {"name": "LASTGOOD_BUILD", "value": "wanted"},
            {"name": "LASTGOOD_COMMIT", "value": "wanted-commit"},
        ]
        container = {"name": "release", "image": "registry/board@sha256:wanted", "environment": environment}
        return {
            "taskDefinition": {
                "family": "board_staging_release",
                "taskDefinitionArn": taskDefinition,
                "revision": 7,
                "status": "ACTIVE",
                "containerDefinitions": [container],
                "cpu": "256",
                "volumes": [{"name": "tmp"}],
            }
        }

    def register_task_definition(self, **definition: Any) -> dict[str, Any]:
        self.registered.append(definition)
        return {"taskDefinition": {"taskDefinitionArn": f"copy:{len(self.registered)}"}}

    def deregister_task_definition(self, taskDefinition: str) -> None:  # noqa: N803
        self.deregistered.append(taskDefinition)

    # the log

    def get_log_events(self, logGroupName: str, logStreamName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        assert logGroupName == "/lastgood/board/staging/1"
        if logStreamName not in self.logs:
            missing = {"Error": {"Code": "ResourceNotFoundException", "Message": "no stream"}}
            raise ClientError(missing, "GetLogEvents")
        self._fail("GetLogEvents")
        return {"events": [{"message": line} for line in self.logs[logStreamName]], "nextBackwardToken": "same"}

    # time

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    # what the tests do

    def __call__(self, event: dict[str, Any]) -> None:
        """Delivers an event."""
        self.function.handler(json.loads(json.dumps(event)))

    def minute(self) -> None:
        """A minute passes, and the schedule wakes the function."""
        self.now += 60
        self({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})

    def operation(self, request: str) -> dict[str, Any]:
        found: dict[str, Any] = self.table.items[f"operation#{request}", "operation"]
        return found

    def push(self, digest: str) -> None:
        """The release record knows a build."""
        self.table.items[f"build#{digest}", "build"] = {"pk": f"build#{digest}", "sk": "build", "digest": digest}

    def end(
        self, number: int, code: int | None, *lines: str, stopped: str = "", stop_code: str = "", **result: Any
    ) -> dict[str, Any]:
        """Ends the task of a number (1 is the first), and returns ECS's event about it."""
        task = next(task for task in self.tokens.values() if task["taskArn"].endswith(f"/{number}"))
        container: dict[str, Any] = {"name": "release"} | ({"exitCode": code} if code is not None else {})
        task |= {
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
            "containers": [container],
            "stoppedReason": stopped,
        }
        task["stopCode"] = stop_code or ("TaskFailedToStart" if code is None else "EssentialContainerExited")
        written = [*lines, json.dumps(result)] if result else list(lines)
        if written:
            self.logs[f"release/release/{number}"] = written
        return {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": json.loads(json.dumps(task))}

    def urlopen(self, request: Any, timeout: float) -> Any:
        if self.unreachable:
            self.unreachable -= 1
            raise OSError("https://cloudformation/?signature=secret did not answer")
        assert request.get_method() == "PUT"
        assert request.full_url.startswith("https://cloudformation/?signature=secret")
        assert len(request.data) <= 4096
        self.answers.append(json.loads(request.data))
        return _Answered()


class _Answered:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(scope="session", params=["modules", "inline"])
def migration_resource(request: pytest.FixtureRequest) -> SimpleNamespace:
    """The function by its modules: as they are written, and as bootstrap.yml holds them, where all are the same one."""
    if request.param == "modules":
        return SimpleNamespace(
            **{name: importlib.import_module(f"cloudformation.migration_resource.{name}") for name in MODULES}
        )
    template = (ROOT / "ci" / "cloudformation" / "bootstrap.yml").read_text(encoding="utf-8")
    index = ModuleType("index")
    exec(compile(inline.embedded(template), "index.py", "exec"), vars(index))  # noqa: S102
    return SimpleNamespace(**dict.fromkeys(MODULES, index))


@pytest.fixture
def cloud(migration_resource: Any, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The function's surroundings; time passes at once."""
    tables = {"RELEASE_RECORD": Table(), "OPEN_OPERATIONS": Table("lastgood-board-open")}
    tables["RELEASE_RECORD"].others = {"lastgood-board-open": tables["OPEN_OPERATIONS"]}
    made = Cloud(migration_resource.handler, *tables.values())
    made.push("sha256:newer")
    monkeypatch.setenv("RELEASE_RECORD", "lastgood-board")
    monkeypatch.setattr(migration_resource.tasks, "client", lambda service: made)
    monkeypatch.setattr(migration_resource.record, "table", lambda variable="RELEASE_RECORD": tables[variable])
    monkeypatch.setattr(migration_resource.answer.urllib.request, "urlopen", made.urlopen)
    monkeypatch.setattr(migration_resource.tasks, "time", made)
    monkeypatch.setattr(migration_resource.handler, "time", made)
    monkeypatch.setattr(migration_resource.record, "time", made)
    return made
