"""Builds that answer in milliseconds: project trees with a worker each (worker.py), and what a release function does with them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
import psycopg

from .histories import Tree

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
# What builds run on, and what they import before anything else: this Python with its Django, unless matrix.py says so.
PYTHON = os.environ.get("LASTGOOD_TEST_PYTHON", sys.executable)
PACKAGES = [Path(one) for one in os.environ.get("LASTGOOD_TEST_PACKAGES", "").split(os.pathsep) if one]
DJANGO = tuple(map(int, os.environ.get("LASTGOOD_TEST_DJANGO", "").split("."))) if PACKAGES else django.VERSION[:2]
FAILED = 5
OURS = ("lastgood_", "django_")

SETTINGS = """
import json, os
SECRET_KEY = "only for tests"
STATIC_URL = "/static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = {apps!r}
DATABASES = {{"default": json.loads(os.environ["TEST_DATABASE"])}}
"""

HELPERS = '''
def rows(app, model, mark):
    """Return the two directions of a data migration that puts a row."""

    def put(apps, editor):
        apps.get_model(app, model).objects.create(mark=mark)

    def take(apps, editor):
        apps.get_model(app, model).objects.filter(mark=mark).delete()

    return put, take


def nothing(apps, editor):
    pass
'''


@dataclass
class Answer:
    """What a worker said of a run; an exit status below zero is the signal that killed it."""

    exit_status: int
    stdout: str = ""
    stderr: str = ""
    statements: list[str] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout.splitlines()[-1]))


class Worker:
    """One build's process; a new one where the last was killed."""

    def __init__(self, fleet: Fleet, folder: Path, environment: Mapping[str, str]) -> None:
        self.fleet, self.folder, self.environment = fleet, folder, dict(environment)
        self.stream: Any = None
        self.socket: socket.socket | None = None

    def run(self, *arguments: str, fault: Mapping[str, Any] | None = None) -> Answer:
        answer = self.ask({"arguments": arguments, "fault": fault})
        if answer and answer["exit_status"] == FAILED:
            self.close()  # after a failure comes another process, as in a release
        return Answer(**answer) if answer else Answer(-signal.SIGKILL)

    def plain(self) -> list[str]:
        """Return what Django's own `migrate` of this build would still do."""
        answer = self.ask({"plain": True})
        assert answer, "Django itself fails on what we left"
        return list(answer["plan"])

    def use(self) -> list[str]:
        """Return what goes wrong for this build's code on the schema that is there."""
        answer = self.ask({"use": True})
        assert answer
        return list(answer["wrong"])

    def migrate(self, *arguments: str) -> Answer:
        """Run Django's own migrate."""
        answer = self.ask({"migrate": arguments})
        assert answer
        return Answer(**answer)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the worker's answer, None if it died."""
        self.send(request)
        return self.receive()

    def send(self, request: Mapping[str, Any]) -> None:
        if self.stream is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(self.fleet.path)
            self.stream = self.socket.makefile("rwb")
            self.write({"folder": str(self.folder), "environment": self.environment})
            hello = self.stream.readline()
            assert hello, "the worker did not start"
            self.pid = json.loads(hello)["pid"]
        self.write(request)

    def write(self, data: Mapping[str, Any]) -> None:
        self.stream.write(json.dumps(data).encode() + b"\n")
        self.stream.flush()

    def receive(self) -> dict[str, Any] | None:
        line = self.stream.readline()
        if not line:
            self.close()
            return None
        return dict(json.loads(line))

    def close(self) -> None:
        if self.socket:
            self.stream.close()
            self.socket.close()
        self.stream = self.socket = None


class Fleet:
    """The server that forks the workers."""

    def __init__(self, folder: Path, *libraries: Path) -> None:
        self.folder, self.path = folder, str(folder / "workers")
        self.workers: list[Worker] = []
        path = os.pathsep.join(map(str, (*libraries, *PACKAGES, HERE, REPOSITORY / "docker")))
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [PYTHON, str(HERE / "worker.py"), self.path],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", (folder / "log").read_text()

    def build(self, folder: Path, build: str, database: Mapping[str, Any]) -> Worker:
        """Return the worker of the project in `folder`."""
        environment = {
            "PYTHONPATH": f"{folder}:{REPOSITORY / 'docker'}",
            "DJANGO_SETTINGS_MODULE": "settings",
            "TEST_DATABASE": json.dumps(database),
            "LASTGOOD_BUILD": build,
            "LASTGOOD_DIGEST": f"sha256:{build}",
            "LASTGOOD_ACTOR": "tests",
        }
        worker = Worker(self, folder, environment)
        self.workers.append(worker)
        return worker

    def close_workers(self) -> None:
        while self.workers:
            self.workers.pop().close()

    def stop(self) -> None:
        self.close_workers()
        self.process.communicate(timeout=30)  # without its standard input it ends
        self.log.close()


def write(folder: Path, tree: Tree, *apps: str) -> None:
    """Write `tree` as a Django project; `apps` are installed, too."""
    folder.mkdir(parents=True)
    installed = ["django.contrib.contenttypes", *apps, *tree.apps]
    (folder / "settings.py").write_text(SETTINGS.format(apps=installed))
    (folder / "helpers.py").write_text(HELPERS)
    for app in tree.apps:
        package = folder / app / "migrations"
        package.mkdir(parents=True)
        for path in (folder / app / "__init__.py", folder / app / "models.py", package / "__init__.py"):
            path.touch()
    for file in tree.files.values():
        app, name = file.key.split(".")
        (folder / app / "migrations" / f"{name}.py").write_text(file.text)


