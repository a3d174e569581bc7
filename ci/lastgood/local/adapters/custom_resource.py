"""Custom resources: the request carries ServiceToken, the function is not waited for, the answer is checked, a crash is reported."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Mapping
from typing import Any

from lastgood.local.adapters.rollback import HALF_CREATED
from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.cloudformation.custom_resource:_pending",
    "services.cloudformation.custom_resource:_lock",
    "services.cloudformation.custom_resource:deliver_response",
    "services.cloudformation.custom_resource:invoke_custom_resource",
    "services.lambda_svc:_execute_function_with_config_scope",
)
IDENTITY = ("StackId", "RequestId", "LogicalResourceId")
ANSWER_PATH = "/_ministack/cfn-response/"
TRIES = 3  # Lambda gives an asynchronous event to a function that fails twice more


def checked(response: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as CloudFormation takes it: one to another request, or a FAILED without a reason, is a failure itself."""
    if any(response.get(name) != request[name] for name in IDENTITY):
        reason = "Invalid response: StackId, RequestId and LogicalResourceId must be those of the request"
        return {**response, "Status": "FAILED", "Reason": reason}
    if response.get("Status") == "FAILED" and not response.get("Reason"):
        return {**response, "Reason": "Invalid response: Reason is required with FAILED"}
    if response.get("Status") == "SUCCESS" and not response.get("PhysicalResourceId"):
        return {**response, "Status": "FAILED", "Reason": "Invalid PhysicalResourceId"}
    return dict(response)


def cancel(stack_id: str) -> None:
    """Ends the waits for a stack's custom resources, as CloudFormation does: their functions are not told, and go on."""
    custom = module("services.cloudformation.custom_resource")
    with custom._lock:
        for entry in custom._pending.values():
            request = entry.get("request") or {}
            if request.get("StackId") == stack_id and entry["result"] is None:
                what = "creation" if entry["kind"] == "Create" else "update"
                entry["result"] = {"Status": "FAILED", "Reason": f"Resource {what} cancelled"}
                entry["event"].set()


def install(settings: Settings) -> None:
    """Wraps the way of a custom resource's request and answer."""
    physical: dict[tuple[str, str], str | None] = {}
    _install_answers(physical)
    _install_function()
    _install_request(physical)


def _install_answers(physical: dict[tuple[str, str], str | None]) -> None:
    """Each answer is checked; `physical` remembers the id that it names, by stack and resource."""
    custom = module("services.cloudformation.custom_resource")

    @wrap("services.cloudformation.custom_resource:deliver_response")
    def deliver(original: Any, token: str, response: Any) -> Any:
        with custom._lock:
            request = (custom._pending.get(token) or {}).get("request")
            over = request is not None and custom._pending[token]["result"] is not None
        if request is None or over:  # nobody waits for it any more
            return original(token, response) if request is None else True
        physical[request["StackId"], request["LogicalResourceId"]] = response.get("PhysicalResourceId")
        return original(token, checked(response, request))


def _install_function() -> None:
    """The function is told its ServiceToken, and where it keeps crashing, that is the answer."""
    custom = module("services.cloudformation.custom_resource")

    @wrap("services.lambda_svc:_execute_function_with_config_scope")
    def execute(original: Any, function: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        url = event.get("ResponseURL") if isinstance(event, dict) else None
        if not (isinstance(url, str) and ANSWER_PATH in url):
            return original(function, event, *args, **kwargs)
        token = url.rsplit("/", 1)[-1]
        event["ServiceToken"] = event["ResourceProperties"].get("ServiceToken")
        request = {name: event[name] for name in IDENTITY}
        with custom._lock:
            if token in custom._pending:
                custom._pending[token] |= {"request": request, "kind": event["RequestType"]}

        def run() -> None:
            result: Any = {}
            for _ in range(TRIES):
                result = original(function, event, *args, **kwargs)
                if not result.get("error"):
                    return
            # AWS would wait for the time-out, an hour by default. Here nobody learns anything by waiting.
            reason = f"the function failed {TRIES} times: {_text(result.get('body'))}"
            custom.deliver_response(token, {**request, "Status": "FAILED", "Reason": reason[:1000]})

        # As an asynchronous invocation: CloudFormation may cancel while the function runs, and send the next request.
        threading.Thread(
            target=contextvars.copy_context().run, args=(run,), daemon=True, name="lastgood-request"
        ).start()
        return {}


def _install_request(physical: dict[tuple[str, str], str | None]) -> None:
    """What a failed creation has named is deleted on the way back, as `physical` has it."""

    @wrap("services.cloudformation.custom_resource:invoke_custom_resource")
    def invoke(
        original: Any,
        kind: str,
        logical_id: str,
        properties: Any,
        stack: str,
        stack_id: str,
        type_: str,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        physical.pop((stack_id, logical_id), None)
        try:
            return original(kind, logical_id, properties, stack, stack_id, type_, *args, **kwargs)
        except Exception:
            if kind == "Create":
                identity = physical.get((stack_id, logical_id)) or f"{stack}-{logical_id}-FAILED"
                HALF_CREATED[stack, logical_id] = (type_, identity, properties)
            raise


def _text(body: object) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else str(body)
