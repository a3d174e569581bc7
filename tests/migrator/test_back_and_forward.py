"""Builds over one PostgreSQL database, as the release task runs them: each from its own files, in its own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

V1 = ["shop.0001_initial"]
V2 = [*V1, "shop.0002_price", "billing.0001_initial"]
V3 = [*V2, "shop.0003_slug"]


def ours(keys: list[str]) -> list[str]:
    return [key for key in keys if key.startswith(("shop.", "billing."))]


def test_forward_build_by_build(builds: Any, database: Any) -> None:
    v1, v2, v3, _ = builds
    first = v1.run("forward")
    assert first.exit_status == 0
    assert first.result == {
        "status": "done",
        "needs": None,
        "needs_digest": None,
        "needs_direction": None,
        "reason": None,
        "undone": [],
        "applied": first.result["applied"],
        "build": "v1",
        "target": "v1",
    }
    assert ours(first.result["applied"]) == V1
    assert v2.run("forward").moved == (0, "done", [], V2[1:])
    assert v3.run("forward").moved == (0, "done", [], V3[3:])
    assert v3.run("forward").moved == (0, "nothing", [], [])
    assert database.applied() == V3
    assert database.ledger() == [
        ("forward", "shop.0001_initial", "v1"),
        ("forward", "shop.0002_price", "v2"),
        ("forward", "billing.0001_initial", "v2"),
        ("forward", "shop.0003_slug", "v3"),
    ]
    permissions = {name for (name,) in database.rows("SELECT codename FROM auth_permission")}
    assert {"add_item", "view_invoice"} <= permissions


def test_last_good_comes_back_after_a_release_that_moved_the_database(builds: Any, database: Any) -> None:
    v1, v2, v3, _ = builds
    v1.run("forward")
    database.rows("INSERT INTO shop_item (name) VALUES ('Old') RETURNING id")
    v2.run("forward")
    before = database.schema()
    v3.run("forward")
    database.rows("INSERT INTO shop_item (name, price, slug) VALUES ('New', 1, 'new') RETURNING id")
    assert database.rows("SELECT name, slug FROM shop_item ORDER BY id") == [("Old", "old"), ("New", "new")]

    refused = v2.run("forward")
    assert refused.exit_status == 3
    assert (refused.result["needs"], refused.result["needs_digest"]) == ("v3", "sha256:v3")
    assert refused.result["reason"] == "shop.0003_slug: applied, but not in build v2; build v3 must undo it first"
    assert v3.run("back", "--to", "build:v2").moved == (0, "done", ["shop.0003_slug"], [])
    assert v2.run("forward").moved == (0, "nothing", [], [])

    assert database.schema() == before
    assert database.applied() == V2
    assert database.rows("SELECT name FROM shop_item ORDER BY id") == [("Old",), ("New",)]
    assert database.ledger()[-1] == ("back", "shop.0003_slug", "v3")


def test_a_release_that_fails_half_way_leaves_nothing(builds: Any, database: Any) -> None:
    v1, _, v3, v4 = builds
    v1.run("forward")
    v3.run("forward")
    before = database.schema()
    failed = v4.run("forward")
    assert failed.moved == (5, "failed", [], [])
    assert failed.result["reason"] == "shop.0005_size: DataError: division by zero"
    assert "nothing of these 2 migrations was committed" in failed.stdout
    assert database.schema() == before
    assert database.applied() == V3
    assert len(database.ledger()) == 4
    assert v3.run("forward").moved == (0, "nothing", [], [])


def test_back_over_several_builds_in_one_go(builds: Any, database: Any) -> None:
    v1, v2, v3, _ = builds
    v1.run("forward")
    before = database.schema()
    v2.run("forward")
    v3.run("forward")
    plan = json.loads(v1.run("plan", "--to", "build:v1", "--json").stdout)
    order = ["shop.0003_slug", "billing.0001_initial", "shop.0002_price"]
    (phase,) = plan.pop("phases")
    assert plan == {"status": "done", "reason": None, "target": "v1", "leave_ahead": False}
    details = phase.pop("details")
    assert phase == {
        "build": "v3",
        "direction": "back",
        "migrations": order,
        "segments": [{"atomic": True, "migrations": order}],
        "predecessor": None,
    }
    assert details[1] == {
        "migration": "billing.0001_initial",
        "atomic": True,
        "reversible": True,
        "lossy": ["Create model Invoice"],
        "rollback": None,
        "operations": None,
        "stays": [],
        "unknown": "only build v3 has the files",
    }
    plan = json.loads(v3.run("plan", "--to", "build:v1", "--json").stdout)
    assert plan["phases"][0]["details"][1] == {
        **details[1],
        "operations": [
            {
                "description": "Create model Invoice",
                "sql": [{"statement": 'DROP TABLE "billing_invoice" CASCADE;', "lock": "ACCESS EXCLUSIVE"}],
                "is_sql": True,
            }
        ],
        "unknown": None,
    }
    needs = v1.run("forward").result
    assert (needs["needs"], needs["reason"]) == (
        "v3",
        "shop.0003_slug and 2 more: applied, but not in build v1; build v3 must undo it first",
    )
    assert v2.run("back", "--to", "build:v1").moved == (3, "needs", [], [])
    assert v3.run("back", "--to", "build:v1").moved == (0, "done", order, [])
    assert v1.run("forward").moved == (0, "nothing", [], [])
    assert database.schema() == before
    assert database.applied() == V1


def test_each_build_undoes_its_own_where_a_file_was_changed(
    builds: Any, database: Any, make: Any, history: Any, migration: Callable[..., str]
) -> None:
    v1, v2, _, _ = builds
    v1.run("forward")
    before = database.schema()
    v2.run("forward")
    history["v3"]["shop"]["0002_price"] += "\n# edited after it was released\n"
    v3 = make(database, "v3", history["v3"], folder="edited")
    run = v3.run("forward")
    assert run.moved == (0, "done", [], ["shop.0003_slug"])
    assert "note: the file of shop.0002_price has changed since build v2 applied it" in run.stdout.splitlines()
    back = v3.run("back", "--to", "build:v1")
    assert back.moved == (3, "needs", ["shop.0003_slug", "billing.0001_initial"], [])
    assert (back.result["needs"], back.result["needs_digest"]) == ("v2", "sha256:v2")
    assert v2.run("back", "--to", "build:v1").moved == (0, "done", ["shop.0002_price"], [])
    assert v1.run("forward").moved == (0, "nothing", [], [])
    assert database.schema() == before


def test_a_hotfix_that_diverged(builds: Any, database: Any, make: Any, history: Any, migration: Any) -> None:
    _, v2, v3, _ = builds
    v2.run("forward")
    v3.run("forward")
    operation = "migrations.AddField('item', 'size', models.IntegerField(default=0))"
    history["v2"]["shop"]["0003_size"] = migration(operation, ("shop", "0002_price"))
    hotfix = make(database, "hotfix", history["v2"])
    assert hotfix.run("forward").result["needs"] == "v3"
    assert v3.run("back", "--to", "build:hotfix").moved == (0, "done", ["shop.0003_slug"], [])
    assert hotfix.run("forward").moved == (0, "done", [], ["shop.0003_size"])
    assert database.applied() == [*V2, "shop.0003_size"]


def test_a_new_build_that_drops_an_app_is_refused(builds: Any, database: Any, make: Any, history: Any) -> None:
    _, v2, _, _ = builds
    v2.run("forward")
    del history["v2"]["billing"]
    without = make(database, "without", history["v2"])
    reason = (
        "build without has no migration of the app billing, whose tables build v2 made: they would be undone with their data; "
        "keep the app until its tables are gone by a migration of its own, or pass --accept-loss"
    )
    for _ in range(2):
        refused = without.run("forward")
        assert refused.moved == (4, "refused", [], [])
        assert refused.result["reason"] == reason
    assert database.applied() == V2
    assert without.run("forward", "--accept-loss").result["needs"] == "v2"


def test_to_zero_and_forward_again(builds: Any, database: Any, tmp_path: Any) -> None:
    v1, v2, _, _ = builds
    v1.run("forward")
    v2.run("forward")
    before, applied = database.schema(), v2.run("history", "--json")
    target = tmp_path / "zero.json"
    target.write_text(json.dumps({"schema": 1, "build": "zero", "django": "5.2", "migrations": []}))
    back = v2.run("back", "--to", str(target))
    assert (back.exit_status, back.result["status"], database.schema()) == (0, "done", set())
    ledger = json.loads(v2.run("history", "--json").stdout)["ledger"]
    assert ledger[-len(back.result["undone"]) :] == json.loads(applied.stdout)["ledger"]
    assert {entry["direction"] for entry in ledger[: len(back.result["undone"])]} == {"back"}
    again = v2.run("forward")
    assert (again.exit_status, set(again.result["applied"])) == (0, set(back.result["undone"]))
    assert database.schema() == before


def test_forward_to_an_older_target(builds: Any, database: Any, tmp_path: Any) -> None:
    _, v2, v3, _ = builds
    target = tmp_path / "v2.json"
    target.write_text(v2.run("manifest").stdout)
    run = v3.run("forward", "--to", str(target))
    assert (run.exit_status, ours(run.result["applied"]), run.result["target"]) == (0, V2, "v2")
    assert database.applied() == V2


def test_a_column_with_rows_that_wait_for_their_check(database: Any, make: Any, migration: Any) -> None:
    """Data, then ALTER of the same table, in one transaction: PostgreSQL refuses that while deferred checks wait."""
    models = (
        "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True))]),"
        "migrations.CreateModel('Invoice', [('id', models.BigAutoField(primary_key=True)),"
        " ('item', models.ForeignKey('shop.item', models.CASCADE))])"
    )
    fill = (
        "def fill(apps, editor):\n"
        "    item = apps.get_model('shop', 'Item').objects.create()\n"
        "    apps.get_model('shop', 'Invoice').objects.create(item=item)\n"
    )
    files = {
        "0001_initial": migration(models),
        "0002_fill": migration("migrations.RunPython(fill, fill)", ("shop", "0001_initial"), code=fill),
        "0003_note": migration(
            "migrations.AddField('invoice', 'note', models.TextField(default=''))", ("shop", "0002_fill")
        ),
    }
    v1 = make(database, "v1", {"shop": {"0001_initial": files["0001_initial"]}})
    v2 = make(database, "v2", {"shop": files})
    v1.run("forward")
    assert v2.run("forward").moved == (0, "done", [], ["shop.0002_fill", "shop.0003_note"])
    assert v2.run("back", "--to", "build:v1").moved == (0, "done", ["shop.0003_note", "shop.0002_fill"], [])


INSERTS = """
def fill(apps, editor):
    apps.get_model('shop', 'Invoice').objects.create(item_id=1)
