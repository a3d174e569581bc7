"""What really runs in an environment: the stack's state, the digests of its tasks, and what the application says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lastgood.aws.errors import code, patiently
from lastgood.aws.session import Session
from lastgood.config.project import WEB
from lastgood.deploy import smoke, template
from lastgood.deploy.place import Place
from lastgood.deploy.smoke import Health
from lastgood.deploy.stack import outputs_of, parameters_of
from lastgood.errors import LastgoodError
from lastgood.report.text import line, masked

STAY = 30.0  # seconds that a process must have run, to count as one that stays up
STAY_HERE = 8.0  # the same on the one-machine cloud
PATIENCE = 120.0  # seconds for a network to come back
LEAVING = 180.0  # seconds for old tasks to finish what they had begun, and to leave


@dataclass(frozen=True)
class Process:
    """A process beside web: how many tasks it should have, and the digest of each that runs."""

    name: str
    desired: int
    running: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {"name": self.name, "desired": self.desired, "running": list(self.running)}


@dataclass(frozen=True)
class Facts:
    """What was found. `running` has one digest for each task that serves; `stack` is None where there is no stack.

    `processes` are those beside web, and `shape` is the mark of the tables that the stack was made of (template.mark), empty for none.
    """

    stack: str | None
    wanted: str
    running: tuple[str, ...]
    health: Health
    processes: tuple[Process, ...] = ()
    shape: str = ""

    @property
    def serving(self) -> bool:
        """Whether anything of ours runs or answers there."""
        return bool(self.running or self.health.digest)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        named = {"stack": self.stack, "wanted": self.wanted, "running": list(self.running)}
        return named | {"health": self.health.as_dict(), "processes": [one.as_dict() for one in self.processes]}


@dataclass(frozen=True)
class Service:
    """An ECS service as ECS has it: the digest that its task definition names, its deployments, and its tasks' numbers."""

    digest: str = ""
    deployments: int = 0
    rollout: str = ""
    desired: int = 0
    running: int = 0


def wrong(facts: Facts, digest: str, *, ahead: bool = False, shape: str | None = None) -> str:
    """Empty where tasks of that digest, and no others, serve in step with their database (or, with `ahead`, one that has more).

    Else what is wrong. With `shape`, as the record has it, the stack must have been made of these tables, too.
    """
    if facts.stack is None:
        return "there is no stack"
    if not facts.running:
        return "no task is running"
    others = sorted({found for found in facts.running if found != digest})
    if others:
        return f"tasks of {', '.join(other[:19] for other in others)} are running, not of {digest[:19]} alone"
    if shape is not None and facts.shape != template.mark(shape):
        return "the stack has other processes, jobs, variables or secrets than it should"
    for process in facts.processes:
        others = sorted({found for found in process.running if found != digest})
        if others:
            return f"tasks of {', '.join(other[:19] for other in others)} run as {process.name}, not of {digest[:19]} alone"
        if len(process.running) != process.desired:
            return f"{len(process.running)} of {process.desired} tasks of {process.name} run"
    return smoke.verdict(facts.health, digest, ahead=ahead)


def facts(place: Place) -> Facts:
    """Asks CloudFormation, ECS and the application, once each."""
    described = place.stack.describe()
    if described is None:
        return Facts(None, "", (), Health(0, detail="there is no stack"))
    outputs, parameters, name = outputs_of(described), parameters_of(described), place.session.cluster
    running = _running(place.session, outputs.get("ClusterName", name), outputs.get("ServiceName", name))
    address = url(place.session, outputs)
    health = (
        smoke.ask(address, str(described.get("StackId", "")))
        if address
        else Health(0, detail="the stack has no address")
    )
    wanted, shape = parameters.get("ImageDigest", ""), outputs.get(template.SHAPE, "")
    return Facts(str(described["StackStatus"]), wanted, running, health, _processes(place.session, outputs), shape)


def names(outputs: Mapping[str, str]) -> list[str]:
    """The processes beside web of a stack with these outputs."""
    return outputs.get(template.PROCESSES, "").split(",") if outputs.get(template.PROCESSES) else []


def _processes(session: Session, outputs: Mapping[str, str]) -> tuple[Process, ...]:
    own = session.cluster
    return tuple(
        Process(name, _service(session, f"{own}_{name}", name).desired, _running(session, own, f"{own}_{name}", name))
        for name in names(outputs)
    )


def wait(place: Place, digest: str, *, ahead: bool = False, deadline: float = LEAVING) -> Facts:
    """Asks until nothing is wrong(), at most `deadline` seconds. Raises LastgoodError that says what was."""
    end = time.monotonic() + deadline
    while True:
        found = patiently(lambda: facts(place), seconds=PATIENCE, pause=place.stack.pause)
        problem = wrong(found, digest, ahead=ahead)
        if not problem:
            return found
        if time.monotonic() >= end:
            raise LastgoodError(f"the smoke test failed: after {deadline:.0f} s {problem}")
        time.sleep(place.stack.pause)


