"""The load balancer's health checks, and who gets a request.

ministack registers every running task and sends requests to any of them. Here a target is asked over HTTP first, as a real load
balancer does, only sooner: the first good answer makes it healthy, two bad ones in a row make it unhealthy.
"""

from __future__ import annotations

import http.client
import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lastgood.local.adapters import tasks
from lastgood.local.adapters.settings import ACCOUNT, REGION, Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.alb:_tgs",
    "services.alb:_targets",
    "services.alb:_forward_to_tg",
    "services.alb:_proxy_http_target",
    "services.alb:_describe_target_health",
    "services.alb:_lb_attr",
    "services.alb:set_targets_for_group",
    "services.alb:_ACTION_MAP",
    "services.ecs:_record_service_task_healthy",
    "services.ecs:_record_service_task_failure",
    "services.ecs:_mark_task_stopped",
    "services.ecs:_cleanup_task_resources",
    "services.ecs:_services",
    "services.ecs:_task_ip",
    "services.ecs:_iso",
    "services.ecs:_task_is_active",
    "services.ecs:_get_docker",
    "core.responses:request_scope",
)
INTERVAL = 0.25  # seconds between two rounds of health checks
TIMEOUT = 2.0  # seconds for the answer to one
UNHEALTHY_AFTER = 2  # bad answers in a row
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_log = logging.getLogger("lastgood.balancer")
Target = tuple[str, str, int]  # the target group's ARN, the address, the port


@dataclass(frozen=True)
class Health:
    """What is known of one target. `state` is `initial`, `healthy` or `unhealthy`; `bad` counts bad answers in a row."""

    state: str = "initial"
    bad: int = 0


def after(health: Health, good: bool) -> Health:
    """What is known of a target after one more answer."""
    if good:
        return Health("healthy")
    bad = health.bad + 1
    return replace(health, bad=bad, state="unhealthy" if bad >= UNHEALTHY_AFTER else health.state)


def is_success(status: int, matcher: str) -> bool:
    """Whether an HTTP status is among those of a matcher, as `200`, `200,302` or `200-299`."""
    for part in matcher.split(","):
        first, _, last = part.strip().partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False


def order(targets: Sequence[Mapping[str, Any]], states: Mapping[tuple[str, int], str]) -> list[Mapping[str, Any]]:
    """The targets to try, in order: the healthy ones, and where there are none, the unhealthy ones, as a real load balancer does.

    `states` has address and port. One that has never answered well nor badly gets no request.
    """
    for wanted in ("healthy", "unhealthy"):
        found = [one for one in targets if states.get((str(one["Id"]), int(one["Port"]))) == wanted]
        if found:
            return random.sample(found, len(found))
    return []


def may_try_another(method: str, status: int, body: object) -> bool:
    """Whether a request that this target did not answer may go to another one: nothing may be done twice."""
    if status != 502 or not isinstance(body, bytes) or b"connect error" not in body:
        return False
    return method.upper() in SAFE_METHODS or b"refused" in body


class HealthChecks:
    """Asks every registered target again and again, in a thread of its own."""

    def __init__(self) -> None:
        self._known: dict[Target, Health] = {}
        self._why: dict[Target, str] = {}  # in AWS's words, of the last bad answer of each
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begins to ask."""
        threading.Thread(target=self._run, daemon=True, name="lastgood-health-checks").start()

    def state(self, target: Target) -> str:
        """`initial`, `healthy` or `unhealthy`."""
        with self._lock:
            return self._known.get(target, Health()).state

    def why(self, target: Target) -> str:
        """What was wrong with the last bad answer."""
        with self._lock:
            return self._why.get(target, "Health checks failed")

    def states(self, group: str) -> dict[tuple[str, int], str]:
        """The state of each of the group's targets, by address and port."""
        with self._lock:
            return {target[1:]: health.state for target, health in self._known.items() if target[0] == group}

    def keep_only(self, group: str, targets: Iterable[Mapping[str, Any]]) -> None:
        """Forgets the group's other targets: a later container may have the address of an earlier one."""
        kept = {(group, str(target["Id"]), int(target["Port"])) for target in targets}
        with self._lock:
            for target in [one for one in self._known if one[0] == group and one not in kept]:
                del self._known[target]
            for target in [one for one in self._why if one[0] == group and one not in kept]:
                del self._why[target]

    def _run(self) -> None:
        with module("core.responses").request_scope(ACCOUNT, REGION):
            while True:
                try:
                    self._round()
                except Exception:
                    _log.exception("a round of health checks failed")
                time.sleep(INTERVAL)

    def _round(self) -> None:
        alb = module("services.alb")
        for arn, group in list(alb._tgs.items()):
            targets = list(alb._targets.get(arn, ()))
            self.keep_only(arn, targets)
            for target in targets:
                key = (arn, str(target["Id"]), int(target["Port"]))
                wrong = _ask(key[1], key[2], group)
                with self._lock:
                    self._known[key] = after(self._known.get(key, Health()), not wrong)
                    if wrong:
                        self._why[key] = wrong


