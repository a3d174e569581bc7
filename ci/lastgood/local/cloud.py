"""The one-machine cloud of a project: emulator, PostgreSQL and site front, brought up and down together."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

from lastgood.aws import local_cloud
from lastgood.aws.local_cloud import LocalCloud
from lastgood.config.project import ImageSettings, LocalSettings, Project
from lastgood.errors import UsageError
from lastgood.local import account, emulator, engine, ports, virtualenv
from lastgood.local.adapters.settings import ACCOUNT, REGION, Settings
from lastgood.local.engine import LABEL
from lastgood.local.instance import Instance
from lastgood.report.terminal import say, step

SERVICES_DEADLINE = 60.0  # seconds for what was deployed to answer again


def up(project: Project) -> dict[str, Any]:
    """Brings the instance up; does nothing where it is up already. Returns what `status` returns.

    Raises UsageError where Docker is missing, a port is taken or a part does not start.
    """
    instance = Instance.of(project)
    if not _is_up(instance):
        with _alone(instance):
            _start(instance, project.image)
    return status(project)


def _is_up(instance: Instance) -> bool:
    """Whether everything answers, asked without Docker: a second `up` is to cost nothing."""
    known, ports_ = local_cloud.read(instance.state), instance.ports
    if (
        known is None
        or known.instance != instance.name
        or not known.values
        or not virtualenv.is_current(instance.root / virtualenv.NAME)
        or (known.endpoint_url, known.site_url) != (instance.endpoint, instance.site)
        or f":{ports_.database_port}/" not in known.database_url
    ):
        return False
    machine = emulator.Emulator(instance.folder)
    return (
        machine.settings_file.exists()
        and machine.is_current(Settings.read(machine.settings_file))
        and (machine.status(ports_.port) or {}).get("instance") == known.instance
        and _listens(ports_.database_port)
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _alone(instance: Instance) -> Iterator[None]:
    """Holds the instance's lock: of two at once, the second waits for the first."""
    with (instance.folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _start(instance: Instance, images: ImageSettings) -> None:
    from lastgood.local import postgres, postgres_image

    machine = emulator.Emulator(instance.folder)
    private = account.passwords(instance.folder)
    with contextlib.closing(engine.ensure()) as client:
        python = virtualenv.ensure(instance.root)
        machine.stop()
        _remove_containers(client, instance)
        _check_ports(instance.ports, client)
        gateway = _network(client, instance)
        image = postgres_image.ensure(client, images)
        server = postgres.Server(client, instance.prefix, instance.name)
        with step("PostgreSQL") as progress:
            container = server.start(image, instance.prefix, instance.ports.database_port)
            server.prepare(container, instance.project, private["database"])
            progress.note(f"127.0.0.1:{instance.ports.database_port}")
    settings = Settings(
        instance=instance.name,
        stack=instance.stack,
        network=instance.prefix,
        gateway=gateway,
        port=instance.ports.port,
        site_port=instance.ports.site_port,
        folder=str(instance.folder),
    )
    with step("Emulator") as progress:
        machine.start(python, settings)
        _remember(instance, private)
        progress.note(f"127.0.0.1:{settings.port}, the site on 127.0.0.1:{settings.site_port}")
    _await_services(machine, settings.port)


def _remember(instance: Instance, private: dict[str, str]) -> None:
    database = instance.project
    user = f"{database}:{private['database']}"
    url = f"postgresql://{user}@postgres:5432/{database}"
    values = {
        "database-url": url,
        "migration-database-url": url,
        "secret-key": private["secret_key"],
        "database-user": database,
        "database-password": private["database"],
    }
    parameters, arns = account.prepare(instance.endpoint, instance.project, values)
    cloud = LocalCloud(
        endpoint_url=instance.endpoint,
        registry=instance.registry,
        site_url=instance.site,
        region=REGION,
        account=ACCOUNT,
        database_url=f"postgresql://{user}@127.0.0.1:{instance.ports.database_port}/{database}",
        network=instance.prefix,
        instance=instance.name,
        parameters=parameters,
        values={
            "database.host": "postgres",
            "database.port": "5432",
            "database.name": database,
            "database.url": arns["database-url"],
            "database.user": arns["database-user"],
            "database.password": arns["database-password"],
            "secret-key": arns["secret-key"],
            "site.url": instance.site,
            "site.host": "127.0.0.1",
        },
        secrets_file=str(instance.state / "secrets.toml"),
    )
    local_cloud.write(instance.state, cloud)


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


def _network(client: Any, instance: Instance) -> str:
    """The host's address on the instance's network, which is made where it is missing."""
    from docker.errors import NotFound

    labels = {LABEL: instance.name}
    try:
        network = client.networks.get(instance.prefix)
    except NotFound:
        network = client.networks.create(instance.prefix, driver="bridge", check_duplicate=True, labels=labels)
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


def _check_ports(local: LocalSettings, client: Any) -> None:
    wanted = (
        ports.Port(local.port, "the emulator", "port", "LASTGOOD_LOCAL_PORT"),
        ports.Port(local.site_port, "the site", "site_port", "LASTGOOD_SITE_PORT"),
        ports.Port(local.database_port, "PostgreSQL", "database_port", "LASTGOOD_DATABASE_PORT"),
    )

    def container(number: int) -> str | None:
        for one in client.containers.list(ignore_removed=True):
            for published in one.ports.values():
                if any(entry["HostPort"] == str(number) for entry in published or ()):
                    return str(one.name)
        return None

    ports.check(wanted, container)


def _remove_containers(client: Any, instance: Instance) -> None:
    from docker.errors import NotFound

    for one in client.containers.list(all=True, filters=_own(instance), ignore_removed=True):
        with contextlib.suppress(NotFound):
            one.stop(timeout=20)
            one.remove(force=True, v=True)


def down(project: Project) -> dict[str, Any]:
    """Stops the instance: emulator, workers and containers. What it knows stays, and so do the database's data."""
    instance = Instance.of(project)
    with _alone(instance):
        with step("Emulator down"):
            emulator.Emulator(instance.folder).stop()
        client = engine.connect()
        if client is not None:
            with step("Containers down"):
                _remove_containers(client, instance)
            client.close()
    return status(project)


def clean(project: Project) -> dict[str, Any]:
    """Removes the instance with its data: containers, volume, network, images of its registry, folder; and the images that compiled."""
    down(project)
    instance = Instance.of(project)
    known = local_cloud.read(instance.state)
    client = engine.connect()
    removed: list[str] = []
    if client is not None:
        removed = _remove_rest(client, instance, known.registry if known else instance.registry)
        client.close()
    elif known is not None:
        raise UsageError("no Docker engine answers: start it, or the instance's volume, network and images stay")
    shutil.rmtree(instance.folder, ignore_errors=True)
    say(f"removed {', '.join(removed) or 'nothing in Docker'}")
    return {"state": "clean", "removed": removed}


def _remove_rest(client: Any, instance: Instance, registry: str) -> list[str]:
    """Removes volume, network and images of an instance that is down; returns their names."""
    from docker.errors import APIError

    removed: list[str] = []
    for volume in client.volumes.list(filters=_own(instance)):
        volume.remove(force=True)
        removed.append(volume.name)
    for network in client.networks.list(filters=_own(instance)):
        network.remove()
        removed.append(network.name)
    # Not client.images: it asks for each again, and another process may have removed one by then.
    for image in client.api.images():
        for reference in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]:
            if reference.startswith((f"{registry}/", "lastgood-postgres:", "lastgood-compiler:", "lastgood-empty:")):
                with contextlib.suppress(APIError):  # another instance's container may still use it
                    client.images.remove(reference)
                    removed.append(reference)
    return removed


def _own(instance: Instance) -> dict[str, str]:
    """Docker's filter for what belongs to an instance."""
    return {"label": f"{LABEL}={instance.name}"}


def status(project: Project) -> dict[str, Any]:
    """Where things are and whether they answer. Asks no Docker."""
    instance = Instance.of(project)
    known = local_cloud.read(instance.state)
    machine = emulator.Emulator(instance.folder)
    if known is None:
        return {"state": "never up", "next": "lastgood local up"}
    answer = machine.status(instance.ports.port) if machine.pid() else None
    database = _listens(instance.ports.database_port)
    both = answer is not None and database
    found: dict[str, Any] = {
        "state": "up" if both else "down" if answer is None and not database else "half up",
        "endpoint": known.endpoint_url,
        "registry": known.registry,
        "site": known.site_url,
        "database": f"127.0.0.1:{instance.ports.database_port}/{instance.project}",
        "database_url": f"in {instance.folder / 'state.json'}",
        "log": str(machine.log),
        "instance": known.instance,
        "services": (answer or {}).get("services", []),
    }
    if not both:
        found["next"] = "lastgood local up"
    return found
