"""Instances of the one-machine cloud in folders of their own, on free ports, and an image small enough to deploy often."""

from __future__ import annotations

import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from fixtures import emulator
from fixtures.ports import free_ports
from lastgood import tar
from lastgood.aws import local_cloud
from lastgood.config import project as projects
from lastgood.config.project import Project
from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.image.runtime import Runtime
from lastgood.local import account, cloud
from lastgood.local import emulator as emulated
from lastgood.platform import native

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def make_project(root: Path) -> Project:
    """A project named `probe` in `root`, on free ports, sharing the repository's .venv-local."""
    (root / "app").mkdir(parents=True)
    (root / "app" / "manage.py").touch()
    port, site, database = free_ports(3)
    (root / "pyproject.toml").write_text(
        '[tool.lastgood]\nproject = "probe"\napp = "app"\nsettings = "probe.settings"\n'
        f"[tool.lastgood.local]\nport = {port}\nsite_port = {site}\ndatabase_port = {database}\n"
    )
    emulator.share(root)
    return projects.load(root)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = make_project(tmp_path / "project")
    yield made
    cloud.clean(made)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = make_project(tmp_path_factory.mktemp("site") / "project")
    try:
        cloud.up(made)
        yield Site(made, _image(made, tmp_path_factory.mktemp("image")))
    finally:
        cloud.clean(made)


def _image(project: Project, scratch: Path) -> str:
    """Pushes the image of server.py to the instance's registry; returns it by digest."""
    import docker

    known = local_cloud.read(project.state)
    assert known is not None
    account.client("ecr", known.endpoint_url).create_repository(repositoryName="probe")
    program = scratch / "program"
    program.mkdir()
    shutil.copy(HERE / "server.py", program)
    archive = scratch / "image.tar"
    tar.write([(Runtime(Stages(chosen.bundled())).root(native()), ""), (program, "srv")], archive)
    client = docker.DockerClient.from_env(timeout=120)
    with archive.open("rb") as file:
        client.api.import_image_from_data(
            iter(lambda: file.read(1 << 20), b""),
            repository=f"{known.registry}/probe",
            tag="one",
            changes=["USER 65532"],
        )
    client.images.push(f"{known.registry}/probe", tag="one")
    digest = client.images.get(f"{known.registry}/probe:one").attrs["RepoDigests"][0]
    client.images.remove(f"{known.registry}/probe:one", force=True)
    client.close()
    return str(digest)


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Waits for the condition to become true, and returns what it returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    return until


class Site:
    """An instance, and the way to deploy stack.yml to it."""

    stack = "probe-local"

    def __init__(self, project: Project, image: str) -> None:
        known = local_cloud.read(project.state)
        assert known is not None
        self.project, self.image, self.cloud = project, image, known
        self.client("ssm").put_parameter(Name="/password", Value="from-the-secret", Type="SecureString", Overwrite=True)

    def client(self, service: str) -> Any:
        return account.client(service, self.cloud.endpoint_url)

    def begin(self, kind: str = "update", **parameters: str) -> None:
        """Starts to create or update the stack."""
        values = {
            "Image": self.image,
            "VpcId": self.cloud.parameters["VpcId"],
            "Subnets": self.cloud.parameters["Subnets"],
        }
        call = getattr(self.client("cloudformation"), f"{kind}_stack")
        call(
            StackName=self.stack,
            TemplateBody=(HERE / "stack.yml").read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in (values | parameters).items()],
        )

    def deploy(self, kind: str = "update", **parameters: str) -> str:
        """Creates or updates the stack; returns the status it ends in."""
        self.begin(kind, **parameters)
        return self.end()

    def end(self) -> str:
        """Waits until the operation has ended; returns the stack's status."""
        return str(until(lambda: (found := self.status()) and not found.endswith("_IN_PROGRESS") and found, "the end"))

    def status(self) -> str:
        return str(self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]["StackStatus"])

    def told(self) -> str:
        """The stack's events and the emulator's last lines: why a test has failed."""
        events = self.client("cloudformation").describe_stack_events(StackName=self.stack)["StackEvents"]
        log = emulated.Emulator(local_cloud.folder(self.project.state)).log.read_text(
            encoding="utf-8", errors="replace"
        )
        lines = [
            f"{one['LogicalResourceId']} {one['ResourceStatus']} {one.get('ResourceStatusReason', '')}"
            for one in reversed(events)
        ]
        return "\n".join([*lines, *log.splitlines()[-60:]])

    def delete(self) -> None:
        """Deletes the stack and what the function has written down."""
        client, store = self.client("cloudformation"), self.client("ssm")
        if any(one["StackName"] == self.stack for one in client.describe_stacks()["Stacks"]):
            client.delete_stack(StackName=self.stack)
            until(
                lambda: all(one["StackName"] != self.stack for one in client.describe_stacks()["Stacks"]),
                "the deletion",
            )
        if self.history():
            store.delete_parameter(Name="/history")

    def history(self) -> list[str]:
        """The requests that the function got, in order."""
        store = self.client("ssm")
        found = store.get_parameters(Names=["/history"])["Parameters"]
        return found[0]["Value"].splitlines() if found else []

    def reason(self, logical_id: str, status: str) -> str:
        """The reason of a resource's newest event with that status."""
        events = self.client("cloudformation").describe_stack_events(StackName=self.stack)["StackEvents"]
        return str(
            next(
                one.get("ResourceStatusReason", "")
                for one in events
                if one["LogicalResourceId"] == logical_id and one["ResourceStatus"] == status
            )
        )

    def log(self, stream: str) -> list[str]:
        """The lines of a log stream; none where it does not exist yet."""
        logs = self.client("logs")
        try:
            events = logs.get_log_events(logGroupName=f"/{self.stack}", logStreamName=stream)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [str(event["message"]) for event in events]

    def visited(self) -> Visitor:
        """A visitor who asks all the time inside the `with`."""
        return Visitor(self)

    def ask(self) -> list[str]:
        """The lines of the site's answer."""
        with urllib.request.urlopen(self.cloud.site_url + "/hello", timeout=5) as answer:
            return str(answer.read().decode()).splitlines()


class Visitor:
    """Asks the site every 100 ms and keeps what it was told."""

    def __init__(self, site: Site) -> None:
        self.site, self.versions, self.failures = site, [], []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, _type: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            try:
                self.versions.append(self.site.ask()[0])
            except OSError as error:
                self.failures.append(repr(error))
