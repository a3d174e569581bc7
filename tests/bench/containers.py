"""Containers of the images under test, beside a real PostgreSQL: started and timed, asked, weighed, and always removed."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.local import postgres, postgres_image

from bench.projects import Subject
from bench.roots import LABEL

PORT = 8000  # that every image under test listens on
DEADLINE = 60.0  # seconds for the first answer
_ASKED = 0.002  # seconds between two attempts to get it


@dataclass(frozen=True)
class Image:
    """An image under test. `python` is what calls Python behind the image's own entry point."""

    name: str
    tag: str
    python: tuple[str, ...]


@dataclass(frozen=True)
class Watched:
    """How to run an image's command under a watcher: volumes, and (arguments, name) → (entry point, arguments)."""

    volumes: dict[str, dict[str, str]]
    command: Callable[[list[str], str], tuple[list[str], list[str]]]


class Place:
    """A network of its own with a PostgreSQL in it, where containers run as they would in production: read-only, /tmp in memory."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name
        self.labels = {LABEL: "1", "lastgood.instance": name}
        self.server = postgres.Server(client, f"lastgood-{name}", name)
        self.passwords: dict[str, str] = {}

    @contextmanager
    def open(self, project: Project) -> Iterator[Place]:
        """Starts the server; removes it, its data and the network at the end."""
        image = postgres_image.ensure(self.client, project.image)
        network = self.client.networks.create(f"lastgood-{self.name}", labels=self.labels)
        try:
            self.server.start(image, network.name, 0)
            yield self
        finally:
            self.server.forget()
            network.remove()

    def database(self, name: str) -> str:
        """The address of the database of that name, made with its role where it is missing."""
        if name not in self.passwords:
            self.passwords[name] = secrets.token_hex(16)
            self.server.prepare(self.server.find(), name, self.passwords[name])
        return f"postgresql://{name}:{self.passwords[name]}@{postgres.HOST}:5432/{name}"

    def migrate(self, subject: Subject, image: Image) -> None:
        """Brings the subject's database up to date, with a superuser of the subject's name and its database's password."""
        self.finish(subject, image, [*image.python, "manage.py", "migrate", "--noinput"])
        create = [
            "manage.py",
            "createsuperuser",
            "--noinput",
            "--username",
            subject.name,
            "--email",
            "bench@example.invalid",
        ]
        self.finish(subject, image, [*image.python, *create])

    def create(
        self, subject: Subject, image: Image, command: Sequence[str] | None = None, watched: Watched | None = None
    ) -> Any:
        """A container that is not started yet."""
        database = self.database(subject.name)
        settings = {"DATABASE_URL": database, "DJANGO_SUPERUSER_PASSWORD": self.passwords[subject.name]}
        options: dict[str, Any] = {"command": list(command) if command else None}
        if watched:
            found = self.client.images.get(image.tag).attrs["Config"]
            arguments = [*(found["Entrypoint"] or ()), *(command or found["Cmd"] or ())]
            entrypoint, rest = watched.command(arguments, "manage" if command else "serve")
            options = {"command": rest, "entrypoint": entrypoint, "volumes": watched.volumes, "cap_add": ["SYS_PTRACE"]}
        return self.client.containers.create(
            image.tag,
            labels=self.labels,
            network=f"lastgood-{self.name}",
            environment={**subject.environment, **settings},
            read_only=True,
            tmpfs={"/tmp": ""},
            **options,
        )

    @contextmanager
    def started(self, subject: Subject, image: Image, watched: Watched | None = None) -> Iterator[Any]:
        """A running container of the image's own command; removed at the end."""
        container = self.create(subject, image, watched=watched)
        try:
            container.start()
            container.reload()
            yield container
        finally:
            container.remove(force=True)

    def finish(self, subject: Subject, image: Image, command: Sequence[str], watched: Watched | None = None) -> float:
        """Runs `command` to its end; returns the seconds it took. Raises UsageError with its last lines when it fails."""
        begun = time.perf_counter()
        container = self.create(subject, image, command, watched)
        try:
            container.start()
            status = container.wait(timeout=600)["StatusCode"]
            took = time.perf_counter() - begun
            if status:
                lines = container.logs(tail=4).decode(errors="replace").strip().splitlines()
                raise UsageError(f"`{' '.join(command)}` in {image.tag} failed ({status}): {' / '.join(lines)}")
        finally:
            container.remove(force=True)
        return took


def address(container: Any) -> str:
    """The container's IP address, as it was when the container was last reloaded."""
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    return str(next(iter(networks))["IPAddress"])


