"""Runs a command with LASTGOOD_TEST_DATABASE_URL: the PostgreSQL of the one-machine cloud, in a container of its own, for the tests.

    python tests/with_postgres.py [--version 14] COMMAND …

With `--version` it is PostgreSQL of that major version, as the binaries that tests/servers/package-lock.json locks, and no container.
Without it a server that LASTGOOD_TEST_DATABASE_URL names already is used as it is.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from lastgood.config import project
from lastgood.errors import LastgoodError, UsageError
from lastgood.local import engine, postgres, postgres_image
from lastgood.report.terminal import step

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ci/checks"))
import node
from fixtures.ports import free_ports

SERVERS = Path(__file__).resolve().parent / "servers"
FASTER = ("fsync", "synchronous_commit", "full_page_writes")


def main(arguments: list[str]) -> int:
    """Returns the command's exit status, or 2 where the server can't be had."""
    if arguments[:1] == ["--version"]:
        with binaries(arguments[1]) as address:
            return _run(arguments[2:], address)
    if os.environ.get("LASTGOOD_TEST_DATABASE_URL"):
        return subprocess.run(arguments, check=False).returncode
    with container() as address:
        return _run(arguments, address)


def _run(command: list[str], address: str) -> int:
    return subprocess.run(command, env=os.environ | {"LASTGOOD_TEST_DATABASE_URL": address}, check=False).returncode


@contextmanager
def container() -> Iterator[str]:
    """The address of a server in a container: the version that the one-machine cloud has."""
    name = f"test-{os.getpid()}"
    password = secrets.token_hex(16)
    client = engine.ensure()
    image = postgres_image.ensure(client, project.load(Path(__file__).parent).image)
    network = client.networks.create(f"lastgood-{name}", labels={"lastgood.instance": name})
    server = postgres.Server(client, f"lastgood-{name}", name)
    try:
        with step("PostgreSQL for the tests") as shown:
            (port,) = free_ports(1)
            running = server.start(image, network.name, port)
            server.prepare(running, "tests", password)
            # Nothing here is to survive a power failure; the tests write a lot.
            faster = "".join(f"ALTER SYSTEM SET {name} = off;" for name in FASTER)
            status, output = server._sql(running, f"ALTER ROLE tests SUPERUSER; {faster} SELECT pg_reload_conf()")
            assert status == 0, output
            shown.note(f"127.0.0.1:{port}")
        yield f"postgresql://tests:{password}@127.0.0.1:{port}/tests"
    finally:
        server.forget()
        network.remove()
        client.close()


@contextmanager
def binaries(version: str) -> Iterator[str]:
    """The address of a server of that major version, which runs as a process of this machine.

    Raises UsageError for a version that tests/servers/package.json does not name, and for a server that does not start.
    """
    modules = node.modules(SERVERS) / "node_modules"
    package = modules / f"postgres-{version}"
    if not package.is_dir():
        known = sorted(path.name.removeprefix("postgres-") for path in modules.glob("postgres-*"))
        raise UsageError(
            f"there are no binaries of PostgreSQL {version!r}: tests/servers/package.json has {', '.join(known)}"
        )
    with tempfile.TemporaryDirectory(prefix="lastgood-postgres-") as name, ExitStack() as stack:
        with step(f"PostgreSQL {version}") as shown:
            address = stack.enter_context(_process(package / "native", Path(name)))
            with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE tests")
                shown.note(f"{connection.info.parameter_status('server_version')}, 127.0.0.1:{connection.info.port}")
        yield f"{address}/tests"


@contextmanager
def _process(binaries: Path, folder: Path) -> Iterator[str]:
    """A server of those binaries with its data in `folder`; its address without a database."""
    native, port, password = folder / "native", free_ports(1)[0], secrets.token_hex(16)
    shutil.copytree(binaries, native)  # where a user other than root may read it
    for link in json.loads((native / "pg-symlinks.json").read_text(encoding="utf-8")):
        target = folder / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(folder / link["source"], target.parent))
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
    (folder / "password").write_text(password, encoding="utf-8")
    data = folder / "data"
    data.mkdir()
    user = 65534 if os.geteuid() == 0 else None  # PostgreSQL refuses to be root
    if user is not None:
        os.chown(data, user, user)
    folder.chmod(0o755)
    make = [
        native / "bin/initdb",
        "--pgdata",
        data,
        "--username",
        "tests",
        "--auth",
        "scram-sha-256",
        "--encoding",
        "UTF8",
    ]
    _quietly([*make, "--no-locale", "--pwfile", folder / "password"], user)
    settings = [f"{one}=off" for one in FASTER]
    settings += [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={data}"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        command = [native / "bin/postgres", "-D", data, *(part for one in settings for part in ("-c", one))]
        server = subprocess.Popen(command, user=user, group=user, stdout=log, stderr=log)
    address = f"postgresql://tests:{password}@127.0.0.1:{port}"
    try:
        _wait(address, server, folder / "log")
        yield address
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown
        server.wait()


def _quietly(command: list[Any], user: int | None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=user, group=user)
    if done.returncode:
        raise UsageError(f"{command[0].name} failed: {node.last_words(done)}")


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(f"{address}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
                continue
            said = log.read_text(encoding="utf-8").strip().splitlines() or [str(error)]
            raise UsageError(f"the server did not start: {said[-1]}") from None
        return


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)  # so that a cancelled run removes the server, too
    try:
        raise SystemExit(main(sys.argv[1:]))
    except (LastgoodError, node.CannotCheckError) as error:
        print(f"tests/with_postgres.py: {error}", file=sys.stderr)
        raise SystemExit(getattr(error, "exit_status", 2)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
