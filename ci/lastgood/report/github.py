"""What a command leaves for GitHub Actions: step outputs, the job summary, and an annotation for an error. Elsewhere, nothing.

File formats: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from lastgood.report.text import line


def active() -> bool:
    """Whether this process is a step of a GitHub Actions job."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def publish(data: object, text: str, markdown: str | None = None) -> None:
    """Sets the single facts of `data` as outputs of the step, and adds `markdown`, else `text` as it is, to the job's summary."""
    if not active():
        return
    if isinstance(data, Mapping):
        _append("GITHUB_OUTPUT", "".join(_output(str(key), value) for key, value in data.items()))
    if markdown is not None:
        _append("GITHUB_STEP_SUMMARY", f"{markdown.rstrip()}\n\n")
        return
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    plain = "\n".join(map(line, text.split("\n")))
    _append("GITHUB_STEP_SUMMARY", f"{fence}text\n{plain}\n{fence}\n\n")


def annotate(text: str) -> None:
    """Shows an error at the top of the run's page."""
    if active():
        escaped = "\n".join(map(line, text.split("\n"))).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        print(f"::error title=lastgood::{escaped}", file=sys.stderr, flush=True)


def _output(key: str, value: object) -> str:
    """`key=value`; lists and tables are left out, they are in `--json`."""
    if value is None:
        value = ""
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, (str, int, float)):
        return ""
    if "\n" not in str(value) and "\r" not in str(value):
        return f"{key}={value}\n"
    import secrets  # outside of GitHub Actions, nothing is written

    # A delimiter that nobody can guess: a value must not be able to end itself and set another output.
    end = f"end-{secrets.token_hex(16)}"
    return f"{key}<<{end}\n{value}\n{end}\n"


def _append(variable: str, text: str) -> None:
    if os.environ.get(variable) and text:
        with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
            file.write(text)