def get(host: str, path: str) -> tuple[int, str, bytes]:
    """(status, content type, body)."""
    connection = http.client.HTTPConnection(host, PORT, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def first_answer(container: Any, path: str) -> None:
    """Waits until the container answers 200. Raises UsageError with its last log lines when it dies or never does."""
    host = address(container)
    end = time.monotonic() + DEADLINE
    status = 0
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _, _ = get(host, path)
            if status == 200:
                return
            if status:
                break
        time.sleep(_ASKED)
    lines = container.logs(tail=6).decode(errors="replace").strip().splitlines()
    raise UsageError(f"{container.image.tags} did not answer {path} ({status or 'nothing'}): {' / '.join(lines)}")


def requests(container: Any, paths: Sequence[str]) -> None:
    """Asks for each path once; raises UsageError for an answer that is no 200."""
    host = address(container)
    for path in paths:
        status, _, _ = get(host, path)
        if status != 200:
            raise UsageError(f"{container.image.tags} answered {status} to {path}: mend the bench's paths")


def static_of(container: Any, paths: Sequence[str]) -> list[str]:
    """The static files that the pages refer to."""
    found: dict[str, None] = {}
    for path in paths:
        _, kind, body = get(address(container), path)
        if kind.startswith("text/html"):
            found |= dict.fromkeys(re.findall(r'"(/static/[^"?]+)', body.decode()))
    return list(found)


def as_staff(container: Any, login: str, paths: Sequence[str], user: str, password: str) -> list[str]:
    """Logs in and asks for each path; returns the static files that the pages refer to. Raises UsageError for another answer than 200."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    base = f"http://{address(container)}:{PORT}"
    found: dict[str, None] = {}
    try:
        page = browser.open(f"{base}{login}", timeout=DEADLINE).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        fields = {"username": user, "password": password, "next": paths[0]}
        fields["csrfmiddlewaretoken"] = token.group(1) if token else ""
        browser.open(f"{base}{login}", urllib.parse.urlencode(fields).encode(), timeout=DEADLINE).close()
        for path in paths:
            with browser.open(f"{base}{path}", timeout=DEADLINE) as answer:
                if urllib.parse.urlsplit(answer.url).path == login:
                    raise UsageError(f"{container.image.tags} took no login at {login}: mend the bench's paths")
                found |= dict.fromkeys(re.findall(r'"(/static/[^"?]+)', answer.read().decode()))
    except urllib.error.HTTPError as error:
        error.close()
        raise UsageError(
            f"{container.image.tags} answered {error.code} to {error.url}: mend the bench's paths"
        ) from None
    return list(found)


def start(place: Place, subject: Subject, image: Image) -> tuple[float, dict[str, float]]:
    """(seconds from the creation of a container to its first answer, memory after it: rss and pss in bytes)."""
    begun = time.perf_counter()
    with place.started(subject, image) as container:
        first_answer(container, subject.paths[0])
        took = time.perf_counter() - begun
        settle(container)
        return took, memory(container)


def busy(place: Place, subject: Subject, image: Image, count: int) -> dict[str, float]:
    """Memory after `count` requests, spread over the subject's paths."""
    with place.started(subject, image) as container:
        first_answer(container, subject.paths[0])
        requests(container, [subject.paths[number % len(subject.paths)] for number in range(count)])
        settle(container)
        return memory(container)


def settle(container: Any) -> None:
    """Waits until its processes stay the same for half a second: the first answer comes before the last worker is forked."""
    before: list[Any] = []
    same = 0
    while same < 5:
        time.sleep(0.1)
        top = container.top()
        column = top["Titles"].index("PID")
        pids = sorted(process[column] for process in top["Processes"])
        same = same + 1 if pids == before else 0
        before = pids


def memory(container: Any) -> dict[str, float]:
    """rss and pss of all its processes together, in bytes (smaps_rollup; shared pages count once in pss)."""
    top = container.top()
    column = top["Titles"].index("PID")
    totals = {"rss": 0.0, "pss": 0.0}
    for process in top["Processes"]:
        text = Path(f"/proc/{process[column]}/smaps_rollup").read_text(encoding="utf-8")
        for kind in totals:
            match = re.search(rf"(?im)^{kind}:\s+(\d+) kB", text)
            totals[kind] += int(match.group(1)) * 1024 if match else 0
    return totals


def evict(client: Any, image: Image) -> None:
    """Drops the files of the image's layers from the page cache, as they are on a machine that has just pulled it.

    Raises UsageError where the layers' folders are not known (another storage driver than overlay2).
    """
    driver = client.images.get(image.tag).attrs["GraphDriver"]
    folders = [part for key in ("LowerDir", "UpperDir") for part in (driver["Data"] or {}).get(key, "").split(":")]
    if driver["Name"] != "overlay2" or not any(folders):
        raise UsageError(f"a cold start needs Docker's overlay2 storage, and this engine has {driver['Name']}")
    os.sync()  # a page that is not written yet can't be dropped
    for folder in filter(None, folders):
        for name, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(name, file)  # noqa: PTH118  some 10,000 times
                if os.path.islink(path) or not os.path.isfile(path):  # noqa: PTH113, PTH114
                    continue
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(handle)
