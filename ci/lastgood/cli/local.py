"""The one-machine cloud."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lastgood.cli.verbs import TYPE_CHECKING, flag, load, option, result, verb

if TYPE_CHECKING:
    from typing import Any

    from lastgood.config.project import Project


@verb(
    option("action", choices=("up", "down", "status", "clean"), help="clean also removes the data"),
    flag("--engine", help="stop the Docker engine, too, if lastgood started it and nobody else uses it"),
)
def local(options: argparse.Namespace) -> None:
    """the one-machine cloud: up, down, status, clean"""
    from lastgood.local import cloud
    from lastgood.report import terminal

    action: Callable[[Project], dict[str, Any]] = getattr(cloud, options.action)
    facts = action(load(options))
    if options.engine:
        from lastgood.local import engine

        facts["engine"] = engine.stop_engine()
    lines = {
        key: ", ".join(map(str, value)) or "none" if isinstance(value, list) else value for key, value in facts.items()
    }
    result(options, facts, terminal.mapping_lines(lines))