@dataclass(frozen=True)
class Contents:
    """What is in a database: its schema without the order of columns, and the rows that migrations put."""

    schema: frozenset[str]
    rows: frozenset[tuple[str, str, int]]


SCHEMA = """
SELECT c.relname, 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' null ' || (NOT a.attnotnull)::text
    || ' default ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-') || ' identity ' || a.attidentity::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
UNION ALL SELECT conrelid::regclass::text, 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) || ' valid ' || convalidated::text
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid) || ' valid ' || i.indisvalid::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace
"""


# Names that Django or PostgreSQL made of the table's name at the time, which may have been another.
MADE_UP = re.compile(r"\b\w+_(pkey|key|check|[0-9a-f]{8}(_\w+)?)\b")


def contents(connection: psycopg.Connection[Any]) -> Contents:
    """Return what migrations made of the database, our own tables and Django's aside."""
    found = [(table, what) for table, what in connection.execute(SCHEMA) if not table.startswith(OURS)]
    rows: dict[tuple[str, str], int] = {}
    for table in sorted({table for table, _ in found}):
        for (row,) in connection.execute(f"SELECT to_jsonb(t) - 'id' FROM \"{table}\" t"):
            if row.get("mark") != "user":
                key = (table, json.dumps(row, sort_keys=True))
                rows[key] = rows.get(key, 0) + 1
    schema = frozenset(f"{table}: {MADE_UP.sub('made up', what)}" for table, what in found)
    return Contents(schema, frozenset((*k, n) for k, n in rows.items()))


def add_users_rows(connection: psycopg.Connection[Any]) -> int:
    """Put a row of a user's into each table that has none; return how many tables have one."""
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind, nullable, default in connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    ):
        if column == "mark":
            columns.setdefault(table, {})[column] = "'user'"
        elif column != "id" and nullable == "NO" and default is None and not table.startswith(OURS):
            columns.setdefault(table, {})[column] = "''" if kind == "text" else "0"
    for table, values in columns.items():
        names, texts = ", ".join(f'"{name}"' for name in values), ", ".join(values.values())
        connection.execute(
            f'INSERT INTO "{table}" ({names}) SELECT {texts} WHERE NOT EXISTS (SELECT 1 FROM "{table}" WHERE mark = \'user\')'
        )
    return len(columns)


def users_rows(connection: psycopg.Connection[Any]) -> int:
    """Return how many rows of users there are."""
    tables = connection.execute(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'mark' AND table_schema = 'public'"
    ).fetchall()
    found = [
        connection.execute(f"SELECT count(*) FROM \"{table}\" WHERE mark = 'user'").fetchone() for (table,) in tables
    ]
    return sum(row[0] for row in found if row)


def shared(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """Return the extensions and schemas that migrations, or an administrator, have made."""
    found = connection.execute(
        "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'extra'"
    )
    return frozenset(name for (name,) in found)


def emptied(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP SCHEMA public CASCADE")
    connection.execute("DROP SCHEMA IF EXISTS extra CASCADE")
    connection.execute("CREATE SCHEMA public")


@dataclass
class Journey:
    """How the database came to a build, or why it did not."""

    status: str
    reason: str | None = None
    runs: list[tuple[str, str, Answer]] = field(default_factory=list)

    def moved(self, what: str) -> list[str]:
        """Return what all runs undone or applied, in order; `what` is undone or applied."""
        return [key for _, _, answer in self.runs for key in answer.result[what]]

    @property
    def story(self) -> str:
        return "\n".join(
            f"--- {build} {command}\n{answer.stdout}{answer.stderr}" for build, command, answer in self.runs
        )


def travel(
    builds: Mapping[str, Worker], wanted: str, *arguments: str, most: int = 20, via: Iterable[str] = ()
) -> Journey:
    """Do what the release function does: run the wanted build, and follow `needs` from build to build.

    `via`: the paths of the manifests that each run is told of.
    """
    journey = Journey("")
    build, command = wanted, "forward"
    for _ in range(most):
        to = () if build == wanted else ("--to", f"build:{wanted}")
        extra = arguments if command == "forward" else ()
        known = ("--via", *via) if via else ()
        answer = builds[build].run(command, *to, *extra, *known)
        journey.runs.append((build, command, answer))
        result = answer.result if answer.stdout else {"status": "killed", "reason": answer.stderr}
        journey.status, journey.reason = result["status"], result["reason"]
        if journey.status in ("done", "nothing") and build == wanted and command == "forward":
            return journey
        if journey.status in ("done", "nothing"):
            build, command = wanted, "forward"
        elif journey.status == "needs" and result["needs"] in builds:
            build, command = result["needs"], result.get("needs_direction") or "back"
        else:
            return journey
    journey.status = "round and round"
    return journey


def refused_untouched(journey: Journey) -> bool:
    """Return whether it was refused before any run changed something."""
    return journey.status in ("refused", "needs") and not journey.moved("undone") + journey.moved("applied")
