"""What a person sees of a deploy while it runs, and the one cause when it fails."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from lastgood.aws.session import Session
from lastgood.config.project import WEB
from lastgood.deploy import template, verify
from lastgood.deploy.cause import PORT, SEEN, Told, cause, cause_of_settings
from lastgood.deploy.stack import Event
from lastgood.record.table import Record
from lastgood.report.terminal import green, red, say, seconds
from lastgood.report.text import line, masked

LOG_LINES = 15
BY_ITSELF = ("EssentialContainerExited", "TaskFailedToStart")  # how ECS calls a task's end that nobody asked for
_ANSWER = re.compile(r"Received response status \[FAILED\] from custom resource\. Message returned: (.*)", re.DOTALL)
_REQUEST = re.compile(r"\s*\(RequestId: [^)]*\)\s*$")


class Progress:
    """Shows the events of one release, and keeps them. `cause` is why it failed: what failed first, in its own words."""

    def __init__(self, session: Session, record: Record, digest: str) -> None:
        self.session = session
        self.record = record
        self.digest = digest
        self.cause = ""
        self.events: list[dict[str, Any]] = []
        self.shown: Collection[str] = ()
        self._operations: dict[str, list[dict[str, Any]]] = {}
        before = record.operation()
        self._before = before["pk"] if before else ""

    @property
    def hops(self) -> list[dict[str, Any]]:
        """The ended release tasks of this release, in order: what plain() makes of each."""
        return [hop for hops in self._operations.values() for hop in hops]

    def names(self, what: str) -> list[str]:
        """The migrations that were `applied` or `undone`, in order."""
        return [name for hop in self.hops for name in hop[what]]

    def show(self, events: list[Event]) -> None:
        """Takes what the stack has to say since the last look."""
        self._show_hops()
        for event in events:
            self.events.append(event.as_dict() | {"reason": masked(event.reason)})
            if event.failed and not self.cause and event.type != "AWS::CloudFormation::Stack":
                self.cause = masked(self._why(event))
            told = line_of(event, self.shown)
            if told:
                say(told)

    def _show_hops(self) -> None:
        operation = self.record.operation()
        if operation is None or operation["pk"] == self._before:
            return
        known = self._operations.setdefault(operation["pk"], [])
        for hop in ended(operation)[len(known) :]:
            known.append(hop)
            say(f"  {line_of_hop(hop)}")

    def _why(self, event: Event) -> str:
        if event.type == "Custom::Migration":
            said = answer(event.reason)
            first, feed, rest = said.partition("\n")
            known = cause_of_settings(masked(first))
            return (
                f"the migration failed: {line(known)} ({first}){feed}{rest}"
                if known
                else f"the migration failed, {said}"
            )
        if event.type == "AWS::ECS::Service":
            name = template.process(event.resource)
            which = "the service" if name == WEB else name
            return f"{which} did not become stable: {self.crash(name) or event.reason}"
        return f"{event.resource} ({event.type}) failed: {event.reason or 'no reason given'}"

    def crash(self, process: str = WEB, since: datetime | None = None) -> str:
        """How the newest stopped task of a process of this build ended, with its last log lines; empty where ECS knows of none.

        With `since`, only one that ended by itself after that moment.
        """
        cluster = self.session.cluster
        ecs = self.session.client("ecs")
        family = cluster if process == WEB else f"{cluster}_{process}"
        try:
            arns = ecs.list_tasks(cluster=cluster, family=family, desiredStatus="STOPPED")["taskArns"]
            tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
        except Exception as error:
            return "" if since else f"its tasks could not be looked at ({error})"
        if since:
            tasks = [one for one in tasks if one.get("stopCode") in BY_ITSELF and one.get("stoppedAt", since) > since]
        found = newest_crash(tasks, self.digest, process)
        if not found:
            return ""
        task, text = found
        return self._explained(task, text, process)

    def _explained(self, task: Mapping[str, Any], text: str, process: str) -> str:
        """How a task ended or does, `text`, with its cause before it where that is known, and its last log lines below it."""
        lines = self._log(task, process)
        own: dict[str, Any] = next((one for one in task["containers"] if one["name"] == process), {})
        reason = f"{own.get('reason', '')}\n{task.get('stoppedReason', '')}"
        health = self._health() if process == WEB else ""
        known = cause(Told(masked(reason), own.get("exitCode"), lines, health, self._port(task, process)))
        shown = "\n".join(lines[-LOG_LINES:])
        return (f"{line(known)} ({text})" if known else text) + (f"\nlast log lines:\n{shown}" if shown else "")

    def _health(self) -> str:
        """What the load balancer's health checks got of the service's tasks last, in ECS's words; empty where it says nothing of them."""
        name = self.session.cluster
        try:
            (service,) = self.session.client("ecs").describe_services(cluster=name, services=[name])["services"]
            messages = [str(event["message"]) for event in service["events"]]
        except Exception:
            return ""
        return next(
            (masked(one) for one in messages if "health checks failed" in one.lower() or "is unhealthy" in one), ""
        )

    def answering(self) -> str:
        """The last log lines of a web task of this build that runs, with their cause where it is known; empty where there are none.

        For a site that answers, and not well.
        """
        name = self.session.cluster
        ecs = self.session.client("ecs")
        try:
            arns = ecs.list_tasks(cluster=name, family=name, desiredStatus="RUNNING")["taskArns"]
            tasks = ecs.describe_tasks(cluster=name, tasks=arns)["tasks"] if arns else []
            own = [one for one in tasks if any(verify.digest(part) == self.digest for part in one["containers"])]
            lines = self._log(own[0], WEB) if own else []
        except Exception:
            return ""
        known = cause(Told(lines=lines, port=self._port(own[0], WEB))) if lines else ""
        shown = "\n".join(lines[-LOG_LINES:])
        return (f": {line(known)}" if known else "") + (f"\nlast log lines:\n{shown}" if shown else "")

    def _container(self, task: Mapping[str, Any], process: str) -> dict[str, Any]:
        """A task's container as its definition has it. Raises what boto3 raises, and StopIteration where it has none of that name."""
        definition = self.session.client("ecs").describe_task_definition(taskDefinition=task["taskDefinitionArn"])
        found: dict[str, Any] = next(
            one for one in definition["taskDefinition"]["containerDefinitions"] if one["name"] == process
        )
        return found

    def _port(self, task: Mapping[str, Any], process: str) -> int | None:
        """Where a task's container is asked; None where nobody asks it anything."""
        if process != WEB:
            return None
        try:
            return int(self._container(task, process)["portMappings"][0]["containerPort"])
        except Exception:
            return PORT

    def _log(self, task: Mapping[str, Any], process: str) -> list[str]:
        """The last lines that a task's container wrote, from where its definition sends them; none where they can't be read."""
        identity = task["taskArn"].rsplit("/", 1)[-1]
        try:
            group = self._container(task, process)["logConfiguration"]["options"]["awslogs-group"]
            events = self.session.client("logs").get_log_events(
                logGroupName=group,
                logStreamName=f"{process}/{process}/{identity}",
                limit=SEEN,
                startFromHead=False,
            )["events"]
        except Exception:
            return []
        lines = (line(part) for event in events for part in masked(event["message"]).splitlines())
        return [one for one in lines if one.strip()][-SEEN:]


