"""`[tool.lastgood]`: one class a table, one field a key, with its type, its default and the sentence that documents it.

`make docs` writes docs/configuration.md and docs/lastgood.schema.json from here. A field's examples are as the file has them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, field

from lastgood.config.kinds import (
    Address,
    Attestations,
    Command,
    Compression,
    Count,
    Cpu,
    Days,
    DistributionName,
    EnvironmentName,
    FileBelow,
    ManagedFolder,
    Memory,
    Module,
    Name,
    PagePath,
    Part,
    PartName,
    Platform,
    Port,
    Schedule,
    SecretPlace,
    Size,
    Sources,
    StackName,
    Static,
    StopTimeout,
    Tasks,
    Text,
    VariableName,
)
from lastgood.config.near import nearest
from lastgood.config.sizes import unfit
from lastgood.errors import UsageError

# Marks a field that is no key of the file: the reader gives it. Tables by name, as the environments, have their `name` so.
GIVEN = Meta(extra={"given": True})


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. One whose `short` names one of its keys may be written as that key's value alone."""

    short: ClassVar[str | None] = None
    called: ClassVar[str] = "a table"
    # Where a reader finds what belongs into a required key.
    page: ClassVar[str] = "docs/configuration.md"

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON can hold it, by the names that the file has."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What does not go together: (table below this one, as `.inner`, or empty; key; sentence)."""
        yield from ()


class Budget(Table, frozen=True):
    """What the image may weigh, compressed; the scan refuses more. A size alone, as `budget = "40 MB"`, is its `total`."""

    short = "total"
    called = "a size or a table"

    total: Annotated[Size, Meta(description="The whole image.", examples=["40 MB"])] = 60_000_000
    growth: Annotated[Size | None, Meta(description="What it may weigh more than last good.", examples=["1 MB"])] = None
    files: Annotated[Count | None, Meta(description="How many files it may have.", examples=[5000])] = None
    distributions: Annotated[
        Mapping[DistributionName, Size],
        Meta(description="What single Python distributions may weigh, by name.", examples=[{"botocore": "2 MB"}]),
    ] = field(default_factory=dict)


