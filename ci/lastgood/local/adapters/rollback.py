"""Rollbacks that clean up what was half created, and stop where a revert failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.cloudformation:_stacks",
    "services.cloudformation.stacks:_roll_back_operation",
    "services.cloudformation.stacks:_continue_update_rollback_async",
    "services.cloudformation.stacks:_revert_update",
    "services.cloudformation.stacks:_delete_resource",
    "services.cloudformation.stacks:_extract_deps",
    "services.cloudformation.handlers:_ACTION_HANDLERS",
    "services.cloudformation.handlers:_continue_update_rollback",
    "services.cloudformation.handlers:_error",
    "services.cloudformation.handlers:_p",
    "services.cloudformation.handlers:_resolve_stack",
)
WAITING = "_waiting_to_go_back"  # in ministack's stack: the resources that a rollback which stopped had not come to

# (stack name, logical id) → (type, physical id, properties) of a resource whose create failed after it had begun to exist.
HALF_CREATED: dict[tuple[str, str], tuple[str, str, Any]] = {}


@dataclass
class Rollback:
    """One rollback under way: the template's resources, those whose revert has failed, and those that wait for them."""

    resources: Mapping[str, Any]
    failed: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)


def depends_on(
    logical_id: str, failed: Collection[str], resources: Mapping[str, Any], needs: Callable[[Any, set[str]], Any]
) -> bool:
    """Whether a resource stands, directly or not, on one whose revert failed. `needs` says what one definition refers to."""
    waiting, seen = [logical_id], {logical_id}
    while waiting:
        for need in needs(resources.get(waiting.pop()) or {}, set(resources)):
            if need in failed:
                return True
            if need not in seen:
                seen.add(need)
                waiting.append(need)
    return False


def not_skippable(skipped: Collection[str], waiting: Collection[str]) -> str:
    """CloudFormation's refusal to skip what its rollback has not come to yet; empty where it would not refuse.

    Such a resource still shows the status of the way forward, UPDATE_FAILED where it made the update fail; only those that failed on the
    way back may be skipped.
    """
    named = sorted(set(skipped) & set(waiting))
    if not named:
        return ""
    return f"Resource(s) [{', '.join(named)}] cannot be skipped: only resources whose rollback failed can be skipped"


def install(settings: Settings) -> None:
    """Wraps the rollback of a stack, the revert of one resource and its deletion, and the request to continue a rollback."""
    under_way: dict[str, Rollback] = {}
    _install_request()
    _install_rollback(under_way)
    _install_steps(under_way)


def _install_request() -> None:
    handlers = module("services.cloudformation.handlers")

    @wrap("services.cloudformation.handlers:_continue_update_rollback")
    def requested(original: Any, params: Any) -> Any:
        skipped: list[str] = []
        while handlers._p(params, f"ResourcesToSkip.member.{len(skipped) + 1}"):
            skipped.append(handlers._p(params, f"ResourcesToSkip.member.{len(skipped) + 1}"))
        stack = handlers._resolve_stack(handlers._p(params, "StackName")) or {}
        refusal = not_skippable(skipped, stack.get(WAITING, []))
        return handlers._error("ValidationError", refusal) if refusal else original(params)

    handlers._ACTION_HANDLERS["ContinueUpdateRollback"] = handlers._continue_update_rollback


def _install_rollback(under_way: dict[str, Rollback]) -> None:
    cloudformation = module("services.cloudformation")

    @wrap("services.cloudformation.stacks:_roll_back_operation")
    async def roll_back(original: Any, name: str, stack_id: str, stack: Any, operation: Any, *args: Any) -> Any:
        if stack.pop("_cancel_requested", False):  # it was noticed by a resource that waited, not between two
            operation = {**operation, "cancelled": True}
        failed = operation.get("failed_logical_id")
        half = HALF_CREATED.pop((name, failed), None)
        if half and failed not in operation["created"]:
            type_, identity, properties = half
            stack.setdefault("_resources", {})[failed] = {
                "PhysicalResourceId": identity,
                "ResourceType": type_,
                "LogicalResourceId": failed,
                "ResourceStatus": "CREATE_FAILED",
                "Properties": properties,
                "Attributes": {},
            }
            operation = {**operation, "created": [*operation["created"], failed]}
        under_way[name] = Rollback((operation.get("template") or {}).get("Resources", {}))
        try:
            return await original(name, stack_id, stack, operation, *args)
        finally:
            stack[WAITING] = sorted(under_way.pop(name).waiting)

    # Imported by name into the module that answers RollbackStack.
    module("services.cloudformation.handlers")._roll_back_operation = module(
        "services.cloudformation.stacks"
    )._roll_back_operation

    @wrap("services.cloudformation.stacks:_continue_update_rollback_async")
    async def continue_rollback(original: Any, name: str, *args: Any) -> Any:
        stack = cloudformation._stacks.get(name) or {}
        under_way[name] = Rollback((stack.get("_template") or {}).get("Resources", {}))
        try:
            return await original(name, *args)
        finally:
            stack[WAITING] = sorted(under_way.pop(name).waiting)

    module("services.cloudformation.handlers")._continue_update_rollback_async = module(
        "services.cloudformation.stacks"
    )._continue_update_rollback_async


def _install_steps(under_way: dict[str, Rollback]) -> None:
    stacks = module("services.cloudformation.stacks")

    @wrap("services.cloudformation.stacks:_revert_update")
    async def revert(
        original: Any, stack_id: str, name: str, logical_id: str, type_: str, identity: str, *args: Any
    ) -> Any:
        rollback = under_way.get(name)
        if rollback and depends_on(logical_id, rollback.failed, rollback.resources, stacks._extract_deps):
            rollback.waiting.add(logical_id)
            raise RuntimeError("waits until the rollback is continued")
        try:
            return await original(stack_id, name, logical_id, type_, identity, *args)
        except Exception as error:
            if rollback:
                rollback.failed.add(logical_id)
            record = args[3] if len(args) > 3 else None
            if record is not None:
                record.update(ResourceStatus="UPDATE_FAILED", ResourceStatusReason=str(error))
            raise

    @wrap("services.cloudformation.stacks:_delete_resource")
    def delete(
        original: Any, type_: str, identity: str, properties: Any, name: Any = None, logical_id: Any = None
    ) -> Any:
        rollback = under_way.get(name)
        if rollback and rollback.failed:
            raise RuntimeError("waits until the rollback is continued")
        return original(type_, identity, properties, name, logical_id)
