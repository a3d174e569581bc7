"""The manifest: made without a database, the same for the same files, checked when read."""

from __future__ import annotations

import hashlib
import json
import py_compile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from migrator import manifest
from migrator.errors import UsageError, without_secrets
from migrator.manifest import schema

ENTRY = {
    "app": "shop",
    "name": "0001_initial",
    "sha256": "00",
    "dependencies": [],
    "replaces": [],
    "atomic": True,
    "irreversible": [],
    "lossy": [],
    "holds": [],
    "breaks": [],
    "rollback": None,
    "again": [],
}
GOOD: dict[str, Any] = {"schema": 2, "build": "v1", "django": "5.2", "migrations": [ENTRY]}

IRREVERSIBLE = """
migrations.RunPython(drop),
migrations.SeparateDatabaseAndState(
    database_operations=[migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL('DELETE\\n FROM shop_item')])],
    state_operations=[migrations.RunPython(migrations.RunPython.noop)],
),
migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop),
"""


def test_what_it_says_of_each_migration(make: Any, migration: Callable[..., str]) -> None:
    first = migration("")
    files = {
        "0001_initial": first,
        "0002_drop": migration(
            IRREVERSIBLE,
            ("shop", "0001_initial"),
            code="def drop(apps, editor): pass",
            extra="atomic = False; rollback = 'it is a cache'; run_before = [('billing', '0001_initial')]",
        ),
    }
    project = make(None, "v1", {"shop": files, "billing": {"0001_initial": migration("", ("shop", "__first__"))}})
    run = project.run("manifest", LASTGOOD_COMMIT="")
    assert (run.exit_status, run.stderr) == (0, "")
    data = json.loads(run.stdout)
    jsonschema.validate(data, schema.manifest_schema())
    assert (data["schema"], data["build"], "commit" in data) == (2, "v1", False)
    ours = [entry for entry in data["migrations"] if entry["app"] in ("shop", "billing")]
    effects = [entry.pop("effect") for entry in ours]
    assert [len(one) for one in effects] == [16, 16, 16]
    assert (effects[0] == effects[2], effects[0] == effects[1]) == (True, False)
    assert ours == [
        {**ENTRY, "sha256": hashlib.sha256(first.encode()).hexdigest()},
        {
            **ENTRY,
            "name": "0002_drop",
            "sha256": hashlib.sha256(files["0002_drop"].encode()).hexdigest(),
            "dependencies": ["shop.0001_initial"],
            "atomic": False,
            "irreversible": ["RunPython(drop)", "RunSQL(DELETE FROM shop_item)"],
            "lossy": ["RunSQL(DELETE FROM shop_item)"],
            "breaks": ["RunSQL(DELETE FROM shop_item): nobody can tell what its SQL changes"],
            "rollback": "it is a cache",
        },
        {
            **ENTRY,
            "app": "billing",
            "sha256": hashlib.sha256((project.folder / "billing/migrations/0001_initial.py").read_bytes()).hexdigest(),
            # Both the resolved __first__ and the other migration's run_before.
            "dependencies": ["shop.0001_initial", "shop.0002_drop"],
        },
    ]


OWN = """
class Faster(migrations.AddField): ...
class Gone(migrations.RemoveField): ...
class AddRangePartition(migrations.operations.base.Operation):
    def state_forwards(self, app, state): ...
    def describe(self): return type(self).__name__
class DeletePartition(AddRangePartition): ...
class DropIndexSafely(AddRangePartition): ...
"""


def test_an_app_that_asks_the_database_while_it_is_loaded(make: Any, migration: Callable[..., str]) -> None:
    """No image is built beside a database, and in a new one there is no table yet."""
    project = make(None, "v1", {"shop": {"0001_initial": migration("")}})
    asks = "from django.apps import AppConfig\n\nclass Shop(AppConfig):\n    name = 'shop'\n\n    def ready(self):\n"
    asks += "        import warnings\n        warnings.simplefilter('ignore')  # Django's own word on it\n"
    asks += (
        "        from django.db import connection\n        connection.cursor().execute('SELECT name FROM shop_rate')\n"
    )
    (project.folder / "shop/apps.py").write_text(asks)
    database = json.dumps({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})
    reason = (
        "the apps of settings do not load: OperationalError: no such table: shop_rate; an app asks the database while it is loaded "
        "(AppConfig.ready(), or a module's top level): while an image is built there is none, and before the first migration no table, "
        "so ask when it is needed, or in a receiver of post_migrate"
    )
    for command in ("manifest", "forward"):
        run = project.run(command, TEST_DATABASE=database, PYTHONWARNINGS="ignore")
        said = run.result["reason"] if command == "forward" else run.stderr.strip()
        assert (run.exit_status, said) == (2, reason)