class ImageSettings(Table, frozen=True, rename="kebab"):
    """What the image is made of; docs/image.md tells what is left out, and why."""

    compression: Annotated[
        Compression,
        Meta(description="How its layers are compressed; `gzip` is for engines before Docker 23.", examples=["gzip"]),
    ] = "zstd"
    sources: Annotated[
        Sources,
        Meta(
            description="Whose `.py` files are in it beside the byte-code: the application's, or those of its dependencies, too.",
            examples=["all"],
        ),
    ] = "app"
    static: Annotated[
        Static | None,
        Meta(
            description="Which static files of installed packages are in it: `all`, or `collected`, only where collectstatic has put "
            "them. Without it, `collected` for Django's own where the settings allow it.",
            examples=["collected"],
        ),
    ] = None
    mirror: Annotated[
        str | None,
        Meta(
            description="The Debian mirror that packages come from. Without it LASTGOOD_DEBIAN_MIRROR, else the machine's own.",
            examples=["https://mirror.example.org/debian"],
        ),
    ] = None
    snapshot: Annotated[
        str | None,
        Meta(
            description="A dated archive of Debian packages, for those that the mirror has no longer. Without it LASTGOOD_DEBIAN_SNAPSHOT.",
            examples=["https://archive.example.org/debian"],
        ),
    ] = None
    dockerfile: Annotated[
        str | None,
        Meta(
            description="Your own Dockerfile, which an engine builds then; by its path beside pyproject.toml.",
            examples=["Dockerfile"],
        ),
    ] = None
    platforms: Annotated[
        tuple[Platform, ...],
        Meta(
            description="What it runs on. With two, there is one index for both; nothing is emulated.",
            min_length=1,
            examples=[["linux/amd64", "linux/arm64"]],
        ),
    ] = ("linux/amd64",)
    packages: Annotated[
        tuple[str, ...], Meta(description="Debian packages that the application needs.", examples=[["libpq5"]])
    ] = ()
    build_packages: Annotated[
        tuple[str, ...],
        Meta(
            description="Debian packages that compiling a requirement needs; never in the image.",
            examples=[["libpq-dev"]],
        ),
    ] = ()
    aws_services: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="The AWS services whose data is kept. Without it, those that are found in your sources.",
            examples=[["s3", "sqs"]],
        ),
    ] = None
    languages: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="The languages whose translations are kept. Without it, those of your settings.",
            examples=[["en", "de"]],
        ),
    ] = None
    exclude: Annotated[
        tuple[str, ...],
        Meta(
            description="Patterns of paths below the application's folder that are not in it, beside tests and files of CI.",
            examples=[["docs", "*.psd", "assets/raw/*"]],
        ),
    ] = ()
    keep: Annotated[
        tuple[str, ...],
        Meta(
            description="Patterns of paths that are never left out, of dependencies or of the application.",
            examples=[["somepackage/templates/*"]],
        ),
    ] = ()
    before_static: Annotated[
        tuple[str, ...],
        Meta(
            description="Commands that run before static files are collected, by a shell of this machine, in a copy of the repository; "
            "`python` is the image's.",
            examples=[["npm ci && npm run build"]],
        ),
    ] = ()
    before_static_makes: Annotated[
        tuple[FileBelow, ...],
        Meta(
            description="What they make, files or folders below the application's folder, by their paths beside pyproject.toml; git may "
            "ignore them.",
            examples=[["assets/dist"]],
        ),
    ] = ()
    without: Annotated[
        tuple[Part, ...],
        Meta(description="Parts of Python that the project has no use for.", examples=[["sqlite3", "cjk-codecs"]]),
    ] = ()
    accept: Annotated[
        tuple[str, ...],
        Meta(
            description="Findings of the scan that are known and accepted, as “rule: subject”, or “rule: pattern of subjects”.",
            examples=[["second-openssl: psycopg-binary"]],
        ),
    ] = ()
    budget: Annotated[Budget, Meta(description="What it may weigh: a size, or a table.", examples=["40 MB"])] = Budget()
    environment: Annotated[
        Mapping[str, str],
        Meta(
            description="Variables that the settings need to be imported while static files and the manifest are made; nothing of "
            "them is in the image.",
            examples=[{"SECRET_KEY": "only-while-the-image-is-built"}],
        ),
    ] = field(default_factory=dict)


class LockSettings(Table, frozen=True):
    """What the lock of Python packages is made from, and how."""

    source: Annotated[
        FileBelow,
        Meta(
            description="What the image needs: a requirements file, `pyproject.toml` ([project]), or the lock of another tool beside it, "
            "`uv.lock`, `poetry.lock` or `Pipfile.lock`, whose versions are then the image's.",
            examples=["uv.lock"],
        ),
    ] = "requirements.in"
    file: Annotated[
        FileBelow,
        Meta(
            description="The lock's own name. A file that lastgood did not write is never overwritten.",
            examples=["requirements.lock.txt"],
        ),
    ] = "requirements.txt"
    extras: Annotated[
        tuple[str, ...],
        Meta(description="Extras of the project that the image needs, too.", examples=[["aws", "sentry"]]),
    ] = ()
    groups: Annotated[
        tuple[str, ...],
        Meta(description="Dependency groups that the image needs, too.", examples=[["production"]]),
    ] = ()
    also: Annotated[
        tuple[str, ...],
        Meta(
            description="Requirements that the image needs and the source does not name, as the server's.",
            examples=[["gunicorn"]],
        ),
    ] = ()

    cooldown: Annotated[
        Days, Meta(description="How many days ago a file must have been uploaded to be taken.", examples=[7])
    ] = 0


