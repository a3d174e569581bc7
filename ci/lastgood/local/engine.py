"""The Docker engine: the one that answers, or on Debian and Ubuntu as root the distribution's, installed and started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError
from lastgood.local.process import started
from lastgood.python.engine import connect as connect
from lastgood.report.terminal import step

PACKAGES = ("docker.io", "iptables", "ca-certificates")
COMMAND = ("dockerd",)
POLICY = Path("/usr/sbin/policy-rc.d")  # asked by Debian's packages whether they may start what they install
DEADLINE = 60.0  # seconds for a started engine to answer
LABEL = "lastgood.instance"  # of what belongs to an instance, with its name


@dataclass(frozen=True)
class Machine:
    """Where things are on this machine, so that tests can bring another one."""

    run: Path = Path("/run/lastgood")
    log: Path = Path("/var/log/lastgood-dockerd.log")
    os_release: Path = Path("/etc/os-release")
    systemd: Path = Path("/run/systemd/system")

    @property
    def record(self) -> Path:
        """Which engine we have started."""
        return self.run / "dockerd.json"


def ensure(machine: Machine | None = None) -> Any:
    """Returns a docker.DockerClient whose engine answers; installs and starts one where that is allowed.

    Raises UsageError that says what to do where there is none and we may not.
    """
    machine = machine or Machine()
    client = connect()
    if client is not None:
        return client
    refuse(os.environ, os.geteuid(), _read(machine.os_release))
    if shutil.which("dockerd") is None:
        with step("Docker from the distribution's packages") as progress:
            _install()
            progress.note(" ".join(PACKAGES[:1]))
    with step("Docker engine") as progress:
        client = _start(machine)
        progress.note(client.version()["Version"])
    return client


def refuse(environment: Mapping[str, str], user: int, os_release: str) -> None:
    """Raises UsageError where no engine answers and we may not set one up."""
    if environment.get("DOCKER_HOST"):
        raise UsageError(
            f"no Docker engine answers at DOCKER_HOST ({environment['DOCKER_HOST']}): start it, or unset the variable"
        )
    like = {
        word
        for line in os_release.splitlines()
        if line.startswith(("ID=", "ID_LIKE="))
        for word in line.partition("=")[2].strip("\"'").split()
    }
    if not like & {"debian", "ubuntu"}:
        raise UsageError(
            "no Docker engine answers: install Docker (https://docs.docker.com/engine/install/) and start it"
        )
    if user != 0:
        raise UsageError(
            "no Docker engine answers: start it (sudo systemctl start docker) and add yourself to the group docker, "
            "or run this as root, which installs and starts the distribution's docker.io"
        )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Without this, the packages would start an engine of their own in the middle of the installation.
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        _apt(["apt-get", "-q", "update"], environment)
        _apt(["apt-get", "-q", "-y", "--no-install-recommends", "install", *PACKAGES], environment)
    finally:
        if ours:
            POLICY.unlink()


def _apt(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["it said nothing"]
        raise UsageError(
            f"Docker could not be installed: `{' '.join(command)}` failed with “{lines[-1]}”; mend that and try again"
        )


def _start(machine: Machine) -> Any:
    machine.run.mkdir(parents=True, exist_ok=True)
    if machine.systemd.is_dir() and shutil.which("systemctl"):
        subprocess.run(["systemctl", "start", "docker"], capture_output=True, check=False)
        return _wait(machine, None, "journalctl -u docker")
    with machine.log.open("ab") as log:
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    machine.record.write_text(json.dumps({"pid": process.pid, "started": started(process.pid)}), encoding="utf-8")
    return _wait(machine, process, str(machine.log))


def _wait(machine: Machine, process: subprocess.Popen[bytes] | None, log: str) -> Any:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        client = connect()
        if client is not None:
            if process is not None:
                process.returncode = 0  # it outlives us on purpose, and Popen would complain that nobody waits for it
            return client
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.1)
    machine.record.unlink(missing_ok=True)
    raise UsageError(f"the Docker engine was started and does not answer: the reason is in {log}")


def stop_engine(machine: Machine | None = None) -> str:
    """Stops the engine if we have started it and nobody else's containers run. Returns what was done, for people."""
    machine = machine or Machine()
    try:
        found = json.loads(machine.record.read_text(encoding="utf-8"))
        pid = int(found["pid"])
        alive = started(pid) is not None and started(pid) == found["started"]
    except (OSError, ValueError, KeyError, TypeError):
        alive = False
    if not alive:
        machine.record.unlink(missing_ok=True)
        return "Docker was not started by lastgood: left alone"
    client = connect()
    if client is not None:
        foreign = [one.name for one in client.containers.list(ignore_removed=True) if LABEL not in one.labels]
        client.close()
        if foreign:
            return f"Docker was started by lastgood, and runs {', '.join(foreign)}: left running"
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + DEADLINE
    while started(pid) == found["started"] and time.monotonic() < end:
        time.sleep(0.1)
    with contextlib.suppress(ChildProcessError):  # ours only if this very process started it
        os.waitpid(pid, os.WNOHANG)
    machine.record.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        machine.run.rmdir()
    return "Docker was started by lastgood: stopped"