def stay(place: Place, processes: Sequence[str], crash: Callable[[str], str], *, deadline: float = LEAVING) -> None:
    """Waits until every task of these processes has run for STAY seconds, at most `deadline`.

    `crash` says how a task of a process ended by itself in this release, empty for none. Raises LastgoodError where one did, or where they
    are not so far in time.
    """
    long = STAY_HERE if place.session.cloud else STAY
    end = time.monotonic() + deadline
    ecs, own = place.session.client("ecs"), place.session.cluster
    for name in processes:
        while True:
            ended = crash(name)
            if ended:
                raise LastgoodError(f"{name} did not stay up: {ended}")
            tasks = patiently(
                lambda name=name: _tasks(ecs, own, serviceName=f"{own}_{name}"),  # type: ignore[misc]
                seconds=PATIENCE,
                pause=place.stack.pause,
            )
            now = datetime.now(UTC)
            ages = [(now - task["startedAt"]).total_seconds() if "startedAt" in task else 0.0 for task in tasks]
            if len(ages) == _service(place.session, f"{own}_{name}", name).desired and all(age >= long for age in ages):
                break
            if time.monotonic() >= end:
                raise LastgoodError(
                    f"{name} did not come to rest within {deadline:.0f} s: {len(ages)} of its tasks run"
                )
            time.sleep(place.stack.pause)


def url(session: Session, outputs: Mapping[str, str]) -> str:
    """Where the application is asked: the environment's own address, else this machine's, else the load balancer's."""
    if session.environment.url:
        return session.environment.url
    return session.cloud.site_url if session.cloud else outputs.get("Url", "")


def _running(session: Session, cluster: str, service: str, container: str = WEB) -> tuple[str, ...]:
    ecs = session.client("ecs")
    try:
        tasks = _tasks(ecs, cluster, serviceName=service)
    except Exception as error:
        if code(error) in ("ClusterNotFoundException", "ServiceNotFoundException"):
            return ()
        raise
    up = [task for task in tasks if task["lastStatus"] == "RUNNING"]
    return tuple(digest(one) for task in up for one in task["containers"] if one["name"] == container)


def release_tasks(place: Place) -> list[str]:
    """What moves the environment's database right now: the names of its release tasks that have not stopped, also those being stopped."""
    ecs, name = place.session.client("ecs"), place.session.cluster
    own = f"lastgood-{place.session.project}"
    try:
        tasks = [*_tasks(ecs, name), *_tasks(ecs, name, desiredStatus="STOPPED")]
    except Exception as error:
        if code(error) == "ClusterNotFoundException":
            return []
        raise
    under_way = [task for task in tasks if task.get("group") == own and task["lastStatus"] != "STOPPED"]
    return [task["taskArn"].rsplit("/", 1)[-1] for task in under_way]


def service(place: Place, process: str = WEB) -> Service:
    """Asks ECS for the service of a process. One that ECS does not know has no deployment."""
    name = place.session.cluster
    return _service(place.session, name if process == WEB else f"{name}_{process}", process)


def _service(session: Session, name: str, process: str) -> Service:
    ecs = session.client("ecs")
    try:
        known = ecs.describe_services(cluster=session.cluster, services=[name])["services"]
    except Exception as error:
        if code(error) == "ClusterNotFoundException":
            return Service()
        raise
    if not known or known[0]["status"] != "ACTIVE":
        return Service()
    found = known[0]
    first: dict[str, Any] = next((one for one in found["deployments"] if one["status"] == "PRIMARY"), {})
    definition = ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
    web: dict[str, Any] = next((one for one in definition["containerDefinitions"] if one["name"] == process), {})
    return Service(
        digest(web),
        len(found["deployments"]),
        first.get("rolloutState", ""),
        found["desiredCount"],
        found["runningCount"],
    )


def last_exit(session: Session, process: str) -> str:
    """How the last task of a process that ended did: its exit status, or why there is none, and when; empty where ECS knows of none."""
    ecs, name = session.client("ecs"), session.cluster
    family = name if process == WEB else f"{name}_{process}"
    arns = ecs.list_tasks(cluster=name, family=family, desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster=name, tasks=arns)["tasks"] if arns else []
    ended = [one for one in tasks if one.get("stoppedAt")]
    if not ended:
        return ""
    newest = max(ended, key=lambda one: one["stoppedAt"])
    own: dict[str, Any] = next((one for one in newest["containers"] if one["name"] == process), {})
    status = own.get("exitCode")
    said = (
        f"exit status {status}" if status is not None else line(masked(str(newest.get("stoppedReason", "not started"))))
    )
    return f"{said}, {newest['stoppedAt'].astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _tasks(ecs: Any, cluster: str, **which: str) -> list[dict[str, Any]]:
    """The tasks that are to run, or of another desired status, however many: ECS lists and describes a hundred at once."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = ecs.list_tasks(**{"cluster": cluster, "desiredStatus": "RUNNING"} | which | after)
        if page["taskArns"]:
            found += ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])["tasks"]
        if not page.get("nextToken"):
            return found
        after = {"nextToken": page["nextToken"]}


def digest(container: Mapping[str, Any]) -> str:
    """The digest of a task's container: of the reference that it was started with, else as ECS resolved it."""
    return str(container.get("image", "")).partition("@")[2] or str(container.get("imageDigest", ""))
