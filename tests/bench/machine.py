"""The machine the bench runs on: its facts, the programs the bench needs, and how they are run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError
from lastgood.report.terminal import step

# Program → the Debian or Ubuntu package that has it.
PROGRAMS = {"mmdebstrap": "mmdebstrap", "strace": "strace", "git": "git", "gpgv": "gpgv"}


def ready(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Installs the missing `programs` as root by apt, or raises UsageError that names them."""
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if os.geteuid() != 0:
        raise UsageError(
            "`make bench` makes root file systems and empties the page cache of image layers: run it as root"
        )
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise UsageError(f"`make bench` needs {', '.join(missing)}: install them, or run it on Debian or Ubuntu")
    with step(f"apt-get install {' '.join(missing)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "-q", "update"], environment=environment)
        run(["apt-get", "-q", "-y", "--no-install-recommends", "install", *missing], environment=environment)


def run(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs `command` and returns its standard output. Raises UsageError with the last line it said when it fails."""
    done = subprocess.run(
        [str(part) for part in command], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()] or [
            "it said nothing"
        ]
        shown = " ".join(str(part) for part in command)[:200]
        raise UsageError(
            f"`{shown}` failed ({done.returncode}): {' / '.join(lines[-3:])}; mend that and run `make bench` again"
        )
    return done.stdout


def facts(client: Any) -> dict[str, str]:
    """What a reader must know of the machine to judge the figures."""
    version = client.version()
    information = client.info()
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines() if "=" in line
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}",
        "memory": f"{information['MemTotal'] / 1e9:.0f} GB",
        "system": release.get("PRETTY_NAME", "Linux").strip('"'),
        "kernel": platform.release(),
        "Docker": f"{version['Version']} ({information['Driver']})",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"