def _ask(address: str, port: int, group: Mapping[str, Any]) -> str:
    """Empty for a good answer, else what AWS says of such a one."""
    matcher = group.get("Matcher") or {}
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        path = group.get("HealthCheckPath") or "/"
        connection.request("GET", path, headers={"User-Agent": "ELB-HealthChecker/2.0", "Connection": "close"})
        status = connection.getresponse().status
        wanted = str(matcher.get("HttpCode") or "200") if isinstance(matcher, Mapping) else str(matcher)
        return "" if is_success(status, wanted) else f"Health checks failed with these codes: [{status}]"
    except TimeoutError:
        return "Request timed out"
    except (OSError, http.client.HTTPException):
        return "Health checks failed"
    finally:
        connection.close()


CHECKS = HealthChecks()


def answers(service: Mapping[str, Any]) -> bool:
    """Whether a service has as many healthy tasks as it wants, behind each of its target groups."""
    wanted = int(service.get("desiredCount", 0))
    groups = [place["targetGroupArn"] for place in service.get("loadBalancers") or () if place.get("targetGroupArn")]
    return int(service.get("runningCount", 0)) >= wanted and all(
        list(CHECKS.states(group).values()).count("healthy") >= wanted for group in groups
    )


def install(settings: Settings) -> None:
    """Starts the health checks and lets them decide."""
    _install_proxy(CHECKS)
    _install_stability(CHECKS)
    CHECKS.start()


def _install_proxy(checks: HealthChecks) -> None:
    alb = module("services.alb")

    @wrap("services.alb:set_targets_for_group")
    def set_targets(original: Any, arn: str, *args: Any, **kwargs: Any) -> Any:
        done = original(arn, *args, **kwargs)
        checks.keep_only(arn, alb._targets.get(arn, ()))
        return done

    @wrap("services.alb:_forward_to_tg")
    async def forward(original: Any, arn: str, method: str, path: str, *args: Any) -> Any:
        group = alb._tgs.get(arn)
        if not group or group.get("TargetType", "instance") == "lambda":
            return await original(arn, method, path, *args)
        headers, body, query, raw_query, raw_path = (*args, None, None)[:5]
        answer: Any = (503, {"Content-Type": "text/plain"}, b"no target of the load balancer is healthy\n")
        for target in order(alb._targets.get(arn, ()), checks.states(arn)):
            answer = await alb._proxy_http_target(
                target, group, method, raw_path or path, headers, body, query, raw_query
            )
            if not may_try_another(method, answer[0], answer[2]):
                break
        return answer

    @wrap("services.alb:_describe_target_health", action="DescribeTargetHealth")
    def describe(original: Any, params: Any) -> Any:
        status, headers, body = original(params)
        arn = _first(params.get("TargetGroupArn"))

        def state(found: re.Match[str]) -> str:
            known = checks.state((arn, found.group(2), int(found.group(3))))
            return f"{found.group(1)}<HealthStatus>{known}</HealthStatus><TargetHealth><State>{known}</State>"

        text = body.decode() if isinstance(body, bytes) else body
        pattern = (
            r"(<Id>([^<]*)</Id><Port>(\d+)</Port></Target>)"
            r"<HealthStatus>healthy</HealthStatus><TargetHealth><State>healthy</State>"
        )
        changed = re.sub(pattern, state, text)
        return status, headers, changed.encode() if isinstance(body, bytes) else changed

    @wrap("services.alb:_lb_attr")
    def attribute(original: Any, arn: str, key: str, default: str) -> Any:
        # The site answers on another port than the listener's. With the listener's in Host, every redirect would miss it.
        return "true" if key == "routing.http.preserve_host_header.enabled" else original(arn, key, default)


def _first(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def _install_stability(checks: HealthChecks) -> None:
    ecs = module("services.ecs")

    def is_healthy(service: Any, task: Any) -> bool:
        address = ecs._task_ip(task)
        places = [place for place in service.get("loadBalancers") or () if place.get("targetGroupArn")]
        return all(
            checks.state((place["targetGroupArn"], str(address), int(place.get("containerPort", 80)))) == "healthy"
            for place in places
        )

    @wrap("services.ecs:_record_service_task_healthy")
    def record_healthy(original: Any, key: str, task: Any) -> Any:
        service = ecs._services.get(key)
        if not service:
            return None
        deadline = time.monotonic() + max(float(service.get("healthCheckGracePeriodSeconds") or 0), 2.0)
        waits: Callable[[], bool] = lambda: ecs._task_is_active(task["taskArn"], task) and not is_healthy(service, task)  # noqa: E731
        while waits():
            if time.monotonic() > deadline:
                return _replace_unhealthy(service, task)
            time.sleep(0.05)
        return original(key, task)

    def _replace_unhealthy(service: Any, task: Any) -> None:
        reason = "Task failed ELB health checks"
        for place in service.get("loadBalancers") or ():
            target = (place.get("targetGroupArn", ""), str(ecs._task_ip(task)), int(place.get("containerPort", 80)))
            message = (
                f"(service {service['serviceName']}) (task {task['taskArn'].rsplit('/', 1)[-1]}) (port {target[2]}) is unhealthy in "
                f"(target-group {target[0]}) due to (reason {checks.why(target)})."
            )
            service["events"].insert(0, {"id": str(uuid.uuid4()), "createdAt": ecs._iso(), "message": message})
        _log.warning("%s: %s", task["taskArn"], reason)
        tasks.end(task)
        if ecs._mark_task_stopped(task["taskArn"], task, reason, "ServiceSchedulerInitiated"):
            ecs._record_service_task_failure(task)
            ecs._cleanup_task_resources(task, ecs._get_docker())
