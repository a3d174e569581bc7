"""What lives beside a migration: the old image, still writing; content types and permissions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from . import fleet as fleets
from .fleet import DJANGO, Fleet, Worker, contents
from .test_faults import FIRST, ID, MARK, file, tree

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


class OldImage:
    """Writes rows as code that knows no new column does, as fast as it can, until it is told to stop."""

    def __init__(self, info: str) -> None:
        self.info, self.stop = info, threading.Event()
        self.written: list[str] = []
        self.refused: list[str] = []
        self.thread = threading.Thread(target=self.write)

    def write(self) -> None:
        with psycopg.connect(self.info, autocommit=True) as connection:
            number = 0
            while not self.stop.is_set():
                number += 1
                try:
                    connection.execute("INSERT INTO s_item (mark) VALUES (%s)", [f"row {number}"])
                    self.written.append(f"row {number}")
                except psycopg.Error as error:
                    self.refused.append(type(error).__name__)

    def __enter__(self) -> OldImage:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


@pytest.mark.parametrize(
    ("field", "refused"),
    [
        ("models.IntegerField(db_default=7)", set()),
        ("models.IntegerField(null=True)", set()),
        ("models.IntegerField(default=7)", {"NotNullViolation"}),
    ],
)
def test_the_old_image_is_still_writing(
    fleet: Fleet, database: Any, tmp_path: Path, wait_for: Any, field: str, refused: set[str]
) -> None:
    if "db_default" in field and DJANGO < (5, 0):
        pytest.skip("db_default is Django 5.0's")
    add = file("s.0002", "s.0001", f"migrations.AddField('Item', 'size', {field})")
    old, new = _pair(fleet, database, tmp_path, tree(FIRST), tree(FIRST, add))
    assert old.run("forward").exit_status == 0
    with OldImage(database.info) as image:
        wait_for(lambda: image.written, "the old image writes")
        assert new.run("forward").exit_status == 0
        there = len(image.written) + len(image.refused)
        wait_for(lambda: len(image.written) + len(image.refused) > there + 1, "it writes to the new schema")
        assert new.run("back", "--to", "build:old").exit_status == 0
        there = len(image.written)
        wait_for(lambda: len(image.written) > there + 1, "it writes to the old schema again")
    assert set(image.refused) == refused
    assert [mark for (mark,) in database.rows("SELECT mark FROM s_item ORDER BY id")] == image.written
    fleet.close_workers()


def test_content_types_and_permissions(fleet: Fleet, database: Any, tmp_path: Path) -> None:
    rename = file("s.0002", "s.0001", "migrations.RenameModel('Item', 'Thing')")
    bill = file("a.0001", "s.0002", f"migrations.CreateModel('Bill', [{ID}, ('mark', {MARK})])")
    old, new = _pair(fleet, database, tmp_path, tree(FIRST), tree(FIRST, rename, bill))

    def seen() -> tuple[dict[str, int], set[str]]:
        types = database.rows("SELECT model, id FROM django_content_type WHERE app_label IN ('a', 's')")
        permissions = database.rows(
            "SELECT codename FROM auth_permission p JOIN django_content_type c ON c.id = p.content_type_id"
            " WHERE c.app_label IN ('a', 's') AND codename LIKE 'add%'"
        )
        return dict(types), {name for (name,) in permissions}

    assert old.run("forward").exit_status == 0
    before, _ = seen()
    assert seen() == ({"item": before["item"]}, {"add_item"})
    assert new.run("forward").exit_status == 0
    types, permissions = seen()
    # What points to the content type goes with the model.
    assert types == {"thing": before["item"], "bill": types["bill"]}
    assert permissions >= {"add_thing", "add_bill"}
    assert new.run("back", "--to", "build:old").exit_status == 0
    types, permissions = seen()
    assert types["item"] == before["item"]
    assert "thing" not in types
    assert "add_item" in permissions
    fleet.close_workers()


def test_a_schema_change_and_data_in_one_migration(fleet: Fleet, database: Any, tmp_path: Path) -> None:
    """Going back, the row is deleted first, and its check by the foreign key would stop the column from being dropped."""
    bill = file(
        "t.0001",
        "s.0001",
        f"migrations.CreateModel('Bill', [{ID}, ('item', models.ForeignKey('s.Item', models.CASCADE))])",
    )
    data = "migrations.RunPython(*rows('s', 'Item', 'a row'))"
    size = "migrations.AddField('Item', '{}', models.IntegerField(null=True))"
    both = file("s.0002", "s.0001", size.format("size"), data, size.format("weight"))
    old, new = _pair(fleet, database, tmp_path, tree(FIRST, bill), tree(FIRST, bill, both))
    assert old.run("forward").exit_status == 0
    before = contents(database.connection)
    assert new.run("forward").result["applied"] == ["s.0002"]
    assert new.run("back", "--to", "build:old").result["undone"] == ["s.0002"]
    assert contents(database.connection) == before
    fleet.close_workers()


def test_a_rename_is_tried_again(fleet: Fleet, database: Any, tmp_path: Path, wait_for: Any) -> None:
    """The first attempt to undo it meets a lock; the second must not find the operation turned round."""
    rename = file("s.0002", "s.0001", "migrations.RenameModel('Item', 'Thing')")
    old, new = _pair(fleet, database, tmp_path, tree(FIRST), tree(FIRST, rename))
    assert old.run("forward").exit_status == 0
    assert new.run("forward").exit_status == 0
    blocked = "SELECT 1 FROM pg_locks WHERE relation = 's_thing'::regclass AND NOT granted"
    with psycopg.connect(database.info) as reader:
        reader.execute("SELECT * FROM s_thing")
        new.send({"arguments": ["back", "--to", "build:old", "--lock-timeout", "0.3"]})
        wait_for(lambda: database.rows(blocked), "it waits for the reader")
        wait_for(lambda: not database.rows(blocked), "it gives up for now")
    answer = new.receive()
    assert answer
    assert answer["exit_status"] == 0, answer["stdout"]
    assert "trying again" in answer["stdout"]
    fleet.close_workers()


def _pair(fleet: Fleet, database: Any, folder: Path, *trees: Any) -> tuple[Worker, Worker]:
    for build, files in zip(("old", "new"), trees, strict=True):
        fleets.write(folder / build, files, "django.contrib.auth")
    old, new = (fleet.build(folder / build, build, database.django) for build in ("old", "new"))
    return old, new
