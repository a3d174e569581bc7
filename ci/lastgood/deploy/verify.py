"""What really runs in an environment: the stack's state, the digests of its tasks, and what the application says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.aws.errors import code
from lastgood.aws.session import Session
from lastgood.deploy import smoke
from lastgood.deploy.place import Place
from lastgood.deploy.smoke import Health
from lastgood.deploy.stack import outputs_of, parameters_of
from lastgood.errors import LastgoodError

LEAVING = 180.0  # seconds for old tasks to finish what they had begun, and to leave


@dataclass(frozen=True)
class Facts:
    """What was found. `running` has one digest for each task that serves; `stack` is None where there is no stack."""

    stack: str | None
    wanted: str
    running: tuple[str, ...]
    health: Health

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        named = {"stack": self.stack, "wanted": self.wanted, "running": list(self.running)}
        return named | {"health": self.health.as_dict()}


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
    health = smoke.ask(address) if address else Health(0, detail="the stack has no address")
    return Facts(str(described["StackStatus"]), parameters.get("ImageDigest", ""), running, health)


def wait(place: Place, digest: str, *, ahead: bool = False, deadline: float = LEAVING) -> Facts:
    """Asks until nothing is wrong(), at most `deadline` seconds. Raises LastgoodError that says what was."""
    end = time.monotonic() + deadline
    while True:
        found = facts(place)
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
        arns = ecs.list_tasks(cluster=cluster, serviceName=service, desiredStatus="RUNNING")["taskArns"]
        tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
    except Exception as error:
        if code(error) in ("ClusterNotFoundException", "ServiceNotFoundException"):
            return ()
        raise
    serving = [task for task in tasks if task["lastStatus"] == "RUNNING"]
    return tuple(digest(one) for task in serving for one in task["containers"] if one["name"] == "web")


def digest(container: Mapping[str, Any]) -> str:
    """The digest of a task's container: of the reference that it was started with, else as ECS resolved it."""
    return str(container.get("image", "")).partition("@")[2] or str(container.get("imageDigest", ""))