def newest_crash(tasks: list[dict[str, Any]], digest: str, process: str = WEB) -> tuple[dict[str, Any], str] | None:
    """The newest of the tasks whose container ran that digest, with how it ended; prefers those that ended by themselves."""
    own = [
        (one.get("exitCode") not in (None, 0, 143), str(task.get("stoppedAt", "")), task, one)
        for task in tasks
        for one in task["containers"]
        if one["name"] == process and digest in (verify.digest(one), one.get("imageDigest"))
    ]
    if not own:
        return None
    _, _, task, container = max(own, key=lambda entry: entry[:2])
    status = container.get("exitCode")
    reason = container.get("reason") or (task.get("stoppedReason") or "")
    ended = f"its container ended with exit status {status}" if status is not None else "its container did not start"
    return task, f"{ended} ({reason})" if reason else ended


def answer(reason: str) -> str:
    """The migration function's own words, out of CloudFormation's frame."""
    found = _ANSWER.search(reason)
    return _REQUEST.sub("", found[1] if found else reason).strip()


def ended(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The release tasks of an operation that have ended, in order: what plain() makes of each."""
    return [plain(hop) for hop in operation["hops"] if "ended" in hop]


def plain(hop: Mapping[str, Any]) -> dict[str, Any]:
    """A hop of the migration function's record, without DynamoDB's types."""
    status = hop.get("exit")
    return {
        "build": str(hop["build"]),
        "direction": str(hop["direction"]),
        "exit": None if status is None else int(status),
        "started": str(hop.get("started", "")),
        "ended": str(hop["ended"]),
        "undone": [str(name) for name in hop.get("undone", ())],
        "applied": [str(name) for name in hop.get("applied", ())],
        "reason": masked(str(hop.get("reason", ""))),
    }


def line_of_hop(hop: Mapping[str, Any]) -> str:
    """One line for one release task."""
    done = [f"undid {_short(hop['undone'])}"] if hop["undone"] else []
    done += [f"applied {_short(hop['applied'])}"] if hop["applied"] else []
    ends = {
        0: "nothing to do",
        3: "another build must go first",
        4: "refused",
        75: "the database was busy",
        None: "did not start",
    }
    text = "; ".join(done) or hop["reason"] or ends.get(hop["exit"], f"exit status {hop['exit']}")
    return line(masked(f"{hop['direction']} by {hop['build']}: {text}"))


def _short(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} migrations, {names[0]} to {names[-1]}"


def line_of(event: Event, shown: Collection[str]) -> str:
    """The line for an event; empty for what nobody needs to see. `shown` are the resources that the change set names."""
    if event.type == "AWS::CloudFormation::Stack":
        return f"{event.status.lower().replace('_', ' ')}" if event.status.endswith("ROLLBACK_IN_PROGRESS") else ""
    if event.status.endswith("_IN_PROGRESS") or (event.resource not in shown and not event.failed):
        return ""
    bad = event.status.endswith("_FAILED")
    mark = red("✗") if bad else green("✓")
    time = f"  {seconds(event.seconds)}" if event.seconds is not None else ""
    said = masked(answer(event.reason)).partition("\n")[0]
    reason = f"  {line(said[:160])}" if bad and said else ""
    return f"{mark} {event.resource}  {event.status.lower().replace('_', ' ')}{time}{reason}"
