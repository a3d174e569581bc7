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


def who() -> str:
    """Who does it, for the release record: the actor of a GitHub Actions job, else git's user, else the login. One short line."""
    import getpass
    import subprocess

    from lastgood.report.text import head, line

    if os.environ.get("GITHUB_ACTIONS") == "true" and os.environ.get("GITHUB_ACTOR"):
        return line(head(os.environ["GITHUB_ACTOR"], 100))
    try:
        named = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except FileNotFoundError:
        named = ""
    return line(head(named or getpass.getuser(), 100))
