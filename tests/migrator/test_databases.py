"""Several databases and a router: each is moved by a run of its own, and has rows and a ledger of its own."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROUTED = """
DATABASES["other"] = {**DATABASES["default"], "NAME": DATABASES["default"]["NAME"] + ".other"}
DATABASE_ROUTERS = ["routers.Router"]
"""
ROUTER = """
class Router:
    def allow_migrate(self, db, app_label, **hints):
        return (db == "other") == (app_label == "shop")
"""


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_each_database_has_what_the_router_allows(sqlite: Any, make: Any, history: Any) -> None:
    v1, v2 = (make(sqlite, name, {"shop": history[name]["shop"]}) for name in ("v1", "v2"))
    for project in (v1, v2):
        settings = project.folder / "settings.py"
        settings.write_text(settings.read_text() + ROUTED)
        (project.folder / "routers.py").write_text(ROUTER)
    for alias in ("default", "other"):
        assert v1.run("forward", "--database", alias).exit_status == 0
        assert v2.run("forward", "--database", alias).moved == (0, "done", [], ["shop.0002_price"])
    first, second = Path(sqlite.django["NAME"]), Path(sqlite.django["NAME"] + ".other")
    ours = {"django_migrations", "lastgood_ledger", "lastgood_build"}
    assert tables(second) - {"sqlite_sequence"} == {*ours, "shop_item"}
    assert tables(first) >= {*ours, "auth_user"} - {"shop_item"}
    assert "shop_item" not in tables(first)
    # Going back in one leaves the other as it is.
    assert v2.run("back", "--to", "build:v1", "--database", "other").moved == (0, "done", ["shop.0002_price"], [])
    assert v1.run("check", "--database", "other").stdout == "in step with build v1\n"
    assert v2.run("check").stdout == "in step with build v2\n"
    newest = json.loads(v2.run("history", "--json", "--database", "other").stdout)["ledger"][0]
    assert (newest["direction"], newest["name"]) == ("back", "0002_price")
