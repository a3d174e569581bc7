"""The emulator, with faults: what rules.json asks for happens to calls and events. Run in the launcher's place by the emulator's Python.

A rule is {"id", "do", "caller", "operation", "after"} for calls, {"id", "do", "event"} for ECS's events, as `release STOPPED`, or {"id",
"do", "start"} for a task's container that is to be started; with `skip` and `times`. Each time that one applies, its id is written into
hits.log; so its hits are counted also by the emulator that is started after it was killed.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Rule = dict[str, Any]
_PAUSE = 0.02  # seconds between two looks at whether a call is still held
_lock = threading.Lock()


class Rules:
    """The rules of a folder, read anew when somebody has written them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log = folder / "rules.json", folder / "hits.log"
        self._read: tuple[int, list[Rule]] = (0, [])

    def all(self) -> list[Rule]:
        """The rules in force."""
        try:
            changed = self.file.stat().st_mtime_ns
            if changed != self._read[0]:
                self._read = (changed, json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return []
        return self._read[1]

    def hit(self, **what: str) -> Rule | None:
        """The first rule that applies, noted; None where none does."""
        with _lock:
            for rule in self.all():
                fits = all(rule.get(name, "any") in (value, "any") for name, value in what.items())
                if fits and all((kind in rule) == (kind in what) for kind in ("event", "start")):
                    number = self._count(rule["id"], "seen")
                    skip, times = rule.get("skip", 0), rule.get("times", 1)
                    self._note(rule["id"], "seen")
                    if skip <= number < skip + times:
                        self._note(rule["id"], "hit")
                        return rule
        return None

    def held(self, rule: Rule) -> bool:
        """Whether a rule is still there: what it holds goes on when it is taken away."""
        return any(one["id"] == rule["id"] for one in self.all())

    def _count(self, name: str, what: str) -> int:
        try:
            return self.log.read_text(encoding="utf-8").splitlines().count(f"{name} {what}")
        except OSError:
            return 0

    def _note(self, name: str, what: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{name} {what}\n")


def caller(headers: dict[str, str], path: str) -> str:
    """Who asks: the tool, the function, the engine that pulls, or the tests themselves."""
    signed = headers.get("authorization", "")
    if "Credential=local/" in signed:
        return "tool"
    if "Credential=rig/" in signed:
        return "rig"
    return "engine" if path.startswith("/v2/") else "function"


def operation(headers: dict[str, str], path: str, body: bytes) -> str:
    """What is asked for, by the name of the API's operation."""
    if path.startswith("/v2/"):
        return "Pull"
    if path.startswith("/_ministack/cfn-response/"):
        return "Answer"
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    return (parse_qs(body.decode("latin-1")).get("Action") or [""])[0]


def refusal(kind: str, headers: dict[str, str]) -> tuple[int, bytes, str]:
    """Status, body and type of AWS's answer for `throttle`, `expire` and `error`, in the protocol of the call."""
    code, status, said = {
        "throttle": ("ThrottlingException", 400, "Rate exceeded"),
        "expire": ("ExpiredTokenException", 400, "The security token included in the request is expired"),
        "deny": ("AccessDeniedException", 400, "not authorized"),
        "error": ("InternalFailure", 500, "The service is not available"),
    }[kind]
    if "x-amz-target" in headers:
        return status, json.dumps({"__type": code, "message": said}).encode(), "application/x-amz-json-1.0"
    if kind == "throttle":
        code = "Throttling"
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{said}</Message></Error></ErrorResponse>"
    )
    return status, body.encode(), "text/xml"


def workers(folder: Path) -> list[int]:
    """The processes that run functions."""
    temporary, found = f"{folder / 'tmp'}/".encode(), []
    for one in Path("/proc").iterdir():
        if one.name.isdecimal():
            try:
                if temporary in (one / "cmdline").read_bytes():
                    found.append(int(one.name))
            except OSError:
                continue
    return found


def faulty(app: Any, rules: Rules, folder: Path) -> Any:
    """The emulator's ASGI application, with the rules."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not rules.all():
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        rule = rules.hit(caller=caller(headers, path), operation=operation(headers, path, body))
        told = False

        async def again() -> Any:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        if rule is None:
            await app(scope, again, send)
            return
        if not rule.get("after"):
            await act(rule, headers, send, lambda: app(scope, again, send))
            return
        answered: list[Any] = []

        async def keep(one: Any) -> None:
            answered.append(one)

        await app(scope, again, keep)

        async def pass_on() -> None:
            for one in answered:
                await send(one)

        await act(rule, headers, send, pass_on)

    async def act(rule: Rule, headers: dict[str, str], send: Any, go_on: Callable[[], Awaitable[None]]) -> None:
        """Does what the rule says, and goes on with the call where it leaves it alive."""
        kind = rule["do"]
        if kind in ("hold", "hold and drop"):
            while rules.held(rule):
                await asyncio.sleep(_PAUSE)
            if kind == "hold":
                await go_on()
        elif kind == "kill function":
            for pid in workers(folder):
                os.kill(pid, signal.SIGKILL)
            await go_on()
        elif kind == "kill emulator":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            status, body, type_ = refusal(kind, headers)
            await send(
                {"type": "http.response.start", "status": status, "headers": [(b"content-type", type_.encode())]}
            )
            await send({"type": "http.response.body", "body": body})

    return application


def disturb(emit: Callable[[Any], None], rules: Rules) -> Callable[[Any], None]:
    """ECS's events, with the rules for them: lost, doubled, or held back until the rule is taken away."""

    def told(task: Any) -> None:
        kind = "release" if str(task.get("group", "")).startswith("lastgood-") else "service"
        rule = rules.hit(event=f"{kind} {task.get('lastStatus')}")
        if rule is None or rule["do"] == "double":
            emit(task)
            if rule:
                threading.Thread(target=contextvars.copy_context().run, args=(emit, task), daemon=True).start()
        elif rule["do"] == "hold":
            kept = json.loads(json.dumps(task, default=str))

            def later() -> None:
                while rules.held(rule):
                    time.sleep(_PAUSE)
                emit(kept)

            threading.Thread(target=contextvars.copy_context().run, args=(later,), daemon=True).start()

    return told


def slow_start(run: Callable[..., Any], rules: Rules, pull_error: type[Exception]) -> Callable[..., Any]:
    """The start of a task's container, with the rules for it: held, or its image can't be pulled."""

    def started(client: Any, definition: Any, *args: Any, **options: Any) -> Any:
        rule = rules.hit(start=str(definition["name"]))
        if rule and rule["do"] == "error":
            raise pull_error("500 Server Error: the registry does not answer in time (timeout)")
        while rule and rules.held(rule):
            time.sleep(_PAUSE)
        return run(client, definition, *args, **options)

    return started


def main(launcher: str, settings_file: str) -> None:
    """The launcher's own main, with the faults installed after the adapters."""
    found = runpy.run_path(launcher)
    found["_find_lastgood"]()
    from lastgood.local import adapters
    from lastgood.local.adapters import events
    from lastgood.local.adapters.wrap import module

    install = adapters.install

    def with_faults(settings: Any) -> None:
        folder = Path(settings.folder)
        rules = Rules(folder)
        install(settings)
        ecs = module("services.ecs")
        ecs._run_docker_container = slow_start(ecs._run_docker_container, rules, ecs._ImagePullError)
        setattr(events, "emit", disturb(events.emit, rules))  # noqa: B010  mypy takes it for the function itself
        module("app").app = faulty(module("app").app, rules, folder)

    adapters.install = with_faults
    found["main"](settings_file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
