"""What a verb is: a function with its options beside it. The function's docstring is its help, and its name, unless another is given."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

TYPE_CHECKING = False  # typing's own costs 2 ms at every start; type checkers know the name
if TYPE_CHECKING:
    from typing import Any

    from lastgood.config.project import Project

Option = Callable[[argparse.ArgumentParser], object]
Function = Callable[[argparse.Namespace], "int | None"]


class Verb:
    """A verb of the command line. `options` are added to its parser when it is the one that was asked for."""

    def __init__(self, function: Function, options: tuple[Option, ...], name: str | None = None) -> None:
        self.function = function
        self.options = options
        self.name = name or function.__name__
        self.help = (function.__doc__ or "").strip()


def verb(*options: Option, name: str | None = None) -> Callable[[Function], Verb]:
    """Makes a verb of a function that takes the parsed options and returns an exit status, or None for 0."""
    return lambda function: Verb(function, options, name)


def option(*names: str, **settings: Any) -> Option:
    """An option, or an argument, as argparse takes it."""
    return lambda parser: parser.add_argument(*names, **settings)


def flag(name: str, help: str) -> Option:  # noqa: A002  # argparse's word
    """An option without a value."""
    return option(name, action="store_true", help=help)


def load(options: argparse.Namespace) -> Project:
    """The project that --project names."""
    from lastgood.config import project

    return project.load(Path(options.project))


def result(options: argparse.Namespace, data: object, text: str) -> None:
    """Prints `text`, or `data` where --json asks for it, and leaves both for GitHub Actions."""
    from lastgood.report import github, terminal

    terminal.result(data, text, as_json=options.json)
    github.publish(data, text)
