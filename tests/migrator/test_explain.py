"""What `plan` says of a step: operations, SQL, locks, and whether the build before can go on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from migrator.database import table_locks


@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        ('ALTER TABLE "shop_item" ADD COLUMN "slug" text NULL;', "ACCESS EXCLUSIVE"),
        ('ALTER TABLE "a" ADD CONSTRAINT "x" FOREIGN KEY ("b") REFERENCES "b" ("id");', "SHARE ROW EXCLUSIVE"),
        ('ALTER TABLE "a" ADD CONSTRAINT "x" UNIQUE ("b");', "ACCESS EXCLUSIVE"),
        ('ALTER TABLE IF EXISTS ONLY "a" VALIDATE CONSTRAINT "x";', "SHARE UPDATE EXCLUSIVE"),
        ('CREATE INDEX CONCURRENTLY "i" ON "a" ("b");', "SHARE UPDATE EXCLUSIVE"),
        ('CREATE UNIQUE INDEX "i" ON "a" ("b");', "SHARE"),
        ('DROP INDEX CONCURRENTLY IF EXISTS "i";', "SHARE UPDATE EXCLUSIVE"),
        ('DROP INDEX IF EXISTS "i";', "ACCESS EXCLUSIVE"),
        ('DROP TABLE "a" CASCADE;', "ACCESS EXCLUSIVE"),
        ("UPDATE a\nSET b = 1", "ROW EXCLUSIVE"),
        ("SELECT 1", None),
        ("SELECT b FROM a FOR UPDATE", "ROW SHARE"),
        ('CREATE TABLE "a" ("id" bigint);', None),
        ("SET CONSTRAINTS x IMMEDIATE;", None),
    ],
)
def test_locks(statement: str, mode: str | None) -> None:
    assert table_locks.mode(statement) == mode


OPERATIONS = """
migrations.RenameField('item', 'name', 'title'),
migrations.AddField('item', 'size', models.IntegerField(default=0)),
migrations.AddField('item', 'note', models.TextField(null=True)),
migrations.AlterField('item', 'price', models.IntegerField(unique=True)),
migrations.CreateModel('Other', [('id', models.BigAutoField(primary_key=True))]),
migrations.AddField('other', 'size', models.IntegerField(default=0)),
migrations.SeparateDatabaseAndState(database_operations=[], state_operations=[migrations.DeleteModel('Other')]),
"""


@pytest.mark.postgres
@pytest.mark.slow
def test_whether_the_build_before_can_run_on_the_new_schema(
    builds: Any, database: Any, make: Any, history: Any, migration: Any, tmp_path: Any
) -> None:
    _, v2, _, _ = builds
    v2.run("forward")
    shop = {**history["v2"]["shop"], "0003_more": migration(OPERATIONS, ("shop", "0002_price"))}
    more = make(database, "more", {**history["v2"], "shop": shop})
    target = tmp_path / "more.json"
    target.write_text(more.run("manifest").stdout)
    before = database.schema()
    run = more.run("plan", "--to", str(target), "--json")
    assert (run.exit_status, run.stderr, database.schema()) == (0, "", before)
    (phase,) = json.loads(run.stdout)["phases"]
    assert phase["predecessor"] == {
        "compatible": False,
        "why": [
            "shop.0003_more: Rename field name on item to title: it knows only the old name",
            "shop.0003_more: Add field size to item: its INSERT has no value for it; give it db_default, or let it be NULL",
            "shop.0003_more: Alter field price on item: it may write the same value twice",
        ],
    }
    (details,) = phase["details"]
    assert [each["description"] for each in details["operations"]][:2] == [
        "Rename field name on item to title",
        "Add field size to item",
    ]
    statement = {"statement": 'ALTER TABLE "shop_item" RENAME COLUMN "name" TO "title";', "lock": "ACCESS EXCLUSIVE"}
    assert details["operations"][0]["sql"] == [statement]
