"""Real PostgreSQL, real project trees: every build is a folder of its own, every run a process of its own.

`Project.start` starts Python; `Project.run`, of which there are a thousand, forks one that has Django imported (launcher.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .fleet import PACKAGES, PYTHON, Fleet

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DEADLINE = 30  # seconds that a condition may take to come true

SETTINGS = """
import json, os
SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = {apps!r}
DATABASES = {{"default": json.loads(os.environ["TEST_DATABASE"])}}
"""

MIGRATION = """
from django.db import migrations, models

{code}

class Migration(migrations.Migration):
    {extra}
    dependencies = {dependencies!r}
    operations = [{operations}]
"""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true answer of `condition`; fail when there is none in time."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {DEADLINE} s")


@dataclass
class Run:
    """What a process said."""

    exit_status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        return json.loads(self.stdout.splitlines()[-1])

    @property
    def moved(self) -> tuple[int, str, list[str], list[str]]:
        """Exit status, status, undone and applied: what most tests ask."""
        return self.exit_status, self.result["status"], self.result["undone"], self.result["applied"]


class Launcher:
    """Runs `python -W error -m migrator` as a fork of a process that has Django imported."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "launcher")
        self.log = (folder / "log").open("w")
        path = os.pathsep.join(map(str, (REPOSITORY / "docker", *PACKAGES)))
        self.process = subprocess.Popen(
            [PYTHON, "-W", "error", HERE / "launcher.py", self.path],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", (folder / "log").read_text()

    def run(self, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> Run:
        request = {"folder": str(folder), "environment": environment, "arguments": arguments}
        with (
            tempfile.TemporaryFile("w+") as stdout,
            tempfile.TemporaryFile("w+") as stderr,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.settimeout(120)
            connection.connect(self.path)
            socket.send_fds(connection, [json.dumps(request).encode()], [stdout.fileno(), stderr.fileno()])
            exit_status = json.loads(connection.recv(100))["exit_status"]
            stdout.seek(0)
            stderr.seek(0)
            return Run(exit_status, stdout.read(), stderr.read())

    def stop(self) -> None:
        self.process.communicate(timeout=30)  # without its standard input it ends
        self.log.close()


@dataclass
class Project:
    """A build: a Django project in a folder, and how its image would be called."""

    folder: Path
    build: str
    launcher: Launcher
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [PYTHON, "-W", "error", "-m", "migrator", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._own(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> Run:
        if not any(name.startswith("PYTHON") for name in environment):
            return self.launcher.run(self.folder, self._own(environment), arguments)
        # Only Python's own start reads these.
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=120)
        return Run(process.returncode, stdout, stderr)

    def _own(self, environment: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in {**self.environment, **environment}.items() if value}


@dataclass
class Database:
    """A database of a test's own: what Django needs to reach it, and for PostgreSQL a connection to look at it."""

    django: dict[str, Any]
    connection: psycopg.Connection[Any] | None = None
    info: str = ""

    def rows(self, statement: str) -> list[Any]:
        assert self.connection
        return self.connection.execute(statement).fetchall()

    def applied(self, *apps: str) -> list[str]:
        if not self.rows("SELECT 1 FROM pg_tables WHERE tablename = 'django_migrations'"):
            return []
        rows = self.rows("SELECT app, name FROM django_migrations ORDER BY id")
        return [f"{app}.{name}" for app, name in rows if app in (apps or ("shop", "billing"))]

    def schema(self) -> set[str]:
        """Return columns, constraints and indexes, all but those of our own tables and of django_migrations."""
        found = self.rows(
            "SELECT c.relname, a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped"
            " AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
            " UNION SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " UNION SELECT tablename, indexname || ' ' || indexdef FROM pg_indexes WHERE schemaname = 'public'"
        )
        return {f"{table}: {what}" for table, what in found if not table.startswith(("lastgood_", "django_migrations"))}

    def ledger(self) -> list[tuple[str, str, str]]:
        """Return direction, migration and build of our two apps, oldest first."""
        found = self.rows(
            "SELECT direction, app || '.' || name, build FROM lastgood_ledger"
            " WHERE app IN ('shop', 'billing') ORDER BY id"
        )
        return [tuple(row) for row in found]


class Server:
    """A PostgreSQL server; `info` is the address of its maintenance database."""

    def __init__(self, info: str) -> None:
        self.info = info

    def create(self) -> Database:
        name = f"lastgood_test_{uuid4().hex[:12]}"
        with psycopg.connect(self.info, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        address = conninfo_to_dict(self.info, dbname=name)
        connection = psycopg.connect(**address, application_name="the test", autocommit=True)
        known = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
        django = {key: str(address[option]) for key, option in known.items() if option in address}
        settings = {"ENGINE": "django.db.backends.postgresql", "NAME": name, **django}
        return Database(settings, connection, make_conninfo(**address))

    def drop(self, database: Database) -> None:
        assert database.connection
        database.connection.close()
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.django["NAME"]))
        with psycopg.connect(self.info, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give the server of LASTGOOD_TEST_DATABASE_URL, else one of this machine's own, started for the tests."""
    if address := os.environ.get("LASTGOOD_TEST_DATABASE_URL"):
        yield Server(address)
        return
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="lastgood-pg-"))
    # PostgreSQL refuses to run as root.
    other: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        shutil.chown(folder, "nobody", "nogroup")
    data, log = folder / "data", folder / "log"
    options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"]
    initdb = [programs / "initdb", "--pgdata", data, *options]
    subprocess.run(initdb, check=True, cwd=folder, stdout=subprocess.DEVNULL, **other)
    settings = ["fsync=off", "listen_addresses=", f"unix_socket_directories={folder}"]
    command = [programs / "postgres", "-D", data, *(word for setting in settings for word in ("-c", setting))]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, **other)
    try:
        wait_for(lambda: _answers(f"host={folder} user=postgres dbname=postgres"), f"PostgreSQL ({log.read_text()})")
        yield Server(f"host={folder} user=postgres dbname=postgres")
    finally:
        process.send_signal(signal.SIGINT)  # "fast shutdown"
        process.wait(timeout=DEADLINE)
        shutil.rmtree(folder)


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "postgres").exists():
        pytest.fail(
            "these tests need PostgreSQL: set LASTGOOD_TEST_DATABASE_URL to a server where databases may be created, "
            "or install one (Debian: apt-get install postgresql)"
        )
    return folders[-1]


