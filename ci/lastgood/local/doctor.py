"""`lastgood doctor`: what this machine has and lacks, each with what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from lastgood.errors import LastgoodError


def examine(folder: Path) -> list[dict[str, object]]:
    """One entry a thing looked at: {"what", "ok", "text"}."""
    checks = (_python, _git, _machine, _engine, _mirror, lambda: _project(folder), _credentials)
    found = []
    for check in checks:
        what, ok, text = check()
        found.append({"what": what, "ok": ok, "text": text})
    return found


def _python() -> tuple[str, bool, str]:
    text = f"{platform.python_version()} at {sys.executable}"
    return "python", sys.version_info >= (3, 11), text


def _git() -> tuple[str, bool, str]:
    found = shutil.which("git")
    return "git", bool(found), found or "not found: install git, builds are named by their commit"


def _machine() -> tuple[str, bool, str]:
    machine = platform.machine()
    return (
        "machine",
        machine == "x86_64",
        machine if machine == "x86_64" else f"{machine}: images are built on x86_64 for now",
    )


def _engine() -> tuple[str, bool, str]:
    from docker.errors import DockerException

    import docker

    try:
        client = docker.client.from_env(timeout=10)
        version = client.version()["Version"]
        client.close()
    except DockerException as error:
        text = f"does not answer ({str(error).splitlines()[0][:120]}): start it, or run `lastgood local up` as root on Debian or Ubuntu"
        return "docker", False, text
    return "docker", True, f"{version} answers"


def _mirror() -> tuple[str, bool, str]:
    from lastgood.debian import chosen, mirror

    try:
        found = mirror.find(None, chosen.bundled().suite)
    except LastgoodError as error:
        return "debian mirror", False, str(error)
    return "debian mirror", True, f"named by {found.origin}"


def _project(folder: Path) -> tuple[str, bool, str]:
    from lastgood.config import project

    try:
        found = project.load(folder)
    except LastgoodError as error:
        return "project", False, str(error)
    return "project", True, f"{found.name}, environments {', '.join(found.environments)}"


def _credentials() -> tuple[str, bool, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")
    given = [name for name in names if os.environ.get(name)]
    text = f"by {given[0]}" if given else "none in the environment (needed for AWS only, not for `local`)"
    return "credentials", True, text


def render(facts: list[dict[str, object]]) -> str:
    """The table for a terminal."""
    lines = (f"{'✓' if entry['ok'] else '✗'} {str(entry['what']).ljust(14)}{entry['text']}" for entry in facts)
    return "\n".join(line.replace("\n", "\n" + " " * 16) for line in lines)
