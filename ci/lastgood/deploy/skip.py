"""What a rollback that stopped may leave as it is: resources that are proved to be as last good had them. Facts in, decision out.

    resource             is proved by                                                              else
    AWS::ECS::Service    one deployment, complete, all its tasks last good's, which answer         not skipped
    Custom::Migration    no release task under way, and last good's tasks alone answer in step     not skipped
    any other            nothing                                                                   not skipped

CloudFormation calls what is skipped UPDATE_COMPLETE, and takes it for what the template before the update says. Where that is not true, the
next update goes wrong in ways that nobody can foresee; so one resource without a proof is enough to stop, and to leave it to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lastgood.deploy import verify
from lastgood.deploy.stack import Unreverted
from lastgood.deploy.verify import Facts, Service

SERVICE_OF_WEB = "Service"
SERVICE, MIGRATION = "AWS::ECS::Service", "Custom::Migration"


@dataclass(frozen=True)
class Skip:
    """The decision: what to skip, in order (empty: nothing), and what is not proved, each with the reason."""

    resources: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()


def decide(
    stopped: Sequence[Unreverted],
    facts: Facts,
    service: Service,
    digest: str,
    *,
    moving: Sequence[str] = (),
    others: Mapping[str, Service] | None = None,
) -> Skip:
    """Decides about the resources that stopped a rollback to the build of that digest. `moving` names the release tasks under way.

    `service` is web's, and `others` are those of the other processes, by the resources' names.
    """
    services = {SERVICE_OF_WEB: service} | dict(others or {})
    doubts = {one.name: _doubt(one, facts, services.get(one.name, Service()), digest, moving) for one in stopped}
    unproved = tuple(f"{one.name} ({one.type}): {doubts[one.name]}" for one in stopped if doubts[one.name])
    if unproved:
        return Skip((), unproved)
    return Skip(tuple(doubts))


def _doubt(one: Unreverted, facts: Facts, service: Service, digest: str, moving: Sequence[str]) -> str:
    """Why the resource is not proved to be as last good had it; empty where it is."""
    if one.type == SERVICE:
        return unsteady(service, digest) or verify.wrong(facts, digest, ahead=True)
    if one.type == MIGRATION:
        if moving:
            return f"a release task is still under way ({', '.join(moving)})"
        return verify.wrong(facts, digest)
    return "nothing proves that it is as last good had it"


def unsteady(service: Service, digest: str) -> str:
    """What is wrong with a service that should run the build of that digest, and nothing else; empty where nothing is."""
    if not service.deployments:
        return "ECS knows of no such service"
    if service.digest != digest:
        return f"its task definition is of {service.digest[:19] or 'no digest'}, not of {digest[:19]}"
    if service.deployments > 1 or service.rollout != "COMPLETED":
        return f"its deployment is {service.rollout or 'not complete'}, with {service.deployments} at once"
    if not service.desired or service.running != service.desired:
        return f"{service.running} of {service.desired} tasks run"
    return ""
