"""What CloudFormation does where it cancels: nobody waits any more, nobody tells the function, and the next request is sent at once.

ministack looks whether it is to cancel before the next resource only, so a custom resource had always come to its end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from lastgood.local.adapters import custom_resource, restart
from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.cloudformation:_stacks",
    "services.cloudformation.handlers:_ACTION_HANDLERS",
    "services.cloudformation.handlers:_cancel_update_stack",
    "services.cloudformation.handlers:_delete_stack",
    "services.cloudformation.handlers:_delete_stack_async",
    "services.cloudformation.handlers:_error",
    "services.cloudformation.handlers:_p",
    "services.cloudformation.handlers:_resolve_stack",
)
REQUESTED = "_cancel_requested"  # ministack's own mark on a stack; it ends the operation before the next resource


def refusal(status: str) -> str:
    """Why a stack in that status can't be deleted; empty where it can."""
    is_update = status.startswith("UPDATE_") and status.endswith("_IN_PROGRESS")
    return f"cannot be deleted while in status {status}" if is_update else ""


def install(settings: Settings) -> None:
    """Wraps CancelUpdateStack, and DeleteStack while the stack is being created."""
    handlers = module("services.cloudformation.handlers")

    @wrap("services.cloudformation.handlers:_cancel_update_stack")
    def cancel_update(original: Any, params: Any) -> Any:
        answer = original(params)
        if answer[0] == 200:
            custom_resource.cancel(handlers._resolve_stack(handlers._p(params, "StackName"))["StackId"])
        return answer

    @wrap("services.cloudformation.handlers:_delete_stack")
    def delete(original: Any, params: Any) -> Any:
        stack = handlers._resolve_stack(handlers._p(params, "StackName")) or {}
        why = refusal(stack.get("StackStatus", ""))
        if why:
            return handlers._error("ValidationError", f"Stack [{stack['StackId']}] {why}")
        if stack.get("StackStatus") == "CREATE_IN_PROGRESS":
            stack[REQUESTED] = True
            custom_resource.cancel(stack["StackId"])
        return original(params)

    @wrap("services.cloudformation.handlers:_delete_stack_async")
    async def delete_after(original: Any, name: str, *args: Any, **options: Any) -> Any:
        """The operation that was cancelled ends first: with its rollback, which sends the half created resource a Delete."""
        while (module("services.cloudformation")._stacks.get(name) or {}).get(restart.OPERATION):
            await asyncio.sleep(0.05)
        return await original(name, *args, **options)

    handlers._ACTION_HANDLERS["CancelUpdateStack"] = handlers._cancel_update_stack
    handlers._ACTION_HANDLERS["DeleteStack"] = handlers._delete_stack