def test_a_migration_that_reads_the_source_of_a_dependency(
    make: Any, sqlite: Any, migration: Callable[..., str]
) -> None:
    """An image has none; what would have to be set is said, when the migration is read as when it runs."""
    code = "import inspect\nfrom gone import Price\n\ndef read(apps, editor):\n    inspect.getsource(Price)\n"
    said = "OSError: could not get source code (an image keeps the sources of the application alone, unless "
    said += 'sources = "all" in [tool.lastgood.image])'
    for name, end, where in (
        ("top", "read(None, None)\n", "the project's migrations do not load"),
        ("run", "", "shop.0001_initial"),
    ):
        text = migration("migrations.RunPython(read, migrations.RunPython.noop)", code=code + end)
        project = make(sqlite, name, {"shop": {"0001_initial": text}})
        (project.folder / "gone.py").write_text("class Price: ...\n")
        py_compile.compile(str(project.folder / "gone.py"), str(project.folder / "gone.pyc"))
        (project.folder / "gone.py").unlink()
        assert project.run("forward").result["reason"] == f"{where}: {said}"


def test_operations_that_were_made_of_others(make: Any, migration: Callable[..., str]) -> None:
    """A package's own kind of AddField is one; of an operation that is made of nothing known, its name says what goes."""
    table = (
        "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True)), ('name', models.TextField())]),"
    )
    more = "Faster('item', 'more', models.TextField(null=True)), Gone('item', 'name'), AddRangePartition(), DeletePartition(),"
    text = migration(f"{table}{more}DropIndexSafely(),", code=OWN)
    (entry,) = [
        one
        for one in json.loads(make(None, "v1", {"shop": {"0001_initial": text}}).run("manifest").stdout)["migrations"]
        if one["app"] == "shop"
    ]
    assert entry["holds"] == ["Create model Item", "Add field more to item", "AddRangePartition"]
    assert entry["lossy"] == ["Remove field name from item", "DeletePartition"]


def test_the_same_files_give_the_same_text(make: Any, history: dict[str, Any]) -> None:
    one, other = (make(None, "v3", history["v3"], folder=folder) for folder in ("one", "other"))
    texts = {project.run("manifest", PYTHONHASHSEED=seed).stdout for project, seed in ((one, "1"), (other, "2"))}
    assert len(texts) == 1
    (text,) = texts
    read = manifest.loads(text, "it")
    assert read.commit == "commit-v3"
    assert replace(read, text=None).dumps() == text


def test_what_an_older_migrator_said_is_stored_as_it_said_it() -> None:
    older = {name: ENTRY[name] for name in ENTRY if name not in ("lossy", "holds", "again")}
    text = json.dumps({**GOOD, "schema": 1, "migrations": [older]})
    assert manifest.loads(text, "it").dumps() == text


def test_replaced_migrations_stand_before_what_replaces_them(make: Any, migration: Callable[..., str]) -> None:
    files = {
        "0001_initial": migration(""),
        "0002_more": migration("", ("shop", "0001_initial")),
        "0001_squashed": migration("", extra="replaces = [('shop', '0001_initial'), ('shop', '0002_more')]"),
    }
    data = json.loads(make(None, "v1", {"shop": files}).run("manifest").stdout)
    ours = [(entry["name"], entry["replaces"]) for entry in data["migrations"] if entry["app"] == "shop"]
    assert ours == [
        ("0001_initial", []),
        ("0002_more", []),
        ("0001_squashed", ["shop.0001_initial", "shop.0002_more"]),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DJANGO_SETTINGS_MODULE": ""}, "DJANGO_SETTINGS_MODULE is not set: name the project's settings module"),
        (
            {"DJANGO_SETTINGS_MODULE": "nowhere.settings"},
            "the settings module nowhere.settings does not import: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            {"TEST_DATABASE": ""},
            "the settings module settings does not import: KeyError: 'TEST_DATABASE'",
        ),
        ({"LASTGOOD_BUILD": ""}, "the build has no name: pass --build NAME or set LASTGOOD_BUILD"),
    ],
)
def test_a_project_that_does_not_load(make: Any, change: dict[str, str], message: str) -> None:
    run = make(None, "v1", {}).run("manifest", **change)
    assert (run.exit_status, run.stdout, run.stderr) == (2, "", f"{message}\n")


