"""Puts `health` in front of Django's handlers when they are imported. It runs at every start of Python, so it imports nothing itself.

The handlers' classes are changed, and not `get_wsgi_application` or a module of the project: so every server gets it, and every wrapper
that a project puts around its application (WhiteNoise, a router of Channels, Sentry) goes on working around it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

PATHS = ("/livez", "/healthz")


def wsgi(module: ModuleType) -> None:
    """Has WSGIHandler ask `health` where one of PATHS is asked for."""
    whole: Callable[..., Any] = module.WSGIHandler.__call__

    def __call__(self: object, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:  # noqa: N807
        if environ.get("PATH_INFO") in PATHS:
            from . import health

            answer = health.wsgi(environ, start_response)
            if answer is not None:
                return answer
        return whole(self, environ, start_response)

    module.WSGIHandler.__call__ = __call__


def asgi(module: ModuleType) -> None:
    """Has ASGIHandler ask `health` where one of PATHS is asked for."""
    whole: Callable[..., Any] = module.ASGIHandler.__call__

    async def __call__(self: object, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: N807
        if scope.get("path") in PATHS and scope["type"] == "http":
            from . import health

            if await health.asgi(scope, send):
                return
        await whole(self, scope, receive, send)

    module.ASGIHandler.__call__ = __call__


class Finder:
    """Finds nothing by itself: what it waits for is found by the others, and changed once it has run."""

    def __init__(self) -> None:
        self.waiting = {"django.core.handlers.wsgi": wsgi, "django.core.handlers.asgi": asgi}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find for a module that is waited for; None for any other."""
        if name not in self.waiting:
            return None
        change = self.waiting.pop(name)
        if not self.waiting:
            sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                change(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


FINDER = Finder()
sys.meta_path.insert(0, FINDER)
