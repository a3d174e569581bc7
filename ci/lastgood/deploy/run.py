"""One-off tasks of what runs in an environment: a command of a person, or a job that is run when asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.aws.errors import code, patiently
from lastgood.config.near import nearest
from lastgood.config.project import WEB, Shape
from lastgood.deploy import template, verify
from lastgood.deploy.place import Place
from lastgood.errors import LastgoodError, Refused, UsageError
from lastgood.record import runs
from lastgood.report.terminal import table
from lastgood.report.text import line, masked

PATIENCE = 120.0  # seconds for a network to come back
LATE = 5.0  # seconds that CloudWatch may take for a task's last line


@dataclass(frozen=True)
class Command:
    """What is run: in the container of a process, of a task definition, with ECS's `overrides`. `words` are what the record keeps."""

    process: str
    definition: str
    overrides: Mapping[str, Any]
    words: Sequence[str]


def of_process(place: Place, process: str, words: Sequence[str]) -> Command:
    """A command in a task of a process: its size, variables, secrets and build. Raises UsageError for none, Refused where nothing runs."""
    if not words:
        raise UsageError("what shall run? As `lastgood run -- python manage.py showmigrations`")
    outputs = _outputs(place)
    known = [WEB, *verify.names(outputs)]
    if process not in known:
        raise UsageError(
            f"environment {place.name} has no process {process!r}{nearest(process, known)}: it has {', '.join(known)}"
        )
    name = place.session.cluster if process == WEB else f"{place.session.cluster}_{process}"
    definition = _service(place, name)["taskDefinition"]
    named = {"containerOverrides": [{"name": process, "command": template.arguments(words)}]}
    return Command(process, str(definition), named, words)


def of_job(place: Place, name: str) -> Command:
    """A run of a job, as last good has it. Raises UsageError where it has none of that name."""
    outputs, last = _outputs(place), place.record.last_good()
    jobs = {one.name: one for one in Shape.of(last.shape).jobs} if last else {}
    if name not in jobs or "JobTaskDefinition" not in outputs:
        raise UsageError(
            f"last good of environment {place.name} has no job {name!r}{nearest(name, jobs)}: it has {', '.join(jobs) or 'none'}"
        )
    job = jobs[name]
    return Command(template.JOB, outputs["JobTaskDefinition"], template.overrides(job), job.command)


def run(place: Place, command: Command, who: str, write: Callable[[str], None]) -> int:
    """Runs a command to its end, its lines handed to `write`; returns its exit status. Interrupted, it stops the task.

    Raises LastgoodError where the task does not start. Who runs what stays in the release record.
    """
    session, record = place.session, place.record
    ecs = session.client("ecs")
    network = _service(place, session.cluster)["networkConfiguration"]
    answer = ecs.run_task(
        cluster=session.cluster,
        taskDefinition=command.definition,
        launchType="FARGATE",
        networkConfiguration=network,
        overrides=command.overrides,
        startedBy="lastgood",
    )
    if not answer["tasks"]:
        why = "; ".join(str(one.get("reason", "")) for one in answer.get("failures", ())) or "ECS gives no reason"
        raise LastgoodError(f"the task could not be started: {why}")
    task = answer["tasks"][0]
    arn, identity = str(task["taskArn"]), str(task["taskArn"]).rsplit("/", 1)[-1]
    definition = ecs.describe_task_definition(taskDefinition=command.definition)["taskDefinition"]
    container = next(one for one in definition["containerDefinitions"] if one["name"] == command.process)
    key = runs.begin(
        record, task=identity, who=who, process=command.process, command=command.words, digest=verify.digest(container)
    )
    lines = Lines(session.client("logs"), container, identity)
    try:
        ended = _follow(place, arn, lines, write)
    except BaseException as error:
        with contextlib.suppress(Exception):  # the first error says what happened
            ecs.stop_task(cluster=session.cluster, task=arn, reason=f"lastgood run was ended by {line(who)}")
            runs.end(record, key, type(error).__name__)
        raise
    own: dict[str, Any] = next((one for one in ended["containers"] if one["name"] == command.process), {})
    status = own.get("exitCode")
    runs.end(record, key, f"exit status {status}" if status is not None else "not started")
    if status is None:
        why = own.get("reason") or ended.get("stoppedReason") or "ECS gives no reason"
        raise LastgoodError(f"the task did not start: {line(masked(str(why)))}")
    return int(status)


def newest(place: Place) -> list[dict[str, Any]]:
    """The newest runs of the environment, as the record has them."""
    return runs.newest(place.record)


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """The runs for a terminal."""
    if not found:
        return "nobody has run anything"
    rows = [(one["started"], one["who"], one["process"], one["command"], one.get("said", "–")) for one in found]
    return table(("started", "who", "process", "command", "ended"), rows)


class Lines:
    """The log of one task's container, read as it comes."""

    def __init__(self, logs: Any, container: Mapping[str, Any], identity: str) -> None:
        options = container["logConfiguration"]["options"]
        self._logs = logs
        self._group = options["awslogs-group"]
        self._stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{identity}"
        self._token: dict[str, str] = {}

    def fresh(self) -> list[str]:
        """What came since the last call; nothing where the stream is not there yet."""
        found: list[str] = []
        while True:
            try:
                page = self._logs.get_log_events(
                    logGroupName=self._group, logStreamName=self._stream, startFromHead=True, **self._token
                )
            except Exception as error:
                if code(error) == "ResourceNotFoundException":
                    return found
                raise
            found += [str(one["message"]) for one in page["events"]]
            token = {"nextToken": page["nextForwardToken"]}
            if token == self._token or not page["events"]:
                self._token = token
                return found
            self._token = token


def _follow(place: Place, arn: str, lines: Lines, write: Callable[[str], None]) -> dict[str, Any]:
    """Hands lines on until the task has stopped and nothing more comes; returns ECS's last word of it."""
    ecs, pause = place.session.client("ecs"), place.stack.pause

    def look() -> dict[str, Any]:
        found: dict[str, Any] = ecs.describe_tasks(cluster=place.session.cluster, tasks=[arn])["tasks"][0]
        return found

    late = 1.0 if place.session.cloud else LATE
    quiet = None
    while True:
        task = patiently(look, seconds=PATIENCE, pause=pause)
        fresh = patiently(lines.fresh, seconds=PATIENCE, pause=pause)
        for text in fresh:
            write(text)
        if task["lastStatus"] == "STOPPED":
            quiet = time.monotonic() if quiet is None or fresh else quiet
            if time.monotonic() - quiet >= late:
                return task
        time.sleep(pause)


def _outputs(place: Place) -> dict[str, str]:
    outputs = place.stack.outputs()
    if not outputs:
        raise Refused(f"nothing is deployed to environment {place.name}: `lastgood deploy` comes first")
    return outputs


def _service(place: Place, name: str) -> dict[str, Any]:
    found = place.session.client("ecs").describe_services(cluster=place.session.cluster, services=[name])["services"]
    if not found or found[0]["status"] != "ACTIVE":
        raise Refused(f"environment {place.name} has no service {name} that runs: `lastgood status` says what there is")
    service: dict[str, Any] = found[0]
    return service
