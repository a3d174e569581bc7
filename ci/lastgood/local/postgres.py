"""The one-machine cloud's PostgreSQL: a container of the image that postgres_image.py makes, its data in a volume."""

from __future__ import annotations

import io
import socket
import tarfile
import time
from collections.abc import Callable
from typing import Any

from lastgood.errors import UsageError
from lastgood.local.engine import LABEL
from lastgood.report.terminal import step

HOME = "/var/lib/postgresql"
DATA = f"{HOME}/data"
COMPLETE = f"{HOME}/complete"
HOST = "postgres"  # the server's name on the instance's network
DEADLINE = 30.0  # seconds for the server to answer a query
_OPTIONS = {
    "hba_file": "/etc/postgresql/pg_hba.conf",
    "jit": "off",  # its library is left out
    "listen_addresses": "*",  # of the container; the host publishes it on loopback only
    "timezone": "UTC",
    "unix_socket_directories": "/tmp",  # noqa: S108  the container's own
}


class Server:
    """The server of one instance. Names: container and volume `PREFIX-postgres`."""

    def __init__(self, client: Any, prefix: str, instance: str) -> None:
        self.client = client
        self.name = f"{prefix}-postgres"
        self.labels = {LABEL: instance}

    def find(self) -> Any:
        """The container, or None."""
        from docker.errors import NotFound

        try:
            return self.client.containers.get(self.name)
        except NotFound:
            return None

    def start(self, image_name: str, network: str, port: int) -> Any:
        """Starts the server on `network` and 127.0.0.1:`port`, with a new container over the same data. Returns the container."""
        self.remove()
        self._initialise(image_name)
        arguments = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        return self.client.containers.run(
            image_name,
            arguments,
            name=self.name,
            detach=True,
            labels=self.labels,
            hostname=HOST,
            volumes={self.name: {"bind": HOME, "mode": "rw"}},
            ports={"5432/tcp": ("127.0.0.1", port)},
            network=network,
            networking_config={network: self.client.api.create_endpoint_config(aliases=[HOST])},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            shm_size="128m",
            stop_signal="SIGINT",  # PostgreSQL's fast shutdown
        )

    def remove(self) -> None:
        """Stops and removes the container. The data stay."""
        container = self.find()
        if container is not None:
            container.stop(timeout=20)
            container.remove(force=True)

    def forget(self) -> None:
        """Removes the container and the data."""
        from docker.errors import NotFound

        self.remove()
        try:
            self.client.volumes.get(self.name).remove(force=True)
        except NotFound:
            return

    def _initialise(self, image_name: str) -> None:
        """Makes the data folder, once. A volume without the mark of completeness is what a kill has left: it is made anew."""
        if self._is_complete(image_name):
            return
        self.forget()
        self.client.volumes.create(self.name, labels=self.labels)
        with step("PostgreSQL data"):
            container = self._helper(
                image_name, f"initdb --username=postgres --encoding=UTF8 --locale=C.UTF-8 --auth=trust -D {DATA}"
            )
            try:
                container.start()
                status = container.wait(timeout=120)["StatusCode"]
                if status:
                    raise UsageError(
                        f"PostgreSQL's data could not be made: {_last_line(container)}; look at the disk's space"
                    )
                container.put_archive(HOME, _tar("complete", b"initdb has finished\n"))
            finally:
                container.remove(force=True)

    def _is_complete(self, image_name: str) -> bool:
        from docker.errors import NotFound

        try:
            self.client.volumes.get(self.name)
        except NotFound:
            return False
        container = self._helper(image_name, "postgres --version")
        try:
            container.get_archive(COMPLETE)
        except NotFound:
            return False
        finally:
            container.remove(force=True)
        return True

    def _helper(self, image_name: str, command: str) -> Any:
        return self.client.containers.create(
            image_name,
            command.split()[1:],
            entrypoint=command.split()[:1],
            labels=self.labels,
            network_mode="none",
            volumes={self.name: {"bind": HOME, "mode": "rw"}},
        )

    def prepare(self, container: Any, database: str, password: str) -> None:
        """Waits until the server answers, and makes the role and the database where they are missing.

        Raises UsageError with the server's last log lines after the deadline.
        """
        end = time.monotonic() + DEADLINE
        status, output = 1, ""
        while time.monotonic() < end:
            container.reload()
            if container.status != "running":
                break
            status, output = self._sql(container, f"\\set name {database}\n\\set password {password}\n{_STATEMENTS}")
            if status == 0:
                return
            time.sleep(0.05)
        raise UsageError(
            f"PostgreSQL does not answer: {_last_line(container) or output}; see `docker logs {self.name}` and try again"
        )

    def _sql(self, container: Any, statements: str) -> tuple[int, str]:
        """Gives statements to psql on its standard input: an argument list can be read by others, and a password is among them."""
        api = self.client.api
        command = [
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--host=/tmp",
            "--username=postgres",
            "postgres",
        ]
        execution = api.exec_create(container.id, command, stdin=True)["Id"]
        stream = api.exec_start(execution, socket=True)
        raw = getattr(stream, "_sock", stream)
        raw.sendall(statements.encode())
        raw.shutdown(socket.SHUT_WR)
        output = b""
        while chunk := raw.recv(4096):
            output += chunk[8:]
        stream.close()
        raw.close()  # the stream only lets go of it
        return _exit_status(lambda: api.exec_inspect(execution)), output.decode(errors="replace").strip()


def _exit_status(inspect: Callable[[], Any]) -> int:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        found = inspect()
        if not found["Running"]:
            return int(found["ExitCode"])
        time.sleep(0.02)
    return 1


_STATEMENTS = """
SELECT format('CREATE ROLE %I LOGIN CREATEDB', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \\gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
"""


def _last_line(container: Any) -> str:
    lines = container.logs(tail=3).decode(errors="replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines)


def _tar(name: str, body: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(body)
        tar.addfile(info, io.BytesIO(body))
    return target.getvalue()