def test_an_app_that_does_not_load(make: Any) -> None:
    project = make(None, "v1", {})
    (project.folder / "settings.py").write_text("INSTALLED_APPS = ['shop']\nSECRET_KEY = 'x'\nUSE_TZ = True\n")
    run = project.run("manifest")
    message = "the apps of settings do not load: ModuleNotFoundError: No module named 'shop'\n"
    assert (run.exit_status, run.stdout, run.stderr) == (2, "", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "class Migration(",
            "the project's migrations do not load: SyntaxError: '(' was never closed (0001_initial.py, line 1)",
        ),
        (
            "",
            (
                "the project's migrations do not load: "
                "BadMigrationError: Migration 0001_initial in app shop has no Migration class"
            ),
        ),
    ],
)
def test_a_migration_that_does_not_load(make: Any, text: str, message: str) -> None:
    run = make(None, "v1", {"shop": {"0001_initial": text}}).run("manifest")
    assert (run.exit_status, run.stdout, run.stderr) == (2, "", f"{message}\n")


def test_a_rollback_must_say_why(make: Any, migration: Callable[..., str]) -> None:
    run = make(None, "v1", {"shop": {"0001_initial": migration("", extra="rollback = True")}}).run("manifest")
    message = "shop.0001_initial: `rollback` must be a text that says why losing the way back is acceptable\n"
    assert (run.exit_status, run.stdout, run.stderr) == (2, "", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "it is not a JSON object"),
        ("{}", "it has schema None, this migrator reads schema 1 and 2"),
        (json.dumps({**GOOD, "schema": 3}), "it has schema 3, this migrator reads schema 1 and 2"),
        (json.dumps({**GOOD, "build": 7}), "it is not valid: build is not a text"),
        (json.dumps({**GOOD, "migrations": None}), "it is not valid: migrations is not a list"),
        (
            json.dumps({**GOOD, "migrations": [{**ENTRY, "atomic": 1}]}),
            "it is not valid: migrations[0].atomic is not true or false",
        ),
        (
            json.dumps({**GOOD, "migrations": [{**ENTRY, "dependencies": "a.1"}]}),
            "it is not valid: migrations[0].dependencies is not a list",
        ),
        (
            json.dumps({**GOOD, "migrations": [{"app": "shop"}]}),
            "it is not valid: migrations[0] has no 'name'",
        ),
        (json.dumps({**GOOD, "commit": ""}), "it is not valid: commit is empty"),
        (json.dumps({**GOOD, "colour": 1}), "it is not valid: it has 'colour', which nobody knows"),
        (json.dumps({**GOOD, "build": "x" * 256}), "it is not valid: build is longer than 255 characters"),
        (
            json.dumps({**GOOD, "migrations": [{**ENTRY, "app": "a.b"}]}),
            "it is not valid: migrations[0].app is 'a.b', which does not match ^[^.]+$",
        ),
        (
            json.dumps({**GOOD, "migrations": [{**ENTRY, "lossy": [1]}]}),
            "it is not valid: migrations[0].lossy[0] is not a text",
        ),
    ],
)
def test_a_manifest_that_is_none(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        manifest.loads(text, "it")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"schema": 1, "migrations": [{name: ENTRY[name] for name in ENTRY if name not in ("lossy", "holds", "again")}]},
        {"schema": 3},
        {"schema": True},
        {"build": 7},
        {"build": ""},
        {"commit": None},
        {"commit": "abc"},
        {"migrations": {}},
        {"migrations": [7]},
        {"migrations": [{**ENTRY, "rollback": "why"}]},
        {"migrations": [{**ENTRY, "rollback": ""}]},
        {"migrations": [{**ENTRY, "atomic": None}]},
        {"migrations": [{**ENTRY, "holds": ["x", 1]}]},
        {"migrations": [{**ENTRY, "more": 1}]},
    ],
)
def test_our_checker_says_what_the_library_says(change: dict[str, Any]) -> None:
    whole = schema.manifest_schema()
    data = {**GOOD, **change}
    assert (schema.mistake(data, whole) is None) == jsonschema.Draft202012Validator(whole).is_valid(data)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        manifest.load(tmp_path / "none.json")
    path = tmp_path / "none.json"
    assert str(caught.value) == (
        f"the manifest {path} can't be read: FileNotFoundError: [Errno 2] No such file or directory: '{path}'"
    )


def test_secrets_do_not_reach_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "very-secret-value")
    text = "bad: very-secret-value in postgresql://board:hunter2@db/board"
    assert without_secrets(text) == "bad: *** in postgresql://board:***@db/board"
