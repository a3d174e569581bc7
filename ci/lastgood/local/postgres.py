"""The one-machine cloud's PostgreSQL: a container made from Debian packages, its data in a volume."""

from __future__ import annotations

import io
import socket
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lastgood import tar
from lastgood.cache import store
from lastgood.debian.locks import Lock
from lastgood.debian.seeds import Seeds
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError
from lastgood.platform import native
from lastgood.report.terminal import step

SEEDS = Path(__file__).with_name("postgres.toml")
LOCK = Path(__file__).with_name("postgres.lock")
STAGE = "postgres"
USER = 70  # of the server in its container, and nobody's on the host
HOME = "/var/lib/postgresql"
DATA = f"{HOME}/data"
COMPLETE = f"{HOME}/complete"
BINARIES = "/usr/lib/postgresql/17/bin"
HOST = "postgres"  # the server's name on the instance's network
DEADLINE = 30.0  # seconds for the server to answer a query
_ACCESS = "local all all trust\nhost all all all scram-sha-256\n"
_OPTIONS = {
    "hba_file": "/etc/postgresql/pg_hba.conf",
    "jit": "off",  # its library is left out
    "listen_addresses": "*",  # of the container; the host publishes it on loopback only
    "timezone": "UTC",
    "unix_socket_directories": "/tmp",  # noqa: S108  the container's own
}
_NOT_WANTED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/info/")


# Counted up whenever what is made from the packages changes, so that no cache entry of an older recipe is used.
RECIPE = 2


def lock() -> Lock:
    """The packages of the image. Raises UsageError where the lock is missing, damaged or not made from its seeds."""
    locked = Lock.read(LOCK)
    if locked.seeds != Seeds.read(SEEDS).digest:
        raise UsageError(
            f"{LOCK} was not made from {SEEDS} as it is now: run `lastgood lock-base --seeds {SEEDS}` and commit it"
        )
    return locked


def tag() -> str:
    """The image's name, which changes with its packages."""
    return f"lastgood-postgres:{lock().key(STAGE, native().debian)[:12]}"


def image(client: Any, stages: Stages) -> str:
    """Returns the tag of the image, which is made where the engine does not have it."""
    from docker.errors import ImageNotFound

    name = tag()
    try:
        client.images.get(name)
    except ImageNotFound:
        with step("PostgreSQL image") as progress:
            _build(client, stages, name)
            progress.note(name)
    return name


def _build(client: Any, stages: Stages, name: str) -> None:
    def make(folder: Path) -> None:
        stages.unpack(STAGE, native(), folder / "root", lambda path: not path.startswith(_NOT_WANTED))
        _finish(folder / "root")

    tree = store.entry(store.cache() / "postgres" / f"{stages.key(STAGE, native())[:24]}-{RECIPE}", make) / "root"
    with tempfile.TemporaryDirectory(dir=store.cache()) as scratch:
        archive = Path(scratch) / "root.tar"
        tar.write([(tree, "")], archive)
        _own(archive, HOME)
        with archive.open("rb") as file:
            client.api.import_image_from_data(
                iter(lambda: file.read(1 << 20), b""),
                repository=name.partition(":")[0],
                tag=name.partition(":")[2],
                changes=[
                    f"USER {USER}:{USER}",
                    f"ENV PATH={BINARIES}:/usr/bin LANG=C.UTF-8 PGDATA={DATA}",
                    f"LABEL lastgood.postgres={name}",
                    'ENTRYPOINT ["postgres"]',
                ],
            )


def _finish(root: Path) -> None:
    for folder in ("var/lib", "tmp", "run", "proc", "sys", "dev", "etc/postgresql"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shell = root / "usr/bin/sh"
    if not shell.exists():
        shell.symlink_to("dash")
    (root / "etc/passwd").write_text(f"root:x:0:0::/:/nonexistent\npostgres:x:{USER}:{USER}::{HOME}:/nonexistent\n")
    (root / "etc/group").write_text(f"root:x:0:\npostgres:x:{USER}:\n")
    (root / "etc/postgresql/pg_hba.conf").write_text(_ACCESS)


def _own(archive: Path, home: str) -> None:
    """Adds the server's home folder, its own: a volume takes its owner from there, and layers belong to root."""
    with tarfile.open(archive, "a", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(home.lstrip("/"))
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o700, USER, USER
        tar.addfile(info)


class Server:
    """The server of one instance. Names: container and volume `PREFIX-postgres`."""

    def __init__(self, client: Any, prefix: str, instance: str) -> None:
        self.client = client
        self.name = f"{prefix}-postgres"
        self.labels = {"lastgood.instance": instance}

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
