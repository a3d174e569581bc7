"""The site front: the deployed environment on a port of its own, through its stack's load balancer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from lastgood.local.adapters import balancer
from lastgood.local.adapters.settings import ACCOUNT, REGION, Settings
from lastgood.local.adapters.wrap import module

NAMES = (
    "app:_send_if_handled",
    "services.alb:_lbs",
    "services.alb:dispatch_request",
    "services.cloudformation:_stacks",
    "services.ecs:_services",
    "core.responses:request_scope",
)
BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
NOTHING = (
    "Nothing is deployed here yet.\n\n"
    "This is the front of the environment “local”: `lastgood build`, `lastgood push` and `lastgood deploy local` put something behind it.\n"
)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def answer(settings: Settings, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one request to the site's port."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        separator = "; " if key == "cookie" else ", "
        headers[key] = headers[key] + separator + value.decode("latin-1") if key in headers else value.decode("latin-1")
    with module("core.responses").request_scope(ACCOUNT, REGION):
        front = _balancer(settings)
        if front is None:
            found: Any = (503, {"Content-Type": "text/plain; charset=utf-8", "Retry-After": "5"}, NOTHING.encode())
        else:
            raw_query = scope["query_string"].decode("latin-1")
            found = await module("services.alb").dispatch_request(
                front,
                scope["method"],
                scope["path"],
                headers,
                body,
                parse_qs(raw_query, keep_blank_values=True),
                client_ip=(scope.get("client") or ("127.0.0.1", 0))[0],
                raw_query_string=raw_query,
                raw_path=scope["raw_path"].decode("latin-1").partition("?")[0],
            )
        await module("app")._send_if_handled(send, found, receive, head=scope["method"] == "HEAD")


def _balancer(settings: Settings) -> Any:
    stack = module("services.cloudformation")._stacks.get(settings.stack) or {}
    for resource in (stack.get("_resources") or {}).values():
        if resource.get("ResourceType") == BALANCER:
            return module("services.alb")._lbs.get(resource["PhysicalResourceId"])
    return None


async def status(settings: Settings, send: Send, pid: int) -> None:
    """Answers `STATUS_PATH`: who this is, and whether the services have the tasks that they want."""
    with module("core.responses").request_scope(ACCOUNT, REGION):
        services = [
            {
                "name": name,
                "desired": int(service.get("desiredCount", 0)),
                "running": int(service.get("runningCount", 0)),
                "stable": balancer.answers(service),
            }
            for name, service in module("services.ecs")._services.items()
            if service.get("status") == "ACTIVE"
        ]
        body = json.dumps({"instance": settings.instance, "pid": pid, "services": services}).encode()
        found = (200, {"Content-Type": "application/json"}, body)
        await module("app")._send_if_handled(send, found, None)