class LocalSettings(Table, frozen=True):
    """The ports of the one-machine cloud. A variable of the environment, where it is set, comes before the file."""

    port: Annotated[
        Port, Meta(description="The emulator's.", examples=[4600], extra={"variable": "LASTGOOD_LOCAL_PORT"})
    ] = 4566
    site_port: Annotated[
        Port, Meta(description="The application's.", examples=[8600], extra={"variable": "LASTGOOD_SITE_PORT"})
    ] = 8000
    database_port: Annotated[
        Port, Meta(description="PostgreSQL's.", examples=[54600], extra={"variable": "LASTGOOD_DATABASE_PORT"})
    ] = 54320


WEB = "web"
# Names that are ours in the stack.
_OURS = {"release": "that is the release task's name", "job": "jobs are called so"}


class Process(Table, frozen=True, rename="kebab"):
    """Something of the build that runs all the time. `web` is always there, behind the load balancer; all others only by this table."""

    name: Annotated[str, GIVEN]
    command: Annotated[
        Command | None,
        Meta(
            description="What it runs, by the image's Python and without a shell: a module or a script with its arguments, as text or as a "
            "list. Without it, of `web`, what the image says.",
            examples=["celery -A shop worker", ["manage.py", "consume"]],
        ),
    ] = None
    port: Annotated[
        Port | None,
        Meta(description="Of `web`: where it listens; it gets it as PORT. Without it, 8000.", examples=[8080]),
    ] = None
    count: Annotated[
        Tasks | None,
        Meta(
            description="How many tasks. Without it, one; of `web`, as many as the parameter DesiredCount says.",
            examples=[2],
        ),
    ] = None
    cpu: Annotated[
        Cpu | None,
        Meta(
            description="CPU units of one task; 1024 are one processor. Without it, the parameter Cpu, or what `memory` asks for.",
            examples=[512],
        ),
    ] = None
    memory: Annotated[
        Memory | None,
        Meta(
            description="Memory of one task in MiB. Without it, the parameter Memory, or the least that goes with `cpu`.",
            examples=[1024],
        ),
    ] = None
    stop_timeout: Annotated[
        StopTimeout,
        Meta(description="Seconds from SIGTERM to SIGKILL, to finish what is begun.", examples=[120]),
    ] = 30
    single: Annotated[
        bool,
        Meta(
            description="Never two at a time, as for a scheduler: the old one is stopped before the new one starts.",
            examples=[True],
        ),
    ] = False
    health: Annotated[
        PagePath | None,
        Meta(
            description="Of `web`: the path that the load balancer asks. Without it, the parameter HealthCheckPath.",
            examples=["/livez"],
        ),
    ] = None
    smoke: Annotated[
        tuple[PagePath, ...] | None,
        Meta(
            description="Of `web`: the pages that must answer, in place of the project's `smoke`. A rollback asks for those of the release "
            "that it goes back to.",
            examples=[["/", "/login/"]],
        ),
    ] = None

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What does not go together."""
        if self.name in _OURS:
            yield "", "command", f"a process can't be called {self.name!r}: {_OURS[self.name]}"
        if self.name == WEB and self.count == 0:
            yield "", "count", "is 0: nobody would answer visitors, nor the smoke test"
        if self.name == WEB and self.single:
            yield "", "single", "web is replaced while it serves; only what visitors never ask can be single"
        if self.name != WEB and self.command is None:
            yield "", "command", "is not there: only web has one by the image; add what it runs"
        for key in ("port", "health", "smoke") if self.name != WEB else ():
            if getattr(self, key) is not None:
                yield "", key, "only web has one: nobody asks other processes anything"
        if self.single and (self.count or 0) > 1:
            yield "", "count", f"is {self.count}, and single means never two at a time: take one of the two away"
        yield from unfit(self.cpu, self.memory)


class Job(Table, frozen=True):
    """A command of the build that runs on a schedule, or when asked (`lastgood job run NAME`). It follows the release."""

    name: Annotated[str, GIVEN]
    command: Annotated[
        Command,
        Meta(
            description="What it runs, as a process's command.",
            examples=["python manage.py clearsessions", ["manage.py", "report", "--all"]],
        ),
    ]
    schedule: Annotated[
        Schedule | None,
        Meta(
            description="When, in UTC, as EventBridge writes it. Without it, only when asked.",
            examples=["cron(0 3 * * ? *)", "rate(1 hour)"],
        ),
    ] = None
    cpu: Annotated[Cpu | None, Meta(description="As a process's.", examples=[512])] = None
    memory: Annotated[Memory | None, Meta(description="As a process's.", examples=[1024])] = None

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What does not go together."""
        yield from unfit(self.cpu, self.memory)


