"""Squashed migrations over one PostgreSQL database: files kept, files deleted, `replaces` dropped, squashed again."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from .fleet import PACKAGES, PYTHON

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

ITEM = (
    "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True)), ('name', models.TextField()),"
    " ('price', models.IntegerField(default=0))])"
)
SLUG = "migrations.AddField('item', 'slug', models.TextField(default=''))"
FIRST, SECOND, THIRD = ("shop", "0001_initial"), ("shop", "0002_price"), ("shop", "0003_slug")
SQUASHED = ("shop", "0001_squashed")
ROWS = ["shop.0001_initial", "shop.0002_price"]


@pytest.fixture
def trees(history: Any, migration: Any) -> Any:
    """Give the shop of builds: before the squash, with both, with the squash alone, with its `replaces` dropped."""
    both = {**history["v2"]["shop"], "0001_squashed": migration(ITEM, extra=f"replaces = {[FIRST, SECOND]}")}
    alone = {"0001_squashed": both["0001_squashed"], "0003_slug": migration(SLUG, SQUASHED)}
    dropped = {"0001_squashed": migration(ITEM), "0003_slug": migration(SLUG, SQUASHED)}
    return {"before": history["v2"]["shop"], "both": both, "alone": alone, "dropped": dropped}


@pytest.fixture
def squashed(database: Any, make: Any, trees: Any) -> Any:
    return {name: make(database, name, {"shop": tree}) for name, tree in trees.items()}


def test_through_the_life_of_a_squash_and_back(squashed: Any, database: Any) -> None:
    before, both, alone, dropped = squashed.values()
    assert before.run("forward").exit_status == 0
    schema = database.schema()
    assert both.run("forward").moved == (0, "nothing", [], [])
    # The row of the squash is there for Django, too, which finds nothing to do, whichever build it is.
    assert database.applied() == [*ROWS, "shop.0001_squashed"]
    assert alone.run("forward").moved == (0, "done", [], ["shop.0003_slug"])
    assert dropped.run("forward").moved == (0, "nothing", [], [])
    assert dropped.run("check").stdout == "in step with build dropped\n"
    assert before.run("check").stdout == "ahead with build before\n  extra  shop.0003_slug\n"

    assert before.run("forward").result["needs"] == "alone"
    assert dropped.run("back", "--to", "build:before").moved == (0, "done", ["shop.0003_slug"], [])
    assert before.run("forward").moved == (0, "nothing", [], [])
    assert (database.schema(), before.run("check").stdout) == (schema, "in step with build before\n")


def test_a_fresh_database_of_the_squash_alone_goes_to_the_originals(squashed: Any, database: Any) -> None:
    before, both, alone, _ = squashed.values()
    assert alone.run("forward").exit_status == 0
    assert database.applied() == [*ROWS, "shop.0001_squashed", "shop.0003_slug"]
    assert both.run("forward").result["needs"] == "alone"
    assert alone.run("back", "--to", "build:both").moved == (0, "done", ["shop.0003_slug"], [])
    assert both.run("forward").moved == (0, "nothing", [], [])
    assert before.run("forward").moved == (0, "nothing", [], [])


def test_a_stepping_stone_back(squashed: Any, database: Any, make: Any, trees: Any, tmp_path: Any) -> None:
    """Half of what the squash made must go: only a build that has the originals can do that."""
    _, both, alone, _ = squashed.values()
    del trees["before"]["0002_price"]
    first = make(database, "first", {"shop": trees["before"]})
    first.run("forward")
    schema = database.schema()
    assert both.run("forward").moved == (0, "done", [], ["shop.0002_price"])
    assert alone.run("forward").exit_status == 0

    needs = first.run("forward").result
    assert (needs["needs"], needs["needs_digest"], needs["needs_direction"]) == ("alone", "sha256:alone", "back")
    run = alone.run("back", "--to", "build:first")
    assert run.moved == (3, "needs", ["shop.0003_slug"], [])
    assert (run.result["needs"], run.result["needs_direction"]) == ("both", "back")
    assert run.result["reason"] == ("shop.0002_price: applied, but not in build first; build both must undo it first")
    assert both.run("back", "--to", "build:first").moved == (0, "done", ["shop.0002_price"], [])
    assert first.run("forward").moved == (0, "nothing", [], [])
    assert (database.schema(), database.applied()) == (schema, ["shop.0001_initial"])


def test_a_stepping_stone_forward(squashed: Any, database: Any, make: Any, trees: Any, tmp_path: Any) -> None:
    """Half of the squash is applied: the build that has only the squash can't go on, one between the two can."""
    _, both, alone, _ = squashed.values()
    first = make(database, "first", {"shop": {"0001_initial": trees["before"]["0001_initial"]}})
    first.run("forward")
    refused = alone.run("forward")
    assert refused.moved == (4, "refused", [], [])
    assert refused.result["reason"] == (
        "build alone has only the squashed migration shop.0001_squashed, of which shop.0002_price is not applied yet: a build that has "
        "the originals must run first; pass its manifest with --via"
    )
    manifest = tmp_path / "both.json"
    manifest.write_text(both.run("manifest").stdout)
    needs = alone.run("forward", "--via", str(manifest)).result
    assert (needs["needs"], needs["needs_digest"], needs["needs_direction"]) == ("both", None, "forward")
    handed = both.run("forward", "--to", "build:alone")
    assert handed.moved == (3, "needs", [], ["shop.0002_price"])
    assert (handed.result["needs"], handed.result["needs_direction"]) == ("alone", "forward")
    assert alone.run("forward").moved == (0, "done", [], ["shop.0003_slug"])
    assert database.applied() == ["shop.0001_initial", "shop.0002_price", "shop.0001_squashed", "shop.0003_slug"]


def test_a_stale_row_of_a_squash_goes(squashed: Any, database: Any) -> None:
    """Django writes the row of a squash and leaves it there when it undoes the originals."""
    _, both, _, _ = squashed.values()
    both.run("forward")
    environment = {**both.environment, "PYTHONPATH": ":".join(map(str, (both.folder, *PACKAGES)))}
    command = [PYTHON, "-m", "django", "migrate", "shop", "0001_initial"]
    subprocess.run(command, cwd=both.folder, env=environment, check=True, capture_output=True)
    assert database.applied() == ["shop.0001_initial", "shop.0001_squashed"]
    assert both.run("check").stdout == "behind with build both\n  missing  shop.0002_price\n"
    database.connection.execute("INSERT INTO shop_item (name) VALUES ('Old')")
    assert both.run("forward").moved == (0, "done", [], ["shop.0002_price"])
    assert sorted(database.applied()) == [*ROWS[:1], "shop.0001_squashed", "shop.0002_price"]
