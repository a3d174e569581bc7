"""What the health check asks, and what people see of plan and ledger."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .fleet import DJANGO, PYTHON

STATE = """
import json
import django
django.setup()
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
import migrator

migrator.state(connection)
with CaptureQueriesContext(connection) as queries:
    state = migrator.state(connection)
with transaction.atomic():
    inside = migrator.state(connection)
    connection.cursor().execute("SELECT 1")
print(json.dumps([state, inside == state, len(queries)]))
"""


@pytest.mark.postgres
@pytest.mark.slow
def test_state_costs_little(builds: Any, database: Any, tmp_path: Any) -> None:
    def state(project: Any) -> Any:
        path = tmp_path / f"{project.build}.json"
        path.write_text(project.run("manifest").stdout)
        environment = {**project.environment, "LASTGOOD_MANIFEST": str(path)}
        command = [PYTHON, "-W", "error", "-c", STATE]
        run = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
        assert run.stderr == ""
        return json.loads(run.stdout)

    v1, v2, v3, _ = builds
    found, same, _ = state(v1)
    assert (found["state"], found["missing"][-1], found["extra"], same) == ("behind", "shop.0001_initial", [], True)
    v2.run("forward")
    good = {"state": "in step", "build": "v2", "missing": [], "extra": [], "tampered": [], "interrupted": []}
    assert state(v2) == [good, True, 2]
    assert state(v3) == [{**good, "state": "behind", "build": "v3", "missing": ["shop.0003_slug"]}, True, 2]
    extra = ["shop.0002_price", "billing.0001_initial"]
    assert state(v1) == [{**good, "state": "ahead", "build": "v1", "extra": extra}, True, 3]
    path = v2.folder / "shop/migrations/0002_price.py"
    path.write_text(path.read_text() + "# edited\n")
    assert state(v2) == [{**good, "tampered": ["shop.0002_price"]}, True, 2]
    assert v2.run("check").stdout == "tampered with build v2\n  tampered  shop.0002_price\n"


@pytest.mark.postgres
@pytest.mark.slow
def test_what_people_see(builds: Any, database: Any) -> None:
    v1, v2, _, _ = builds
    assert v1.run("history").stdout == "the ledger is empty\n"
    v1.run("forward")
    v2.run("forward")
    assert v1.run("check").stdout == ("ahead with build v1\n  extra  shop.0002_price\n  extra  billing.0001_initial\n")
    newest = v1.run("history").stdout.splitlines()[0]
    assert newest[19:] == "  forward  billing.0001_initial  v2 by tests"
    entry = json.loads(v1.run("history", "--json").stdout)["ledger"][0]
    assert {name: entry[name] for name in ("app", "name", "direction", "build", "digest", "commit", "actor")} == {
        "app": "billing",
        "name": "0001_initial",
        "direction": "forward",
        "build": "v2",
        "digest": "sha256:v2",
        "commit": "commit-v2",
        "actor": "tests",
    }
    assert entry["started"] <= entry["finished"]
    assert v2.run("plan", "--to", "build:v2").stdout == "nothing to do for build v2\n"
    cascade = " CASCADE" if DJANGO < (6, 0) else ""
    assert v2.run("plan", "--to", "build:v1").stdout == (
        "to build v1:\n"
        "1. back, by build v2\n"
        "     billing.0001_initial  (in one transaction)\n"
        "       - Create model Invoice\n"
        '           DROP TABLE "billing_invoice" CASCADE;  [ACCESS EXCLUSIVE]\n'
        "       loses the data of: Create model Invoice\n"
        "     shop.0002_price  (in one transaction)\n"
        "       - Add field price to item\n"
        f'           ALTER TABLE "shop_item" DROP COLUMN "price"{cascade};  [ACCESS EXCLUSIVE]\n'
        "       loses the data of: Add field price to item\n"
    )


@pytest.mark.postgres
@pytest.mark.slow
def test_what_has_drifted(builds: Any, database: Any) -> None:
    """The schema is compared with what it was when this build was here last, whatever the order of its columns."""
    _, v2, v3, _ = builds
    v2.run("forward")
    v3.run("forward")
    v3.run("back", "--to", "build:v2")
    assert "drifted" not in v2.run("forward").stdout
    database.connection.execute("ALTER TABLE shop_item DROP COLUMN price")
    database.connection.execute("ALTER TABLE shop_item ADD COLUMN price integer NOT NULL DEFAULT 0")
    assert v2.run("check").stdout == "in step with build v2\n  drifted  shop_item\n"  # Django leaves no default there
    v3.run("forward")
    told = v3.run("back", "--to", "build:v2").stdout + v2.run("forward").stdout
    assert "drifted" not in told  # nothing was moved by v2, so nothing was looked at
    database.connection.execute("ALTER TABLE shop_item ALTER COLUMN price DROP DEFAULT")
    assert v2.run("check").stdout == "in step with build v2\n"
    database.connection.execute("CREATE INDEX later ON shop_item (price)")
    note = "note: the table shop_item has drifted: it is not what it was when build v3 was here last"
    assert note in v3.run("forward").stdout.splitlines()
    assert json.loads(v3.run("check", "--json").stdout)["drifted"] == ["shop_item"]


@pytest.mark.postgres
@pytest.mark.slow
def test_migrations_in_other_schemas(builds: Any, database: Any) -> None:
    """Another project's, a stage's or a tenant's: nobody can tell, so they are named; partitions are made at any time, and no drift."""
    _, v2, _, _ = builds
    v2.run("forward")
    make = "CREATE TABLE shop_day (day date) PARTITION BY RANGE (day)"
    database.connection.execute(f"CREATE SCHEMA acme CREATE TABLE django_migrations (id int); {make}")
    note = "note: migrations are recorded in other schemas, too, which stay as they are: acme"
    assert note in v2.run("forward").stdout.splitlines()
    assert v2.run("check").stdout == "in step with build v2\n  drifted  shop_day\n  elsewhere  acme\n"
    database.connection.execute("DROP SCHEMA acme CASCADE; DROP TABLE shop_day")
    assert v2.run("check").stdout == "in step with build v2\n"
    database.connection.execute(f"{make.replace('shop_day', 'shop_days')}")
    v3 = builds[2]
    v3.run("forward")
    database.connection.execute(
        "CREATE TABLE d PARTITION OF shop_days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
    )
    assert v3.run("check").stdout == "in step with build v3\n"


