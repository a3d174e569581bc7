"""What a project has and the migrator would pass over: refused while the image is built, and by every command after that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # together ten seconds: left out of `make check`

ENGINE = """
from django.db.backends.sqlite3 import base

class DatabaseWrapper(base.DatabaseWrapper):
"""
PER_CURSOR = """
    def create_cursor(self, name=None):
        cursor = super().create_cursor(name)
        self._go(cursor)
        return cursor

    def _go(self, cursor):
        cursor.execute(f"SET search_path = {self.customer}")
"""
MIGRATE = """
from django.core.management import call_command
from django.core.management.commands.migrate import Command as Migrate

class Command(Migrate):
    %s
"""
OTHER = """
from django.core.management import BaseCommand, call_command

class Command(BaseCommand):
    def handle(self, *args, **options):
        call_command("migrate")
"""
ROUTER = """
class Router:
    def allow_migrate(self, db, app_label, **hints):
        return (db == "cold") == (app_label == "shop")
"""
MODEL = "from django.db import models\n\nclass Item(models.Model):\n    name = models.TextField()\n"
TWO = """
DATABASES["default"].setdefault("ENGINE", "django.db.backends.sqlite3")
DATABASES["cold"] = {**DATABASES["default"], "NAME": "cold"}
"""
PASSES = "or say in the settings why that is right: LASTGOOD_PASSES_OVER = {%r: 'why'}"


@pytest.fixture
def project(make: Any, history: Any, request: Any) -> Callable[..., Any]:
    """Give a function that makes a build of one app, with more settings and files."""

    def build(settings: str = "", database: Any = None, **files: str) -> Any:
        made = make(database, "v1", {"shop": history["v1"]["shop"]})
        path = made.folder / "settings.py"
        path.write_text(path.read_text() + settings)
        for name, text in {"shop/models": MODEL, **files}.items():
            file = made.folder / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return made

    return build


def commands(folder: str, name: str, text: str) -> dict[str, str]:
    return {
        f"{folder}/__init__": "",
        f"{folder}/management/__init__": "",
        f"{folder}/management/commands/__init__": "",
        f"{folder}/management/commands/{name}": text,
    }


def refusal(project: Any, name: str) -> str:
    """Return the sentence by which every command refuses `project`, without what can be done about `name`."""
    said = project.run("manifest")
    assert (said.exit_status, said.stdout) == (2, "")
    for command in ("check", "plan --to build:v1", "history"):
        run = project.run(*command.split())
        assert (run.exit_status, run.stdout, run.stderr) == (2, "", said.stderr), command
    for command in ("forward", "back --to build:v1"):
        run = project.run(*command.split())
        assert (*run.moved, run.result["reason"] + "\n") == (2, "refused", [], [], said.stderr)
    end = f", {PASSES % name}\n"
    assert said.stderr.endswith(end)
    return said.stderr[: -len(end)]


def accepted(project: Any, name: str) -> Any:
    """Return the result of `forward` once the settings say why `name` is passed over."""
    path = project.folder / "settings.py"
    path.write_text(path.read_text() + f"\nLASTGOOD_PASSES_OVER = {{{name!r}: 'done by hand'}}\n")
    assert project.run("manifest").exit_status == 0
    return project.run("forward").moved[:2]


@pytest.mark.parametrize(
    "text", [ENGINE + PER_CURSOR, ENGINE + "    def set_tenant(self, tenant): ..."], ids=["cursor", "method"]
)
def test_an_engine_that_goes_from_schema_to_schema(project: Any, sqlite: Any, text: str) -> None:
    many = project(
        "\nDATABASES['default']['ENGINE'] = 'engine'\n", sqlite, **{"engine/__init__": "", "engine/base": text}
    )
    assert refusal(many, "engine") == (
        "the engine engine goes from schema to schema of one database, and this migrator moves one schema: the others would stay as they "
        "are; migrate such a project by the command that its package brings, without lastgood"
    )


@pytest.mark.parametrize(
    "text",
    [
        ENGINE + "    pass\n",
        ENGINE + "    def create_cursor(self, name=None):\n        return super().create_cursor(name)\n",
        ENGINE
        + "    def init_connection_state(self):\n        super().init_connection_state()\n        self.one = 'SET search_path = shop'\n",
    ],
    ids=["plain", "counts", "one schema"],
)
def test_an_engine_that_stays_where_it_is(project: Any, sqlite: Any, text: str) -> None:
    one = project(
        "\nDATABASES['default']['ENGINE'] = 'engine'\n", sqlite, **{"engine/__init__": "", "engine/base": text}
    )
    assert one.run("forward").moved[:2] == (0, "done")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("migrate", MIGRATE % "def handle(self, *args, **options): ..."),
        ("migrate", "from django.core.management import BaseCommand as Command\n"),
        ("migrate_tenants", MIGRATE % "pass"),
        ("migrate_all", MIGRATE % "def handle(self, *args, **options): self.connection.cursor().execute('SET search_path TO a')"),
        ("migrateschemas", OTHER),
    ],
)  # fmt: skip
def test_a_migrate_of_its_own(project: Any, sqlite: Any, name: str, text: str) -> None:
    own = project("\nINSTALLED_APPS += ['rooms']\n", sqlite, **commands("rooms", name, text))
    assert refusal(own, name) == (
        f"the command `{name}` of rooms is not Django's, and this migrator runs neither: what it does beyond Django's `migrate` would be "
        "left out; take it out of INSTALLED_APPS"
    )
    assert accepted(own, name) == (0, "done")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("migrate", MIGRATE % "help = 'As ever.'"),
        ("migrate_schema_notes", "from django.core.management import BaseCommand as Command\n"),
        ("migrate_files", MIGRATE % "pass"),
    ],
)
def test_a_command_that_only_sounds_so(project: Any, sqlite: Any, name: str, text: str) -> None:
    own = project("\nINSTALLED_APPS += ['rooms']\n", sqlite, **commands("rooms", name, text))
    assert own.run("forward").moved[:2] == (0, "done")


def test_models_that_a_router_keeps_elsewhere(project: Any, sqlite: Any) -> None:
    two = project(TWO + "DATABASE_ROUTERS = ['routers.Router']\n", sqlite, routers=ROUTER)
    assert refusal(two, "cold") == (
        "the routers keep shop.Item in the database cold, and a release moves default alone: run `python -m migrator forward --database "
        "cold` yourself"
    )
    assert two.run("forward", "--database", "cold").moved[:2] == (0, "done")
    assert two.run("check", "--database", "cold").stdout == "in step with build v1\n"
    assert accepted(two, "cold") == (0, "done")


def test_a_replica_is_nobodys_home(project: Any, sqlite: Any) -> None:
    reads = "class Router:\n    def db_for_read(self, model, **hints):\n        return 'cold'\n"
    two = project(TWO + "DATABASE_ROUTERS = ['routers.Router']\n", sqlite, routers=reads)
    assert two.run("manifest").exit_status == 0


@pytest.mark.parametrize(
    ("settings", "files", "why"),
    [
        ("", {"legacy/__init__": "", "legacy/models": MODEL},
         "the app legacy has no migrations: make them (`manage.py makemigrations legacy`)"),
        ("", {"legacy/__init__": "", "legacy/models": MODEL, "legacy/migrations/__init__": ""},
         "the app legacy has no migrations: make them (`manage.py makemigrations legacy`)"),
        ("MIGRATION_MODULES = {'legacy': None}\n",
         {"legacy/__init__": "", "legacy/models": MODEL, "legacy/migrations/__init__": "", "legacy/migrations/m": ""},
         "MIGRATION_MODULES has None for the app legacy: take it out"),
    ],
    ids=["no package", "no file", "switched off"],
)  # fmt: skip
def test_models_without_migrations(project: Any, sqlite: Any, settings: str, files: dict[str, str], why: str) -> None:
    legacy = project(f"\nINSTALLED_APPS += ['legacy']\n{settings}", sqlite, **files)
    assert refusal(legacy, "legacy") == f"nobody would make the table of legacy.Item, for {why}"
    assert accepted(legacy, "legacy") == (0, "done")


def test_models_that_need_no_table(project: Any, sqlite: Any) -> None:
    text = (
        MODEL
        + "    class Meta:\n        managed = False\n\n\nclass Base(models.Model):\n    class Meta:\n        abstract = True\n"
    )
    legacy = project("\nINSTALLED_APPS += ['legacy']\n", sqlite, **{"legacy/__init__": "", "legacy/models": text})
    assert legacy.run("forward").moved[:2] == (0, "done")


def test_a_setting_that_says_nothing(project: Any) -> None:
    run = project("\nLASTGOOD_PASSES_OVER = {'legacy': ''}\n").run("manifest")
    assert (run.exit_status, run.stderr) == (
        2,
        'LASTGOOD_PASSES_OVER in the settings must be like {"legacy": "why nobody misses it"}\n',
    )


def test_a_check_takes_the_name_that_it_is_given(project: Any, sqlite: Any) -> None:
    v1 = project("", sqlite)
    v1.run("forward")
    assert v1.run("check", "--build", "other", LASTGOOD_BUILD="").stdout == "in step with build other\n"
    assert v1.run("check", LASTGOOD_BUILD="").stdout == "in step with build unnamed\n"
    path = Path(v1.folder) / "manifest.json"
    path.write_text(v1.run("manifest").stdout)
    told = v1.run("check", "--build", "other", LASTGOOD_MANIFEST=str(path))
    assert (told.exit_status, told.stderr) == (2, f"the manifest {path} is of build v1, but --build says other\n")
