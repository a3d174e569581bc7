"""How an adapter gets between the parts of ministack: it wraps a private function, and never copies one.

ministack has no plug-in interface, but its modules look their functions up late, so replacing a module's global works everywhere.
Every name that is wrapped or used is declared, and checked against the one pinned version before the emulator starts.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from typing import Any

MINISTACK = "1.5.33"


class AdapterError(Exception):
    """ministack is not the one that the adapters were written for."""


def module(name: str) -> Any:
    """A module of ministack, as `services.ecs`."""
    return importlib.import_module(f"ministack.{name}")


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` (as `services.ecs:_run_task`) that ministack does not have."""
    absent = []
    for name in names:
        place, _, attribute = name.partition(":")
        try:
            found = hasattr(module(place), attribute)
        except ImportError:
            found = False
        if not found:
            absent.append(name)
    return absent


def check(names: Iterable[str]) -> None:
    """Raises AdapterError unless ministack is the pinned version and has every name."""
    version = importlib.metadata.version("ministack")
    if version != MINISTACK:
        raise AdapterError(
            f"the adapters are written for ministack {MINISTACK}, and {version} is installed: "
            "remove .venv-local and run `lastgood local up`"
        )
    absent = missing(names)
    if absent:
        raise AdapterError(
            f"ministack {version} has no {', '.join(absent)}: the adapters need to be brought up to date"
        )


def wrap(name: str, action: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates `function(original, *args)`, which from then on answers for `name`, as `services.ecs:_run_task`.

    `action` is the API call that the module's dispatch table holds the original under.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        place, _, attribute = name.partition(":")
        owner = module(place)
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(owner, attribute, wrapper)
        if action is not None:
            owner._ACTION_MAP[action] = wrapper
        return function

    return decorate