@pytest.mark.slow
def test_sqlite_for_development(sqlite: Any, make: Any, history: Any) -> None:
    """Each migration is a transaction of its own there: what came before the failing one stays, and is told."""
    v1, v2, _, v4 = (make(sqlite, name, apps) for name, apps in history.items())
    assert v1.run("forward").exit_status == 0
    assert v2.run("forward").moved == (0, "done", [], ["shop.0002_price", "billing.0001_initial"])
    assert v1.run("forward").result["needs"] == "v2"
    assert v2.run("back", "--to", "build:v1").moved == (0, "done", ["billing.0001_initial", "shop.0002_price"], [])
    assert v1.run("check").stdout == "in step with build v1\n"
    path = v4.folder / "shop/migrations/0005_size.py"
    path.write_text(path.read_text().replace("SELECT 1/0", "SELECT missing"))
    failed = v4.run("forward")
    applied = ["shop.0002_price", "shop.0003_slug", "shop.0004_colour", "billing.0001_initial"]
    assert (failed.exit_status, failed.result["status"]) == (5, "failed")
    assert set(failed.result["applied"]) <= set(applied)
    assert failed.result["reason"] == "shop.0005_size: OperationalError: no such column: missing"
    ledger = json.loads(v4.run("history", "--json").stdout)["ledger"]
    newest = [f"{entry['app']}.{entry['name']}" for entry in ledger[: len(failed.result["applied"])]]
    assert newest[::-1] == failed.result["applied"]
