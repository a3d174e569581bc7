"""What really runs in an environment: the stack's state, the digests of its tasks, and what the application says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.aws.errors import code, patiently
from lastgood.aws.session import Session
from lastgood.deploy import smoke
from lastgood.deploy.place import Place
from lastgood.deploy.smoke import Health
from lastgood.deploy.stack import outputs_of, parameters_of
from lastgood.errors import LastgoodError

PATIENCE = 120.0  # seconds for a network to come back
LEAVING = 180.0  # seconds for old tasks to finish what they had begun, and to leave


@dataclass(frozen=True)
class Facts:
    """What was found. `running` has one digest for each task that serves; `stack` is None where there is no stack."""

    stack: str | None
    wanted: str
    running: tuple[str, ...]
    health: Health

    @property
    def serving(self) -> bool:
        """Whether anything of ours runs or answers there."""
        return bool(self.running or self.health.digest)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        named = {"stack": self.stack, "wanted": self.wanted, "running": list(self.running)}
        return named | {"health": self.health.as_dict()}


@dataclass(frozen=True)
class Service:
    """An ECS service as ECS has it: the digest that its task definition names, its deployments, and its tasks' numbers."""

    digest: str = ""
    deployments: int = 0
    rollout: str = ""
    desired: int = 0
    running: int = 0


def wrong(facts: Facts, digest: str, *, ahead: bool = False) -> str:
    """Empty where tasks of that digest, and no others, serve in step with their database (or, with `ahead`, one that has more).

    Else what is wrong.
    """
    if facts.stack is None:
        return "there is no stack"
    if not facts.running:
        return "no task is running"
    others = sorted({found for found in facts.running if found != digest})
    if others:
        return f"tasks of {', '.join(other[:19] for other in others)} are running, not of {digest[:19]} alone"
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
    return Facts(str(described["StackStatus"]), parameters.get("ImageDigest", ""), running, health)


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


def url(session: Session, outputs: Mapping[str, str]) -> str:
    """Where the application is asked: the environment's own address, else this machine's, else the load balancer's."""
    if session.environment.url:
        return session.environment.url
    return session.cloud.site_url if session.cloud else outputs.get("Url", "")


def _running(session: Session, cluster: str, service: str) -> tuple[str, ...]:
    ecs = session.client("ecs")
    try:
        tasks = _tasks(ecs, cluster, serviceName=service)
    except Exception as error:
        if code(error) in ("ClusterNotFoundException", "ServiceNotFoundException"):
            return ()
        raise
    up = [task for task in tasks if task["lastStatus"] == "RUNNING"]
    return tuple(digest(one) for task in up for one in task["containers"] if one["name"] == "web")


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


def service(place: Place) -> Service:
    """Asks ECS for the environment's service. One that ECS does not know has no deployment."""
    ecs, name = place.session.client("ecs"), place.session.cluster
    try:
        known = ecs.describe_services(cluster=name, services=[name])["services"]
    except Exception as error:
        if code(error) == "ClusterNotFoundException":
            return Service()
        raise
    if not known or known[0]["status"] != "ACTIVE":
        return Service()
    found = known[0]
    first: dict[str, Any] = next((one for one in found["deployments"] if one["status"] == "PRIMARY"), {})
    definition = ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
    web: dict[str, Any] = next((one for one in definition["containerDefinitions"] if one["name"] == "web"), {})
    return Service(
        digest(web),
        len(found["deployments"]),
        first.get("rolloutState", ""),
        found["desiredCount"],
        found["runningCount"],
    )


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
