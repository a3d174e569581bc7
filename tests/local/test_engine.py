"""The engine's refusals, and what is done where it may be set up. The machine's edges (Docker, apt, dockerd) are replaced."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lastgood.errors import UsageError
from lastgood.local import engine

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n'
MINT = 'ID=linuxmint\nID_LIKE="ubuntu debian"\n'
OR_AS_ROOT = "or run this as root, which installs and starts the distribution's docker.io"
FEDORA = "ID=fedora\n"


class Client:
    """An engine that answers."""

    def __init__(self, running: dict[str, dict[str, str]] | None = None) -> None:
        self.running = running or {}
        self.containers = self

    def list(self, *, ignore_removed: bool) -> list[Any]:
        return [type("Container", (), {"name": name, "labels": labels}) for name, labels in self.running.items()]

    def version(self) -> dict[str, str]:
        return {"Version": "20.10"}

    def close(self) -> None:
        """Nothing to close."""


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """A PATH with only these shell scripts."""
    folder.mkdir()
    for name, script in scripts.items():
        file = folder / name.replace("_", "-")
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def machine(tmp_path: Path) -> engine.Machine:
    (tmp_path / "os-release").write_text(DEBIAN)
    return engine.Machine(
        run=tmp_path / "run",
        log=tmp_path / "dockerd.log",
        os_release=tmp_path / "os-release",
        systemd=tmp_path / "none",
    )


@pytest.mark.parametrize(
    ("environment", "user", "os_release", "message"),
    [
        (
            {"DOCKER_HOST": "tcp://build:2375"}, 0, DEBIAN,
            "no Docker engine answers at DOCKER_HOST (tcp://build:2375): start it, or unset the variable",
        ),
        (
            {}, 0, FEDORA,
            "no Docker engine answers: install Docker (https://docs.docker.com/engine/install/) and start it",
        ),
        (
            {}, 0, "",
            "no Docker engine answers: install Docker (https://docs.docker.com/engine/install/) and start it",
        ),
        (
            {}, 1000, DEBIAN,
            f"no Docker engine answers: start it (sudo systemctl start docker) and add yourself to the group docker, {OR_AS_ROOT}",
        ),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(environment: dict[str, str], user: int, os_release: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        engine.refuse(environment, user, os_release)


@pytest.mark.parametrize("os_release", [DEBIAN, MINT])
def test_root_on_debian_or_ubuntu_may(os_release: str) -> None:
    engine.refuse({}, 0, os_release)


def test_engine_that_answers_is_used(machine: engine.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    monkeypatch.setattr(engine, "connect", lambda: client)
    assert engine.ensure(machine) is client
    assert not machine.run.exists()


def test_no_docker_and_not_root(machine: engine.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "connect", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(UsageError, match=f"{re.escape(OR_AS_ROOT)}$"):
        engine.ensure(machine)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "POLICY", tmp_path / "policy-rc.d")


@pytest.mark.usefixtures("root")
def test_apt_that_fails_shows_its_last_line(
    machine: engine.Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "connect", lambda: None)
    programs(tmp_path / "bin", monkeypatch, apt_get='echo "E: Unable to locate package docker.io" >&2; exit 100')
    expected = (
        "Docker could not be installed: `apt-get -q update` failed with “E: Unable to locate package docker.io”; "
        "mend that and try again"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        engine.ensure(machine)
    assert not engine.POLICY.exists()


@pytest.mark.usefixtures("root")
def test_engine_that_does_not_come_up_names_its_log(
    machine: engine.Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "connect", lambda: None)
    programs(tmp_path / "bin", monkeypatch, dockerd="echo no iptables; exit 1")
    with pytest.raises(
        UsageError, match=f"^the Docker engine was started and does not answer: the reason is in {machine.log}$"
    ):
        engine.ensure(machine)
    assert machine.log.read_text() == "no iptables\n"
    assert not machine.record.exists()


@pytest.fixture
def started(
    machine: engine.Machine, root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Client], engine.Machine]:
    """A program named dockerd that runs as the engine which we have started."""

    def start(client: Client) -> engine.Machine:
        sleep = subprocess.run(
            ["sh", "-c", "command -v sleep"], capture_output=True, text=True, check=True
        ).stdout.strip()
        programs(tmp_path / "bin", monkeypatch)
        (tmp_path / "bin" / "dockerd").write_bytes(Path(sleep).read_bytes())
        (tmp_path / "bin" / "dockerd").chmod(0o755)
        answers = iter([None])
        monkeypatch.setattr(engine, "connect", lambda: next(answers, client))
        monkeypatch.setattr(engine, "COMMAND", ("dockerd", "600"))
        assert engine.ensure(machine) is client
        return machine

    return start


def pid(machine: engine.Machine) -> int:
    return int(json.loads(machine.record.read_text())["pid"])


def test_engine_that_we_started_is_stopped(started: Callable[[Client], engine.Machine]) -> None:
    machine = started(Client({"lastgood-x-postgres": {"lastgood.instance": "x"}}))
    number = pid(machine)
    assert engine.stop_engine(machine) == "Docker was started by lastgood: stopped"
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert not machine.run.exists()


def test_engine_with_foreign_containers_is_left_running(started: Callable[[Client], engine.Machine]) -> None:
    client = Client({"their-shop": {}})
    machine = started(client)
    assert engine.stop_engine(machine) == "Docker was started by lastgood, and runs their-shop: left running"
    os.kill(pid(machine), 0)
    client.running.clear()
    assert engine.stop_engine(machine) == "Docker was started by lastgood: stopped"


def test_foreign_engine_is_left_alone(machine: engine.Machine) -> None:
    assert engine.stop_engine(machine) == "Docker was not started by lastgood: left alone"
    machine.run.mkdir()
    machine.record.write_text(json.dumps({"pid": os.getpid(), "started": "1"}))  # the number is someone else's by now
    assert engine.stop_engine(machine) == "Docker was not started by lastgood: left alone"
    assert not machine.record.exists()
