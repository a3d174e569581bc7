"""Tier 2: one file of constants an environment. All define the same names with the same types; a test sees to it.

What is here is the same for everybody who runs that environment, and is not secret: it is in git and in every image.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def names() -> list[str]:
    """Return the names of the environments that have a file here."""
    return sorted(module.name for module in iter_modules(__path__))


def constants(environment: str) -> dict[str, Any]:
    """Return the constants of `environment`, one of `names()`."""
    module = import_module(f"{__name__}.{environment}")
    return {name: value for name, value in vars(module).items() if name.isupper()}
