"""Where this machine's pip finds packages, read once for lock, check and build: their pips would each read their own files and sections.

What else pip's settings say (constraints, formats, targets) would make one lock here and another one elsewhere, so it is not obeyed.
"""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys

from lastgood.errors import UsageError
from lastgood.report.text import masked

# Isolated: the folder that the command is called in is a project's, and may hold a pip.py.
PYTHON = (sys.executable, "-I", "-W", "ignore")
_INDEX = "index-url"
_WHERE = (
    _INDEX, f"extra-{_INDEX}", "no-index", "find-links", "trusted-host", "cert", "client-cert", "proxy", "timeout", "retries",
    "resume-retries", "keyring-provider",
)  # fmt: skip
_SECTIONS = ("global", "install", ":env:")  # each before those that go over it


def settings() -> dict[str, str]:
    """The variables that tell any pip where packages are and how to get there. Raises UsageError for a file that pip can't read."""
    others = {
        key: value
        for key, value in os.environ.items()
        if key.startswith(("SSL_", "REQUESTS_", "NETRC")) or "proxy" in key.lower() or key == "HOME"
    }
    return others | _pip(tuple(sorted(os.environ.items()))) | {"PIP_CONFIG_FILE": os.devnull}


@functools.lru_cache(maxsize=1)
def _pip(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    command = [*PYTHON, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(environment))
    if done.returncode:
        lines = masked(done.stderr).strip().splitlines() or ["it said nothing"]
        raise UsageError(f"pip's settings can't be read ({lines[-1]}): mend pip.conf or the variables PIP_*")
    known = {}
    for line in done.stdout.splitlines():
        key, sign, value = line.partition("=")
        if sign:
            known[key] = str(ast.literal_eval(value))
    found = {}
    for section in _SECTIONS:
        for name in _WHERE:
            if known.get(f"{section}.{name}"):  # one that is empty counts for pip as none
                found[f"PIP_{name.upper().replace('-', '_')}"] = " ".join(known[f"{section}.{name}"].split())
    return found
