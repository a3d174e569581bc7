"""What a changed file changes for a database: nothing, where only people see the difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.db import migrations
from migrator.manifest import effect

from .conftest import MIGRATION, REPOSITORY

# Reads JSON {name: text of a migration file}, prints JSON {name: effect}.
ASK = """
import importlib, json, pathlib, sys
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])
import django
django.setup()
from migrator.manifest import effect
sys.path.insert(0, ".")
found = {}
for name, text in json.load(sys.stdin).items():
    pathlib.Path(f"{name}.py").write_text(text, encoding="utf-8")
    found[name] = effect.of(importlib.import_module(name).Migration("0001_initial", "shop"))
print(json.dumps(found))
"""

FIELD = "migrations.AddField('item', 'price', models.{}),"
MODEL = "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True))], options={}),"
RUN = "migrations.RunPython(fill),"
FILL = "def fill(apps, editor):\n    {}\n"


SAME: tuple[Any, ...] = (
    pytest.param((FIELD.format("TextField()"),), (f"{FIELD.format('TextField()')}  # why\n",), id="a comment"),
    pytest.param(
        (FIELD.format("TextField(verbose_name='a')"),),
        (FIELD.format("TextField('b', help_text='c', blank=True, choices=[('a', 'b')])"),),
        id="what people see",
    ),
    pytest.param(
        (FIELD.format("TextField(default=one)"), "def one(): return 'a'"),
        (FIELD.format("TextField(default=other)"), "def other(): return 'a'"),
        id="the name of a default's function",
    ),
    pytest.param(
        (FIELD.format("ForeignKey('shop.item', models.CASCADE, related_name='a')"),),
        (FIELD.format("ForeignKey('shop.item', models.PROTECT)"),),
        id="what Django does by itself",
    ),
    pytest.param(
        (MODEL.format("{'verbose_name': 'a'}"),), (MODEL.format("{'ordering': ['id']}"),), id="a model's labels"
    ),
    pytest.param(
        (RUN, FILL.format("'''Why'''\n    return 1")), (RUN, FILL.format("return 1  # why")), id="a docstring"
    ),
    pytest.param(
        (RUN, FILL.format("return 1")),
        ("migrations.RunPython(fill, migrations.RunPython.noop)", FILL.format("return 1")),
        id="a way back",
    ),
    pytest.param((FIELD.format("TextField()"), "", "rollback = 'a'"), (FIELD.format("TextField()"),), id="a reason"),
    pytest.param(
        (FIELD.format("TextField()"),),
        (f"{FIELD.format('TextField()')}migrations.AlterModelOptions('item', {{'ordering': ['id']}})",),
        id="an operation without any",
    ),
)


OTHER: tuple[Any, ...] = (
    pytest.param((FIELD.format("TextField()"),), (FIELD.format("IntegerField()"),), id="type"),
    pytest.param((FIELD.format("TextField()"),), (FIELD.format("TextField(null=True)"),), id="null"),
    pytest.param((FIELD.format("TextField(default='a')"),), (FIELD.format("TextField(default='b')"),), id="default"),
    pytest.param((FIELD.format("TextField()"),), (FIELD.format("TextField(db_column='b')"),), id="column"),
    pytest.param(
        (FIELD.format("ForeignKey('a.A', models.CASCADE)"),),
        (FIELD.format("ForeignKey('a.B', models.CASCADE)"),),
        id="target",
    ),
    pytest.param((MODEL.format("{}"),), (MODEL.format("{'db_table': 'a'}"),), id="table"),
    pytest.param(
        (MODEL.format("{}"),),
        (MODEL.format("{'constraints': [models.CheckConstraint(condition=models.Q(id__gt=1), name='a')]}"),),
        id="a constraint",
    ),
    pytest.param(
        (MODEL.format("{'indexes': [models.Index(fields=['id'], name='a')]}"),),
        (MODEL.format("{'indexes': [models.Index(fields=['-id'], name='a')]}"),),
        id="an index",
    ),
    pytest.param((RUN, FILL.format("return 1")), (RUN, FILL.format("return 2")), id="a function"),
    pytest.param(
        (RUN, FILL.format("return ROWS") + "ROWS = 1"),
        (RUN, FILL.format("return ROWS") + "ROWS = 2"),
        id="what it uses",
    ),
    pytest.param(("migrations.RunSQL('SELECT 1')",), ("migrations.RunSQL('SELECT 2')",), id="SQL"),
    pytest.param(
        ("migrations.SeparateDatabaseAndState(database_operations=[migrations.RunSQL('SELECT 1')])",),
        ("migrations.SeparateDatabaseAndState(state_operations=[migrations.RunSQL('SELECT 1')])",),
        id="what is only state",
    ),
    pytest.param((FIELD.format("TextField()"),), ("",), id="an operation less"),
)


def source(operations: str, code: str = "", extra: str = "") -> str:
    return MIGRATION.format(operations=operations, dependencies=[], code=code, extra=extra)


@pytest.fixture(scope="module")
def effects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the effects of all, asked for in one process: Django's fields want it set up."""
    texts = {
        f"{name}_{number}_{side}": source(*case.values[side])
        for name, cases in (("same", SAME), ("other", OTHER))
        for number, case in enumerate(cases)
        for side in (0, 1)
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path_factory.mktemp("effects"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "docker")},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    assert {len(one) for one in found.values()} == {16}
    return found


@pytest.mark.parametrize("number", [pytest.param(number, id=str(case.id)) for number, case in enumerate(SAME)])
def test_the_same(effects: dict[str, str], number: int) -> None:
    assert effects[f"same_{number}_0"] == effects[f"same_{number}_1"]


@pytest.mark.parametrize("number", [pytest.param(number, id=str(case.id)) for number, case in enumerate(OTHER)])
def test_another(effects: dict[str, str], number: int) -> None:
    assert effects[f"other_{number}_0"] != effects[f"other_{number}_1"]


def test_an_operation_that_can_not_say_what_it_is_made_of() -> None:
    class Strange(migrations.RunSQL):
        def deconstruct(self) -> Any:
            raise NotImplementedError

    odd = migrations.Migration("0001_initial", "shop")
    odd.operations = [Strange("SELECT 1")]
    assert effect.of(odd) == ""
