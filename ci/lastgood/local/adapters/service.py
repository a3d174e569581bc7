"""AWS::ECS::Service waits until its deployment is stable, and fails with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lastgood.local.adapters.rollback import HALF_CREATED
from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.ecs:_make_deployment",
    "services.ecs:_primary_deployment",
    "services.ecs:_services",
    "services.cloudformation:_stacks",
    "services.cloudformation.provisioners:_RESOURCE_HANDLERS",
    "services.cloudformation.stacks:_runs_on_worker_thread",
    "services.cloudformation.stacks:_sends_back_failed_update",
)
TYPE = "AWS::ECS::Service"
TIMEOUT = 1800.0  # seconds; CloudFormation itself waits three hours
NUMBERS = ("DesiredCount", "HealthCheckGracePeriodSeconds")


def numbered(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties with their numbers as numbers, and the cluster by name: a Ref to a parameter or an ARN gives text."""
    found = dict(properties)
    for name in NUMBERS:
        if name in found:
            found[name] = int(found[name])
    if "Cluster" in found:
        found["Cluster"] = found["Cluster"].rsplit("/", 1)[-1]
    return found


def verdict(service: Mapping[str, Any], deployment: str) -> str | None:
    """Why the deployment with that id failed, "" once it is stable, None while it is under way."""
    found = next((one for one in service["deployments"] if one["id"] == deployment), None)
    if found is None or found["rolloutState"] == "FAILED":
        return (
            "Resource handler returned message: \"Error occurred during operation 'ECS Deployment Circuit Breaker was "
            "triggered'.\" (HandlerErrorCode: GeneralServiceException)"
        )
    if found["rolloutState"] == "COMPLETED":
        return ""
    return None


def wait(arn: str, stack: str, what: str) -> None:
    """Waits until the service's deployment is stable. Raises RuntimeError or TimeoutError, as the handler of AWS says it.

    A stack's operation may be cancelled meanwhile; `what` (creation, update) is for the reason.
    """
    ecs, cloudformation = module("services.ecs"), module("services.cloudformation")
    service = ecs._services["/".join(arn.split("/")[-2:])]
    deployment = ecs._primary_deployment(service)["id"]
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        reason = verdict(service, deployment)
        if reason:
            raise RuntimeError(reason)
        if reason is not None:
            return
        if (cloudformation._stacks.get(stack) or {}).get("_cancel_requested"):
            raise RuntimeError(f"Resource {what} cancelled")
        time.sleep(0.1)
    raise TimeoutError(f'Resource handler returned message: "Service {arn} did not stabilize." (NotStabilized)')


def install(settings: Settings) -> None:
    """Wraps the resource's handlers, which from now on run in a thread of their own."""
    ecs, provisioners = module("services.ecs"), module("services.cloudformation.provisioners")

    @wrap("services.ecs:_make_deployment")
    def make_deployment(original: Any, definition: Any, desired: Any, *args: Any) -> Any:
        made = original(definition, desired, *args)
        if desired:  # ministack calls a first deployment complete at once, and the circuit breaker then can't act on it
            made.update(rolloutState="IN_PROGRESS", rolloutStateReason="")
        return made

    wrap("services.cloudformation.stacks:_runs_on_worker_thread")(
        lambda original, type_: type_ == TYPE or original(type_)
    )
    wrap("services.cloudformation.stacks:_sends_back_failed_update")(
        lambda original, type_: type_ == TYPE or original(type_)
    )

    handlers = provisioners._RESOURCE_HANDLERS[TYPE]

    def create(logical_id: str, properties: Any, stack: str) -> Any:
        arn, attributes = handlers["create"](logical_id, numbered(properties), stack)
        grace = numbered(properties).get("HealthCheckGracePeriodSeconds", 0)
        ecs._services["/".join(arn.split("/")[-2:])]["healthCheckGracePeriodSeconds"] = grace
        try:
            wait(arn, stack, "creation")
        except Exception:
            HALF_CREATED[stack, logical_id] = (TYPE, arn, properties)
            raise
        return arn, attributes

    def update(arn: str, old: Any, new: Any, stack: str) -> Any:
        done = handlers["update"](arn, numbered(old), numbered(new), stack)
        wait(arn, stack, "update")
        return done

    def delete(arn: str, properties: Any) -> Any:
        return handlers["delete"](arn, numbered(properties))

    provisioners._RESOURCE_HANDLERS[TYPE] = {**handlers, "create": create, "update": update, "delete": delete}
