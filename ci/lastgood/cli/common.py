"""Options that several verbs take."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lastgood.cli.verbs import flag, option
from lastgood.errors import LastgoodError

# Every verb's.
ALL = (
    option("--project", default=".", metavar="FOLDER", help="where pyproject.toml is (default: here, or above)"),
    flag("--json", help="the result as one JSON document"),
)


def environment(parser: argparse.ArgumentParser) -> None:
    """--environment; a job may say once for all its steps which."""
    default = os.environ.get("LASTGOOD_ENVIRONMENT", "local")
    help_ = f"which one (default: {default})"
    action = parser.add_argument("--environment", "-e", default=default, metavar="NAME", help=help_)
    action.completer = _environments  # type: ignore[attr-defined]  # argcomplete's


def _environments(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    from lastgood.config import project

    try:
        return list(project.load(Path(parsed_args.project)).environments)
    except (LastgoodError, OSError):  # whoever completes wants no error; the command will tell it
        return []