def _answers(info: str) -> bool:
    try:
        psycopg.connect(info).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    database = server.create()
    yield database
    server.drop(database)


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    return Database({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")})


Make = Callable[..., Project]


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.stop()


@pytest.fixture
def make(tmp_path: Path, launcher: Launcher) -> Make:
    """Give a function that writes a build: make(database, "v1", {"shop": {"0001_initial": "…"}})."""

    def write(database: Database | None, build: str, apps: dict[str, dict[str, str]], **names: Any) -> Project:
        folder = tmp_path / names.get("folder", build)
        installed = ["django.contrib.contenttypes", "django.contrib.auth", *apps]
        folder.mkdir()
        (folder / "settings.py").write_text(SETTINGS.format(apps=installed))
        for app, migrations in apps.items():
            package = folder / app / "migrations"
            package.mkdir(parents=True)
            for path in (folder / app / "__init__.py", folder / app / "models.py", package / "__init__.py"):
                path.write_text("")
            for name, text in migrations.items():
                (package / f"{name}.py").write_text(text)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(map(str, (folder, REPOSITORY / "docker", *PACKAGES))),
            "DJANGO_SETTINGS_MODULE": "settings",
            "TEST_DATABASE": json.dumps(database.django) if database else "{}",
            "LASTGOOD_BUILD": build,
            "LASTGOOD_DIGEST": f"sha256:{build}",
            "LASTGOOD_COMMIT": f"commit-{build}",
            "LASTGOOD_ACTOR": "tests",
        }
        return Project(folder, build, launcher, environment)

    return write


Write = Callable[..., str]


@pytest.fixture
def migration() -> Write:
    """Give a function that writes a migration file."""

    def write(operations: str, *dependencies: tuple[str, str], code: str = "", extra: str = "") -> str:
        return MIGRATION.format(operations=operations, dependencies=[*dependencies], code=code, extra=extra)

    return write


@pytest.fixture
def history(migration: Write) -> dict[str, dict[str, dict[str, str]]]:
    """Give the apps of builds v1 to v4: each adds to the one before; the migration of v4 fails half way."""
    field = "migrations.AddField('item', {!r}, models.{}),"
    item = (
        "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True)), ('name', models.TextField())])"
    )
    invoice = (
        "migrations.CreateModel('Invoice', [('id', models.BigAutoField(primary_key=True)),"
        " ('item', models.ForeignKey('shop.item', models.CASCADE))])"
    )
    fill = (
        "def fill(apps, editor):\n"
        "    for item in apps.get_model('shop', 'Item').objects.all():\n"
        "        item.slug = item.name.lower()\n"
        "        item.save()\n"
    )
    first = {"0001_initial": migration(item)}
    price = field.format("price", "IntegerField(default=0)")
    second = {**first, "0002_price": migration(price, ("shop", "0001_initial"))}
    slug = field.format("slug", "TextField(default='')") + "migrations.RunPython(fill, migrations.RunPython.noop)"
    third = {**second, "0003_slug": migration(slug, ("shop", "0002_price"), code=fill)}
    colour = field.format("colour", "TextField(default='')")
    size = field.format("size", "IntegerField(default=0)") + "migrations.RunSQL('SELECT 1/0', '')"
    fourth = {
        **third,
        "0004_colour": migration(colour, ("shop", "0003_slug")),
        "0005_size": migration(size, ("shop", "0004_colour")),
    }
    billing = {"0001_initial": migration(invoice, ("shop", "0002_price"))}
    return {
        "v1": {"shop": first},
        "v2": {"shop": second, "billing": billing},
        "v3": {"shop": third, "billing": billing},
        "v4": {"shop": fourth, "billing": billing},
    }


@pytest.fixture
def builds(
    database: Database, make: Make, history: dict[str, dict[str, dict[str, str]]]
) -> tuple[Project, Project, Project, Project]:
    """Give the four builds of `history`, over one PostgreSQL database."""
    v1, v2, v3, v4 = (make(database, name, apps) for name, apps in history.items())
    return v1, v2, v3, v4


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[[Callable[[], Any], str], Any]:
    return wait_for


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give the server that forks a worker for each build."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Database]:
    """Give a database for many examples, each of which empties it first."""
    database = server.create()
    yield database
    server.drop(database)
