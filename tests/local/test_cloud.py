"""Instances brought up, down, killed and cleaned for real."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.client import DockerClient
from fixtures.ports import free_ports
from lastgood.aws import local_cloud
from lastgood.aws.session import Session
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.local import account, cloud, emulator
from lastgood.local.instance import Instance
from lastgood.local.ports import listening
from lastgood.registry import ecr
from msgspec.structs import replace

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
def engine() -> Iterator[Any]:
    client = DockerClient.from_env()
    yield client
    client.close()


def known(project: Project) -> Any:
    found = local_cloud.read(project.state)
    assert found is not None
    return found


def query(engine: Any, project: Project, sql: str) -> str:
    container = engine.containers.get(f"lastgood-{Instance.of(project).name}-postgres")
    command = [
        "psql",
        "--host=/tmp",
        "--username=postgres",
        "--no-align",
        "--tuples-only",
        f"--command={sql}",
        project.name,
    ]
    status, output = container.exec_run(command)
    assert status == 0, output
    return str(output.decode().strip())


def test_up_down_up_keeps_what_was_stored(project: Project, engine: Any) -> None:
    assert cloud.status(project) == {"state": "never up", "next": "lastgood local up"}
    assert cloud.up(project)["state"] == "up"
    account.client("ssm", known(project).endpoint_url).put_parameter(Name="/kept", Value="yes", Type="String")
    query(engine, project, "create table kept as select 42 as answer")
    secrets = (local_cloud.folder(project.state) / "secrets.json").read_text()

    assert cloud.down(project)["state"] == "down"
    label = {"label": f"lastgood.instance={Instance.of(project).name}"}
    assert engine.containers.list(all=True, filters=label) == []
    assert cloud.down(project)["state"] == "down"  # twice is once

    assert cloud.up(project)["state"] == "up"
    found = account.client("ssm", known(project).endpoint_url).get_parameter(Name="/kept")
    assert found["Parameter"]["Value"] == "yes"
    assert query(engine, project, "select answer from kept") == "42"
    assert (local_cloud.folder(project.state) / "secrets.json").read_text() == secrets


def test_second_up_costs_nothing(project: Project) -> None:
    first = cloud.up(project)
    began = time.monotonic()
    assert cloud.up(project) == first
    assert time.monotonic() - began < 0.5


def test_listens_on_loopback_and_the_own_network_only(project: Project, engine: Any) -> None:
    cloud.up(project)
    gateway = engine.networks.get(known(project).network).attrs["IPAM"]["Config"][0]["Gateway"]
    addresses = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        address, port = line.split()[1].split(":")
        if (
            int(port, 16) in (project.local.port, project.local.site_port, project.local.database_port)
            and line.split()[3] == "0A"
        ):
            addresses.add((socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)))
    local = project.local
    assert addresses == {
        ("127.0.0.1", local.port),
        (gateway, local.port),
        ("127.0.0.1", local.site_port),
        ("127.0.0.1", local.database_port),
    }
    for port in (local.port, local.site_port, local.database_port):
        assert listening(Path("/proc/net/tcp6").read_text(), port) == set()


def test_site_says_that_nothing_is_deployed(project: Project) -> None:
    cloud.up(project)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(known(project).site_url)
    with caught.value as answer:
        assert answer.code == 503
        assert answer.read().decode().splitlines()[0] == "Nothing is deployed here yet."
    with pytest.raises(UsageError) as error:
        ecr.find(Session.of(project, "local"))
    assert str(error.value) == "the local cloud has no repository 'probe' yet: run `lastgood bootstrap` once"


def test_secrets_are_the_owners_only_and_never_printed(project: Project, capfd: Any) -> None:
    facts = cloud.up(project)
    for name in ("secrets.json", "state.json"):
        assert stat.S_IMODE((local_cloud.folder(project.state) / name).stat().st_mode) == 0o600
    password = account.passwords(local_cloud.folder(project.state))["database"]
    printed = capfd.readouterr()
    assert password not in printed.out + printed.err + repr(facts)


def test_killed_emulator_is_replaced(project: Project) -> None:
    cloud.up(project)
    pid = emulator.Emulator(local_cloud.folder(project.state)).pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert cloud.status(project)["state"] == "half up"
    assert cloud.up(project)["state"] == "up"
    assert emulator.Emulator(local_cloud.folder(project.state)).pid() != pid


def test_killed_while_the_data_were_made(project: Project, engine: Any) -> None:
    """A volume without the mark is what a killed initdb leaves."""
    name = Instance.of(project).name
    engine.volumes.create(f"lastgood-{name}-postgres", labels={"lastgood.instance": name})
    assert cloud.up(project)["state"] == "up"
    assert query(engine, project, "select 1") == "1"


@pytest.mark.parametrize(
    ("key", "what", "variable"),
    [
        ("port", "the emulator", "LASTGOOD_LOCAL_PORT"),
        ("site_port", "the site", "LASTGOOD_SITE_PORT"),
        ("database_port", "PostgreSQL", "LASTGOOD_DATABASE_PORT"),
    ],
)
def test_taken_port_is_named_with_its_holder(project: Project, key: str, what: str, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        changed = replace(project, local=replace(project.local, **{key: port}))
        comm = Path("/proc/self/comm").read_text().strip()
        expected = (
            f"port {port} ({what}) is taken by {comm} (process {os.getpid()}): stop that, or choose another port with "
            f"[tool.lastgood.local] {key} or {variable}"
        )
        with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
            cloud.up(changed)
    assert cloud.status(project) == {"state": "never up", "next": "lastgood local up"}


def test_port_that_a_container_holds(project: Project, engine: Any, tmp_path: Path) -> None:
    cloud.up(project)
    port, name = project.local.database_port, Instance.of(project).name
    (tmp_path / "other").mkdir()
    other = replace(project, root=tmp_path / "other", local=replace(project.local, database_port=port))
    (other.root / ".venv-local").symlink_to((project.root / ".venv-local").resolve())
    numbers = free_ports(2)
    other = replace(other, local=replace(other.local, port=numbers[0], site_port=numbers[1]))
    expected = (
        f"port {port} (PostgreSQL) is taken by the container lastgood-{name}-postgres: stop that, or choose another port with "
        "[tool.lastgood.local] database_port or LASTGOOD_DATABASE_PORT"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        cloud.up(other)


def test_clean_leaves_nothing(project: Project, engine: Any) -> None:
    cloud.up(project)
    label = {"label": f"lastgood.instance={Instance.of(project).name}"}
    cloud.clean(project)
    assert engine.containers.list(all=True, filters=label) == []
    assert engine.networks.list(filters=label) == []
    assert engine.volumes.list(filters=label) == []
    assert not (project.root / ".lastgood" / "local").exists()