class Override(Table, frozen=True):
    """What of a process is otherwise in this environment."""

    name: Annotated[str, GIVEN]
    count: Annotated[Tasks | None, Meta(description="How many tasks.", examples=[4])] = None
    cpu: Annotated[Cpu | None, Meta(description="CPU units of one task.", examples=[1024])] = None
    memory: Annotated[Memory | None, Meta(description="Memory of one task in MiB.", examples=[2048])] = None


class Shape(msgspec.Struct, frozen=True):
    """What an environment's stack is made of beside the load balancer and the release task: it is rendered into service.yml.

    A shape that says nothing leaves service.yml as it is: one web process.
    """

    processes: tuple[Process, ...] = ()
    jobs: tuple[Job, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def smoke(self) -> tuple[str, ...] | None:
        """The pages that web declares; None where it declares none."""
        return next((one.smoke for one in self.processes if one.name == WEB), None)

    def text(self) -> str:
        """As the release record keeps it; empty for one that says nothing."""
        return "" if self == Shape() else msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, text: str) -> "Shape":
        """From the release record."""
        return msgspec.json.decode(text, type=cls) if text else cls()


_VARIABLES = (
    "Variables of every task; {database.host}, {database.port}, {database.name}, {site.url} and {site.host} stand for "
    "what the stack knows."
)
_SECRETS = "Secrets of every task by the variable that they come as: places, never values."
_TWICE = "is a secret, too: a task takes a name once"
_PLACES = [{"STRIPE_KEY": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/stripe-AbCdEf:key::"}]


class Environment(Table, frozen=True):
    """One stack, by the environment's name: 2 to 40 lower-case letters, digits and single hyphens. `local` is always there."""

    name: Annotated[str, GIVEN]
    # Empty only until the project's name is known, which the stack's is made from.
    stack: Annotated[
        StackName, Meta(description="The stack's name. Without it, PROJECT-ENVIRONMENT.", examples=["shop-live"])
    ] = ""
    region: Annotated[
        str | None,
        Meta(description="The AWS region. Without it, that of the session's credentials.", examples=["eu-central-1"]),
    ] = None
    url: Annotated[
        Address | None,
        Meta(
            description="Where the smoke test asks. Without it, where the stack's output says.",
            examples=["https://shop.example"],
        ),
    ] = None
    parameters: Annotated[
        Mapping[str, str],
        Meta(
            description="Parameters of the stack (`ci/cloudformation/service.yml`).",
            examples=[{"VpcId": "vpc-0a1b2c3d"}],
        ),
    ] = field(default_factory=dict)
    # The pages that a deploy asks for: those of web, else the project's own.
    smoke: Annotated[tuple[str, ...] | None, GIVEN] = None
    attestations: Annotated[
        Attestations,
        Meta(
            description="Whether a deploy asks who has signed for a build and its scan. `none` is for builds that no workflow of the "
            "bundle pushes, and holds once an administrator has run `lastgood bootstrap` with it; `local` asks nobody.",
            examples=["none"],
        ),
    ] = "required"
    processes: Mapping[PartName, Override] = field(default_factory=dict)
    variables: Annotated[
        Mapping[VariableName, Text],
        Meta(
            description="Variables that are otherwise here, or only here.", examples=[{"EMAIL_HOST": "mail.internal"}]
        ),
    ] = field(default_factory=dict)
    secrets: Annotated[
        Mapping[VariableName, SecretPlace],
        Meta(description=_SECRETS, examples=_PLACES),
    ] = field(default_factory=dict)
    # What all tables together make of it.
    shape: Annotated[Shape, GIVEN] = Shape()


def overridden(process: Process, override: Override | None) -> Process:
    """A process as an environment has it."""
    if override is None:
        return process
    said = {key: getattr(override, key) for key in ("count", "cpu", "memory")}
    return msgspec.structs.replace(process, **{key: value for key, value in said.items() if value is not None})


class Project(Table, frozen=True):
    """A Django project that lastgood ships."""

    page = "README, “adopt it”"

    root: Annotated[Path, GIVEN]
    name: Annotated[Name, Meta(description="Names the registry's repository and the stacks.", examples=["shop"])] = (
        field(name="project")
    )
    app: Annotated[
        ManagedFolder, Meta(description="The folder that holds manage.py.", examples=["src"], extra={"default": "."})
    ]
    settings: Annotated[Module, Meta(description="The settings' module.", examples=["shop.settings"])]
    smoke: Annotated[
        tuple[PagePath, ...] | None,
        Meta(
            description="Pages that must answer with less than 400, with the static files that they refer to, before a deploy is good. "
            "Without it `/`, with less than 500.",
            examples=[["/", "/accounts/login/"]],
        ),
    ] = None
    image: ImageSettings = ImageSettings()
    lock: LockSettings = LockSettings()
    local: LocalSettings = LocalSettings()
    processes: Mapping[PartName, Process] = field(default_factory=dict)
    jobs: Mapping[PartName, Job] = field(default_factory=dict)
    variables: Annotated[
        Mapping[VariableName, Text],
        Meta(description=_VARIABLES, examples=[{"EMAIL_HOST": "mail.example.org", "DB_HOST": "{database.host}"}]),
    ] = field(default_factory=dict)
    secrets: Annotated[
        Mapping[VariableName, SecretPlace],
        Meta(description=_SECRETS, examples=[{"DB_PASSWORD": "{database.password}"}]),
    ] = field(default_factory=dict)
    environments: Mapping[EnvironmentName, Environment] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """`.lastgood` beside pyproject.toml (or LASTGOOD_STATE): what commands leave for one another. Created when asked for.

        It ignores itself: else git would call it a change that is not committed, and nothing could be built a second time.
        """
        folder = Path(os.environ.get("LASTGOOD_STATE") or self.root / ".lastgood").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        ignored = folder / ".gitignore"
        if folder.name == ".lastgood" and not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
        return folder

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What the tables of environments say of others that are not there, or not so."""
        processes = {WEB: Process(WEB)} | dict(self.processes)
        for name, one in self.environments.items():
            inner = f".environments.{name}"
            for key, override in one.processes.items():
                if key not in processes:
                    yield f"{inner}.processes", key, f"there is no such process{nearest(key, processes)}"
                    continue
                found = overridden(processes[key], override)
                for _, field_, text in found.problems():
                    yield f"{inner}.processes.{key}", field_, text
            for key in one.variables.keys() & one.secrets.keys():
                yield f"{inner}.variables", key, _TWICE
        for key in self.variables.keys() & self.secrets.keys():
            yield ".variables", key, _TWICE

    def environment(self, name: str) -> Environment:
        """The environment of that name. Raises UsageError naming the nearest one that is declared."""
        if name not in self.environments:
            declared = ", ".join(self.environments)
            raise UsageError(
                f"there is no environment {name!r}{nearest(name, self.environments)}: pyproject.toml declares "
                f"{declared or 'none'}; add [tool.lastgood.environments.{name}] to make it one"
            )
        return self.environments[name]
