"""What is refused, and that nothing was touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SIZE = "migrations.AddField('item', 'size', models.IntegerField(default=0)),"
HIDDEN = "migrations.SeparateDatabaseAndState(database_operations=[migrations.RunSQL('DELETE FROM shop_item')])"


@pytest.fixture
def stuck(database: Any, make: Any, history: Any, migration: Any) -> Any:
    """Give a build whose 0002 has no way back, well hidden, below a 0003 that has one."""

    def build(name: str, extra: str = "") -> Any:
        shop = {
            **history["v1"]["shop"],
            "0002_clean": migration(HIDDEN, ("shop", "0001_initial"), extra=extra),
            "0003_size": migration(SIZE, ("shop", "0002_clean")),
        }
        return make(database, name, {"shop": shop})

    return build


def test_forward_refuses_what_could_not_be_undone(builds: Any, database: Any, stuck: Any) -> None:
    builds[0].run("forward")
    database.rows("INSERT INTO shop_item (name) VALUES ('Kept') RETURNING id")
    before, v2 = database.schema(), stuck("stuck")
    refused = v2.run("forward")
    assert refused.moved == (4, "refused", [], [])
    assert refused.result["reason"] == (
        "shop.0002_clean could not be undone: RunSQL(DELETE FROM shop_item) has no reverse; give it one, "
        'say `rollback = "why this is acceptable"` in the migration, or pass --accept-loss'
    )
    assert (database.schema(), database.applied()) == (before, ["shop.0001_initial"])
    assert database.rows("SELECT name FROM shop_item") == [("Kept",)]
    assert v2.run("forward", "--accept-loss").moved == (0, "done", [], ["shop.0002_clean", "shop.0003_size"])


def test_an_empty_database_can_take_what_could_not_be_undone(stuck: Any) -> None:
    assert stuck("stuck").run("forward").exit_status == 0


@pytest.mark.parametrize("option", ["--no-gate", None])
def test_back_refuses_before_the_first_statement(builds: Any, database: Any, stuck: Any, option: str | None) -> None:
    """Django would undo 0003, commit that, and only then find that 0002 has no way back."""
    builds[0].run("forward")
    v2 = stuck("stuck", "" if option else "rollback = 'old rows only'")
    assert v2.run("forward", *([option] if option else [])).exit_status == 0
    before = database.schema()
    refused = v2.run("back", "--to", "build:v1")
    accepted = "" if option else " (accepted: old rows only)"
    assert refused.moved == (4, "refused", [], [])
    reason = f"shop.0002_clean can't be undone: RunSQL(DELETE FROM shop_item) has no reverse{accepted}"
    assert refused.result["reason"] == reason
    assert database.schema() == before
    plan = v2.run("plan", "--to", "build:v1")
    assert (plan.exit_status, plan.stdout) == (4, f"refused: {reason}\n")


def test_a_name_belongs_to_one_build(builds: Any, database: Any, make: Any, history: Any) -> None:
    builds[1].run("forward")
    other = make(database, "v2", history["v3"], folder="other").run("forward")
    assert other.moved == (4, "refused", [], [])
    assert other.result["reason"] == "the database knows another build v2 with other migrations: a name is one build's"


def test_the_files_must_be_those_of_the_manifest(builds: Any, tmp_path: Any) -> None:
    _, v2, v3, _ = builds
    path = tmp_path / "manifest.json"
    path.write_text(v2.run("manifest").stdout)
    assert v2.run("forward", LASTGOOD_MANIFEST=str(path)).exit_status == 0
    run = v3.run("forward", LASTGOOD_MANIFEST=str(path), LASTGOOD_BUILD="")
    assert (run.exit_status, run.result["status"], run.result["build"]) == (4, "refused", None)
    assert run.result["reason"] == "the files of this image are not those of its manifest: shop.0003_slug"
    run = v3.run("forward", LASTGOOD_MANIFEST=str(path))
    assert (run.exit_status, run.result["status"]) == (2, "refused")
    assert run.result["reason"] == f"the manifest {path} is of build v2, but --build says v3"


@pytest.mark.parametrize(
    ("arguments", "change", "status", "reason"),
    [
        (
            ["back", "--to", "build:v9"],
            {},
            "refused",
            "the database has never met build v9: run its `forward`, or pass its manifest's path",
        ),
        (["back"], {}, "refused", "the following arguments are required: --to (see `python -m migrator --help`)"),
        (
            ["forward"],
            {"LASTGOOD_BUILD": ""},
            "refused",
            "this build has no name: pass --build NAME, or set LASTGOOD_BUILD or LASTGOOD_MANIFEST",
        ),
        (
            ["forward"],
            {"DJANGO_SETTINGS_MODULE": "nowhere"},
            "refused",
            "the settings module nowhere does not import: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            ["forward", "--database", "other"],
            {},
            "refused",
            "the settings have no database 'other': there are default",
        ),
    ],
)
def test_a_wrong_call_still_ends_in_a_result(
    builds: Any, arguments: list[str], change: dict[str, str], status: str, reason: str
) -> None:
    run = builds[0].run(*arguments, **change)
    assert (run.exit_status, run.result["status"], run.result["reason"]) == (2, status, reason)


def test_a_database_that_does_not_answer(builds: Any, database: Any) -> None:
    nowhere = json.dumps({**database.django, "HOST": "127.0.0.1", "PORT": "1"})
    run = builds[0].run("forward", TEST_DATABASE=nowhere)
    assert (run.exit_status, run.result["status"]) == (5, "failed")
    assert run.result["reason"].startswith("OperationalError: connection failed: ")
    check = builds[0].run("check", TEST_DATABASE=nowhere)
    assert (check.exit_status, check.stdout) == (5, "")
    assert check.stderr.startswith("OperationalError: connection failed: ")
    assert check.stderr.count("\n") == 1


def test_a_file_that_was_changed_after_it_was_applied(builds: Any, database: Any, make: Any, history: Any) -> None:
    """Refused where it would do something else now; not asked again once it was accepted."""
    _, v2, _, _ = builds
    v2.run("forward")
    history["v3"]["shop"]["0002_price"] = history["v3"]["shop"]["0002_price"].replace("IntegerField", "BigIntegerField")
    v3 = make(database, "v3", history["v3"], folder="edited")
    before = database.schema()
    reason = (
        "shop.0002_price was applied by build v2, and does something else in build v3, which would never happen here: put the file back as "
        "it was and say the rest in a new migration, or pass --accept-loss"
    )
    refused = v3.run("forward")
    assert (refused.exit_status, refused.result["status"], refused.result["reason"]) == (4, "refused", reason)
    assert database.schema() == before
    target = v3.folder / "v3.json"
    target.write_text(v3.run("manifest").stdout)
    planned = v3.run("plan", "--to", str(target))
    assert (planned.exit_status, planned.stdout) == (4, f"refused: {reason}\n")
    undone = v2.run("back", "--to", str(target))
    assert (undone.exit_status, undone.result["reason"]) == (4, reason)
    assert v3.run("forward").exit_status == 4, "having been asked for is no consent"
    assert v3.run("forward", "--accept-loss").moved == (0, "done", [], ["shop.0003_slug"])
    assert v3.run("forward").moved == (0, "nothing", [], [])


def test_a_build_that_was_here_before_the_other_file_was_applied(
    builds: Any, database: Any, make: Any, history: Any
) -> None:
    """Having been here is no consent to what was applied later, under the same name."""
    v1, v2, _, _ = builds
    v1.run("forward")
    v2.run("forward")
    v2.run("back", "--to", "build:v1")
    history["v3"]["shop"]["0002_price"] = history["v3"]["shop"]["0002_price"].replace("IntegerField", "BigIntegerField")
    v3 = make(database, "v3", history["v3"], folder="edited")
    assert v3.run("forward").exit_status == 0
    before = database.schema()
    refused = v2.run("forward")
    assert refused.moved == (4, "refused", [], [])
    assert refused.result["reason"].startswith(
        "shop.0002_price was applied by build v3, and does something else in build v2, "
    )
    assert database.schema() == before, "nothing is undone for a build that would be refused"
    assert v2.run("forward", "--accept-loss").moved == (3, "needs", [], [])
    assert v3.run("back", "--to", "build:v2").moved == (0, "done", ["shop.0003_slug"], [])
    assert v2.run("forward").exit_status == 4, "a loss is accepted for one run"
    assert v2.run("forward", "--accept-loss").moved == (0, "nothing", [], [])