"""
COPIES = """
def fill(apps, editor):
    with editor.connection.cursor() as cursor:
        with cursor.copy("COPY shop_invoice (item_id) FROM STDIN") as copy:
            copy.write_row((1,))
"""
SELECTS = """
def fill(apps, editor):
    with editor.connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION sell() RETURNS void LANGUAGE sql AS 'INSERT INTO shop_invoice (item_id) VALUES (1)'")
        cursor.execute("SELECT sell()")
"""
FILLS = "migrations.RunPython(fill, migrations.RunPython.noop)"


@pytest.mark.parametrize("once", [True, False], ids=["one migration", "two migrations"])
@pytest.mark.parametrize("code", [INSERTS, COPIES, SELECTS], ids=["INSERT", "COPY", "SELECT"])
def test_rows_that_wait_for_their_check_however_they_were_written(
    code: str, once: bool, database: Any, make: Any, migration: Any
) -> None:
    """The table is altered by the migration that wrote the rows, or by the next."""
    models = (
        "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True))]),"
        "migrations.CreateModel('Invoice', [('id', models.BigAutoField(primary_key=True)),"
        " ('item', models.ForeignKey('shop.item', models.CASCADE, null=True))]),"
        "migrations.RunSQL('INSERT INTO shop_item DEFAULT VALUES; INSERT INTO shop_invoice DEFAULT VALUES', '')"
    )
    note = "migrations.AddField('invoice', 'note', models.TextField(default=''))"
    files = {
        "0001_initial": migration(models),
        "0002_fill": migration(f"{FILLS}, {note}" if once else FILLS, ("shop", "0001_initial"), code=code),
        "0003_note": migration("" if once else note, ("shop", "0002_fill")),
    }
    run = make(database, "v1", {"shop": files}).run("forward")
    assert (run.exit_status, run.result["reason"]) == (0, None)
    assert ours(run.result["applied"]) == ["shop.0001_initial", "shop.0002_fill", "shop.0003_note"]
    assert database.rows("SELECT item_id FROM shop_invoice WHERE item_id IS NOT NULL") == [(1,)]


def test_checks_may_wait_again_after_a_change_of_schema_that_could_not(
    database: Any, make: Any, migration: Any
) -> None:
    """Django has them checked at once where it fills a column that is NULL no more, for as long as the transaction lasts."""
    models = (
        "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True))]),"
        "migrations.CreateModel('Invoice', [('id', models.BigAutoField(primary_key=True)),"
        " ('item', models.ForeignKey('shop.item', models.CASCADE)), ('note', models.TextField(null=True))])"
    )
    child_first = (
        "def fill(apps, editor):\n"
        "    apps.get_model('shop', 'Invoice').objects.create(item_id=7)\n"
        "    apps.get_model('shop', 'Item').objects.create(id=7)\n"
    )
    note = "migrations.AlterField('invoice', 'note', models.TextField(default=''))"
    files = {
        "0001_initial": migration(models),
        "0002_note": migration(note, ("shop", "0001_initial")),
        "0003_fill": migration(FILLS, ("shop", "0002_note"), code=child_first),
    }
    run = make(database, "v1", {"shop": files}).run("forward")
    assert (run.exit_status, run.result["reason"]) == (0, None)
    assert database.rows("SELECT item_id FROM shop_invoice") == [(7,)]


def test_a_migration_that_is_not_atomic_runs_alone(database: Any, make: Any, history: Any, migration: Any) -> None:
    v2 = make(database, "v2", history["v2"])
    v2.run("forward")
    index = (
        "AddIndexConcurrently('item', models.Index(fields=['name'], name='item_name')),"
        "migrations.RunSQL('SELECT 1/(SELECT count(*) FROM shop_item)', 'SELECT 1')"
    )
    imports = "from django.contrib.postgres.operations import AddIndexConcurrently"
    fifth = "migrations.AddField('item', 'size', models.IntegerField(default=0))"
    shop = {
        **history["v3"]["shop"],
        "0004_index": migration(index, ("shop", "0003_slug"), code=imports, extra="atomic = False"),
        "0005_size": migration(fifth, ("shop", "0004_index")),
    }
    later = make(database, "later", {**history["v3"], "shop": shop})
    failed = later.run("forward")
    # What came before it is committed; it failed half way, and says so.
    assert failed.moved == (5, "failed", [], ["shop.0003_slug"])
    assert failed.result["reason"] == (
        "shop.0004_index: DataError: division by zero; it is not atomic, so a part of it may have stayed: clear that away, "
        "then pass --resume"
    )
    assert database.applied() == V3
    database.rows("INSERT INTO shop_item (name, price, slug) VALUES ('One', 1, 'one') RETURNING id")
    again = later.run("forward")
    assert again.moved == (4, "refused", [], [])
    ((began,),) = database.rows("SELECT started FROM lastgood_ledger WHERE finished IS NULL")
    assert again.result["reason"] == (
        f"shop.0004_index: build later began to apply it at {began.isoformat()[:19]}, outside a transaction, and nobody saw it end, so a "
        "part of it may be there: clear that away, or make sure that its operations bear it (IF EXISTS), and pass --resume"
    )
    assert later.run("check").stdout.splitlines()[-1] == "  interrupted  shop.0004_index"
    assert (
        later.run("history").stdout.splitlines()[0] == "interrupted          forward  shop.0004_index  later by tests"
    )
    # A build that does not want it undoes what is there; dropping an index that is not there is no mistake.
    assert v2.run("forward", "--resume").result["needs"] == "later"
    database.connection.execute("DROP INDEX item_name")
    assert later.run("forward", "--resume").moved == (0, "done", [], ["shop.0004_index", "shop.0005_size"])
    assert database.rows("SELECT count(*) FROM lastgood_ledger WHERE finished IS NULL") == [(1,)]
    order = ["shop.0005_size", "shop.0004_index", "shop.0003_slug"]
    assert later.run("back", "--to", "build:v2").moved == (0, "done", order, [])
    assert database.applied() == V2


def test_content_types_follow_a_renamed_model(database: Any, make: Any, history: Any, migration: Any) -> None:
    v1 = make(database, "v1", history["v1"])
    shop = {
        **history["v1"]["shop"],
        "0002_rename": migration("migrations.RenameModel('Item', 'Thing')", ("shop", "0001_initial")),
    }
    v2 = make(database, "v2", {"shop": shop})
    query = "SELECT id, model FROM django_content_type WHERE app_label = 'shop'"
    v1.run("forward")
    ((number, name),) = database.rows(query)
    assert name == "item"
    v2.run("forward")
    assert database.rows(query) == [(number, "thing")]
    v2.run("back", "--to", "build:v1")
    assert database.rows(query) == [(number, "item")]


def test_a_database_that_was_there_before_us(builds: Any, database: Any) -> None:
    """Rows that plain `migrate` wrote: nobody knows who applied them, so a build that has the files may undo them."""
    v1, v2, v3, _ = builds
    v1.run("forward")
    v2.run("forward")
    database.connection.execute("DROP TABLE lastgood_ledger, lastgood_build")
    unknown = v1.run("forward")
    assert (unknown.exit_status, unknown.result["needs"]) == (3, None)
    assert unknown.result["reason"] == (
        "billing.0001_initial and 1 more: applied, but not in build v1, and the ledger does not know which build "
        "applied it; run `back` of a build that has it"
    )
    assert v3.run("back", "--to", "build:v1").moved == (0, "done", V2[:0:-1], [])
    assert v1.run("forward").moved == (0, "nothing", [], [])


OLDER = [
    "ALTER TABLE lastgood_ledger ALTER COLUMN finished SET NOT NULL",
    "ALTER TABLE lastgood_build DROP COLUMN replaces",
    "ALTER TABLE lastgood_build DROP COLUMN fingerprint",
    """UPDATE lastgood_build SET manifest = regexp_replace(
        replace(manifest, '"schema": 2', '"schema": 1'), '"(lossy|holds|again)": \\[[^]]*\\],', '', 'g')""",
]


def test_a_ledger_that_an_older_migrator_made(builds: Any, database: Any) -> None:
    """Its tables get the columns that they lack, its manifests are read, and those of running builds renewed."""
    v1, v2, v3, _ = builds
    v1.run("forward")
    v2.run("forward")
    columns = (
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns"
        " WHERE table_name LIKE 'lastgood%' ORDER BY 1, 2"
    )
    before = database.rows(columns)
    for statement in OLDER:
        database.connection.execute(statement)
    assert v2.run("check").stdout == "in step with build v2\n"
    assert v1.run("plan", "--to", "build:v1").exit_status == 0
    assert v3.run("forward").moved == (0, "done", [], ["shop.0003_slug"])
    assert database.rows(columns) == before
    assert v3.run("back", "--to", "build:v1").moved == (0, "done", V3[:0:-1], [])
    assert v1.run("forward").moved == (0, "nothing", [], [])
    schemas = database.rows("SELECT build, manifest::json ->> 'schema' FROM lastgood_build ORDER BY 1")
    assert schemas == [("v1", "2"), ("v2", "1"), ("v3", "2")]
