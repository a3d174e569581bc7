"""The one-machine cloud of a project: emulator, PostgreSQL and site front, brought up and down together.

An instance belongs to one project folder. Its containers, network and volume carry the label `lastgood.instance`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

from lastgood.aws import local_cloud
from lastgood.aws.local_cloud import LocalCloud
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.local import account, emulator, engine, ports, virtualenv
from lastgood.local.adapters.settings import ACCOUNT, REGION, Settings
from lastgood.report.terminal import say, step

LABEL = "lastgood.instance"
SERVICES_DEADLINE = 60.0  # seconds for what was deployed to answer again


def instance(project: Project) -> str:
    """The instance's name: two folders with projects of one name have two."""
    return f"{project.name}-{hashlib.sha256(str(project.root).encode()).hexdigest()[:8]}"


def up(project: Project) -> dict[str, Any]:
    """Brings the instance up; does nothing where it is up already. Returns what `status` returns.

    Raises UsageError where Docker is missing, a port is taken or a part does not start.
    """
    if _is_up(project):
        return status(project)
    with _alone(project):
        _start(project)
    return status(project)


def _is_up(project: Project) -> bool:
    """Whether everything answers, asked without Docker: a second `up` is to cost nothing."""
    known = local_cloud.read(project.state)
    if (
        known is None
        or known.instance != instance(project)
        or not virtualenv.is_current(project.root / virtualenv.NAME)
    ):
        return False
    machine = emulator.Emulator(local_cloud.folder(project.state))
    wanted = project.local
    addresses = (f"http://127.0.0.1:{wanted.port}", f"http://127.0.0.1:{wanted.site_port}")
    if (known.endpoint_url, known.site_url) != addresses or f":{wanted.database_port}/" not in known.database_url:
        return False
    settings_file = local_cloud.folder(project.state) / "emulator-settings.json"
    return (
        settings_file.exists()
        and machine.is_current(Settings.read(settings_file))
        and (machine.status(wanted.port) or {}).get("instance") == known.instance
        and _listens(wanted.database_port)
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Holds the instance's lock: of two at once, the second waits for the first."""
    with (local_cloud.folder(project.state) / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _start(project: Project) -> None:
    from lastgood.local import postgres

    name, folder = instance(project), local_cloud.folder(project.state)
    machine = emulator.Emulator(folder)
    private = account.passwords(folder)
    with contextlib.closing(engine.ensure()) as client:
        python = virtualenv.ensure(project.root)
        machine.stop()
        _remove_containers(client, name)
        _check_ports(project, client)
        gateway = _network(client, name)
        image = postgres.image(client, project)
        server = postgres.Server(client, f"lastgood-{name}", name)
        with step("PostgreSQL") as progress:
            container = server.start(image, f"lastgood-{name}", project.local.database_port)
            server.prepare(container, project.name, private["database"])
            progress.note(f"127.0.0.1:{project.local.database_port}")
    settings = Settings(
        instance=name,
        stack=project.environments["local"].stack,
        network=f"lastgood-{name}",
        gateway=gateway,
        port=project.local.port,
        site_port=project.local.site_port,
        folder=str(folder),
    )
    with step("Emulator") as progress:
        machine.start(python, settings)
        _remember(project, name, private)
        progress.note(f"127.0.0.1:{settings.port}, the site on 127.0.0.1:{settings.site_port}")
    _await_services(machine, settings.port)


def _remember(project: Project, name: str, private: dict[str, str]) -> None:
    endpoint = f"http://127.0.0.1:{project.local.port}"
    user = f"{project.name}:{private['database']}"
    values = {"database-url": f"postgresql://{user}@postgres:5432/{project.name}", "secret-key": private["secret_key"]}
    cloud = LocalCloud(
        endpoint_url=endpoint,
        registry=f"localhost:{project.local.port}",
        site_url=f"http://127.0.0.1:{project.local.site_port}",
        region=REGION,
        account=ACCOUNT,
        database_url=f"postgresql://{user}@127.0.0.1:{project.local.database_port}/{project.name}",
        network=f"lastgood-{name}",
        instance=name,
        parameters=account.prepare(endpoint, project.name, values),
    )
    local_cloud.write(project.state, cloud)


def _await_services(machine: emulator.Emulator, port: int) -> None:
    """Waits until what was deployed before the last `down` answers again, and says so where it does not."""

    def waiting() -> list[str]:
        services = (machine.status(port) or {}).get("services", [])
        return [service["name"] for service in services if not service["stable"]]

    names = waiting()
    if not names:
        return
    with step("Deployed services") as progress:
        end = time.monotonic() + SERVICES_DEADLINE
        while names and time.monotonic() < end:
            time.sleep(0.1)
            names = waiting()
        progress.note("answer again" if not names else f"{', '.join(names)} do not answer: run `lastgood status`")


def _network(client: Any, name: str) -> str:
    """The host's address on the instance's network, which is made where it is missing."""
    from docker.errors import NotFound

    full = f"lastgood-{name}"
    try:
        network = client.networks.get(full)
    except NotFound:
        network = client.networks.create(full, driver="bridge", check_duplicate=True, labels={LABEL: name})
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


def _check_ports(project: Project, client: Any) -> None:
    local = project.local
    wanted = (
        ports.Port(local.port, "the emulator", "port", "LASTGOOD_LOCAL_PORT"),
        ports.Port(local.site_port, "the site", "site_port", "LASTGOOD_SITE_PORT"),
        ports.Port(local.database_port, "PostgreSQL", "database_port", "LASTGOOD_DATABASE_PORT"),
    )

    def container(number: int) -> str | None:
        for one in client.containers.list():
            for published in one.ports.values():
                if any(entry["HostPort"] == str(number) for entry in published or ()):
                    return str(one.name)
        return None

    ports.check(wanted, container)


def _remove_containers(client: Any, name: str) -> None:
    from docker.errors import NotFound

    for one in client.containers.list(all=True, filters={"label": f"{LABEL}={name}"}):
        with contextlib.suppress(NotFound):
            one.stop(timeout=20)
            one.remove(force=True, v=True)


def down(project: Project) -> dict[str, Any]:
    """Stops the instance: emulator, workers and containers. What it knows stays, and so do the database's data."""
    with _alone(project):
        with step("Emulator down"):
            emulator.Emulator(local_cloud.folder(project.state)).stop()
        client = engine.connect()
        if client is not None:
            with step("Containers down"):
                _remove_containers(client, instance(project))
            client.close()
    return status(project)


def clean(project: Project) -> dict[str, Any]:
    """Removes the instance with its data: containers, volume, network, images of its registry, folder; and the images that compiled."""
    from docker.errors import APIError

    down(project)
    name, known = instance(project), local_cloud.read(project.state)
    client = engine.connect()
    removed: list[str] = []
    if client is not None:
        for volume in client.volumes.list(filters={"label": f"{LABEL}={name}"}):
            volume.remove(force=True)
            removed.append(volume.name)
        for network in client.networks.list(filters={"label": f"{LABEL}={name}"}):
            network.remove()
            removed.append(network.name)
        registry = known.registry if known else f"localhost:{project.local.port}"
        for image in client.images.list():
            references = [*image.tags, *image.attrs.get("RepoDigests", ())]
            for reference in references:
                if reference.startswith((f"{registry}/", "lastgood-postgres:", "lastgood-compiler:")):
                    with contextlib.suppress(APIError):  # another instance's container may still use it
                        client.images.remove(reference)
                        removed.append(reference)
        client.close()
    elif known is not None:
        raise UsageError("no Docker engine answers: start it, or the instance's volume, network and images stay")
    shutil.rmtree(local_cloud.folder(project.state), ignore_errors=True)
    say(f"removed {', '.join(removed) or 'nothing in Docker'}")
    return {"state": "clean", "removed": removed}


def status(project: Project) -> dict[str, Any]:
    """Where things are and whether they answer. Asks no Docker."""
    folder, known = local_cloud.folder(project.state), local_cloud.read(project.state)
    machine = emulator.Emulator(folder)
    if known is None:
        return {"state": "never up", "next": "lastgood local up"}
    answer = machine.status(project.local.port) if machine.pid() else None
    database = _listens(project.local.database_port)
    both = answer is not None and database
    found: dict[str, Any] = {
        "state": "up" if both else "down" if answer is None and not database else "half up",
        "endpoint": known.endpoint_url,
        "registry": known.registry,
        "site": known.site_url,
        "database": f"127.0.0.1:{project.local.database_port}/{project.name}",
        "database_url": f"in {folder / 'state.json'}",
        "log": str(machine.log),
        "instance": known.instance,
        "services": (answer or {}).get("services", []),
    }
    if not both:
        found["next"] = "lastgood local up"
    return found
