"""What a release would do, told and not done; and what two builds' manifests foretell of the database."""

from __future__ import annotations

import base64
import copy
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from lastgood.deploy import deploy, dry_run, rollback
from lastgood.deploy.dry_run import render
from lastgood.deploy.place import Place
from lastgood.errors import Refused
from lastgood.record import migrations
from lastgood.record.forecast import Forecast, forecast
from lastgood.record.lock import Lock
from lastgood.record.migrations import Migration
from lastgood.record.release import BuildFacts
from lastgood.record.table import Record

UNKNOWN = "what the code of the build before can't live with is not known"


def manifest(*names: str, **more: dict[str, Any]) -> bytes:
    """A manifest as it lies in an image; `more` has what is said of a migration, by its name with underscores."""
    listed = []
    for key in names:
        app, name = key.split(".")
        base = {"app": app, "name": name, "sha256": "0" * 64, "dependencies": [], "replaces": [], "atomic": True}
        whole = base | {"irreversible": [], "lossy": [], "holds": [], "again": [], "breaks": [], "rollback": None}
        listed.append(whole | more.get(key.replace(".", "_"), {}))
    return json.dumps({"schema": 2, "build": "b", "django": "6.0", "migrations": listed}).encode()


@pytest.fixture
def two(account: Any, record: Record, facts: Any) -> tuple[BuildFacts, BuildFacts]:
    """Build `a`, released and good, and build `b`, pushed, with a migration more that loses data."""
    loses = {"lossy": ["RemoveField shop.Item.colour"], "rollback": "nobody uses it", "breaks": ["DROP COLUMN colour"]}
    first = replace(facts("a"), migrations=migrations.pack(manifest("shop.1")))
    second = replace(facts("b"), migrations=migrations.pack(manifest("shop.1", "shop.2", shop_2=loses)))
    for build in (first, second):
        record.put_build(build)
        account.registry.add(build.digest)
    record.good(record.begin("deploy", facts("a"), who="ada", reason=""), undone=[], applied=[])
    account.cloudformation.add("board-staging", "UPDATE_COMPLETE", {"ImageDigest": first.digest})
    account.running = (first.digest,)
    return first, second


def told(account: Any, build: BuildFacts, **more: Any) -> dict[str, Any]:
    """A dry run of a deploy; nothing may be touched by it."""
    before = copy.deepcopy(account.table.items), copy.deepcopy(account.cloudformation.stacks)
    found = dry_run.dry_run(Place(account, account.folder), deploy.ordered(build, who="ada", reason="", **more))
    assert (account.table.items, account.cloudformation.stacks) == before
    assert account.cloudformation.changes == {}
    return found


def test_a_deploy_is_shown_and_not_made(account: Any, two: tuple[BuildFacts, BuildFacts]) -> None:
    found = told(account, two[1])
    assert account.cloudformation.calls == ["change set UPDATE", "discard"]
    assert render(found) == (
        "dry run    release 2, deploy of build b (version b) to staging; nothing was touched\n"
        "last good  release 1, build a\n"
        "stack      board-staging: UPDATE_COMPLETE\n"
        "database   apply shop.2 (by the builds' manifests; which tables it locks, and how long, only the database tells: that takes a "
        "release task in the cluster, of the environment's Cpu and Memory for about a minute)\n"
        "\n"
        "what would be asked of whom\n"
        "  CloudFormation: 1 change in one update\n"
        "  the migration function: a release task of build b\n"
        "  ECS: tasks of build b, and that the old ones leave when those are well; the old ones again where they are not\n"
        "  the application: to answer as build b, in step with its database at https://board.example\n"
        "\n"
        "change  resource   type               replaced\n"
        "──────  ─────────  ─────────────────  ────────\n"
        "Modify  Migration  Custom::Migration\n"
        "\n"
        "lost for good\n"
        "  shop.2: RemoveField shop.Item.colour (accepted: nobody uses it)\n"
        "\n"
        "the build that is left can't live with\n"
        "  shop.2: DROP COLUMN colour"
    )
    json.dumps(found)


def test_a_first_deploy_leaves_no_empty_stack(account: Any, record: Record, facts: Any) -> None:
    record.put_build(facts("a"))
    account.registry.add(facts("a").digest)
    place, order = Place(account, account.folder), deploy.ordered(facts("a"), who="ada", reason="")
    found = dry_run.dry_run(place, order)
    assert account.cloudformation.calls == ["change set CREATE", "discard", "delete"]
    assert place.stack.watch(lambda _events: None) is None
    assert (found["release"], found["last_good"], found["status"]) == (1, None, None)
    assert found["database"]["why"] == "there is no last good, so that what the database holds is not known"


def test_an_empty_stack_that_was_there_stays(account: Any, two: tuple[BuildFacts, BuildFacts]) -> None:
    account.cloudformation.add("board-staging", "REVIEW_IN_PROGRESS", {})
    told(account, two[1])
    assert account.cloudformation.calls == ["change set CREATE", "discard"]


def test_a_rollback_is_shown_and_not_made(
    account: Any, record: Record, two: tuple[BuildFacts, BuildFacts], facts: Any
) -> None:
    record.good(record.begin("deploy", facts("b"), who="ada", reason=""), undone=[], applied=[])
    place = Place(account, account.folder)
    found = dry_run.dry_run(place, rollback.ordered(place, None, recreate=False, who="ada", reason=""))
    assert (found["kind"], found["build"]["build"], found["undoes"]) == ("rollback", "a", [2])
    assert found["database"]["back"] == ["shop.2"]
    text = render(found)
    assert (
        "1 change in one update, or two where the build can live with the newer schema: the service first, then the database"
        in text
    )
    assert "undone     release 2\n" in text
    assert (
        "  the migration function: a release task of build a, after one of the build that applied what must go, where something must\n"
        in text
    )
    assert account.cloudformation.calls == ["change set UPDATE", "discard"]


def test_giving_the_stack_up_is_shown(account: Any, two: tuple[BuildFacts, BuildFacts]) -> None:
    place = Place(account, account.folder)
    found = dry_run.dry_run(place, rollback.ordered(place, None, recreate=True, who="ada", reason=""))
    assert found["first"] == [
        "the stack is deleted, and its load balancer's name with it; the database, the record and the log stay"
    ]
    assert found["changes_unknown"] == "CloudFormation makes no change set for a stack that is to be deleted first"
    assert found["database"]["why"] == "both builds know the same migrations: it stays as it is"
    assert account.cloudformation.calls == []


@pytest.mark.parametrize(
    ("status", "first", "calls"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", [], ["change set UPDATE", "discard"]),
        ("UPDATE_IN_PROGRESS", ["the stack is UPDATE_IN_PROGRESS: its end is waited for"], []),
        (
            "UPDATE_ROLLBACK_FAILED",
            [
                "the stack is UPDATE_ROLLBACK_FAILED: its rollback is continued, without what is proved to be as last good had it"
            ],
            [],
        ),
        (
            "DELETE_FAILED",
            [
                (
                    "the stack is DELETE_FAILED: the release is refused: somebody has deleted it already, and what could not be deleted "
                    "is left; "
                    "it takes nothing but another deletion; but something of it still runs or answers"
                )
            ],
            [],
        ),
    ],
)
def test_what_would_happen_first(
    account: Any, two: tuple[BuildFacts, BuildFacts], status: str, first: list[str], calls: list[str]
) -> None:
    account.cloudformation.add("board-staging", status, {})
    assert told(account, two[1])["first"] == first
    assert account.cloudformation.calls == calls


def test_a_release_that_was_left_is_told_of(
    account: Any, record: Record, two: tuple[BuildFacts, BuildFacts], facts: Any
) -> None:
    record.begin("deploy", facts("b"), who="grace", reason="")
    found = told(account, two[1])
    assert (found["release"], found["first"]) == (
        3,
        ["release 2 is pending, and its command is gone: it is ended by what runs"],
    )


def test_somebody_who_deploys_is_named(account: Any, record: Record, two: tuple[BuildFacts, BuildFacts]) -> None:
    with Lock(record, who="grace", what="release 9"):
        found = told(account, two[1])
    assert f"lock       refused as long as grace has it, since {found['lock']['since']} (release 9)\n" in render(found)


def test_an_image_that_is_not_there_is_refused(account: Any, two: tuple[BuildFacts, BuildFacts]) -> None:
    account.registry.clear()
    with pytest.raises(Refused, match=r"^the registry of staging does not hold "):
        told(account, two[1])


def test_last_good_again_is_nothing_to_do(account: Any, two: tuple[BuildFacts, BuildFacts]) -> None:
    found = told(account, two[0])
    assert "outcome    it is last good already: nothing to do without --force\n" in render(found)


def test_a_build_from_before_migrations_were_kept(account: Any, record: Record, facts: Any) -> None:
    for name in "ab":
        record.put_build(facts(name))
    last = record.good(record.begin("deploy", facts("a"), who="ada", reason=""), undone=[], applied=[])
    found = dry_run.database(record, facts("b"), last)
    assert (found["known"], found["why"]) == (
        False,
        "the record does not know the migrations of build a and b: push it again",
    )


def test_migrations_that_can_not_be_read(account: Any, record: Record, facts: Any) -> None:
    for name in "ab":
        record.put_build(replace(facts(name), migrations="x"))
    last = record.good(record.begin("deploy", facts("a"), who="ada", reason=""), undone=[], applied=[])
    found = dry_run.database(record, facts("b"), last)
    assert found["why"].startswith("what the record keeps of the builds' migrations can't be read: ")


def test_what_the_record_keeps_of_a_manifest() -> None:
    known = manifest("a.1", "a.2", a_2={"replaces": ["a.1"], "irreversible": ["x"], "breaks": None})
    text = migrations.pack(known)
    assert migrations.unpack(text) == (
        Migration("a.1", breaks=()),
        Migration("a.2", replaces=("a.1",), irreversible=("x",)),
    )
    bomb = base64.b64encode(zlib.compress(b"[" + b" " * 9_000_000 + b"]")).decode()
    for damaged in ("", "x", text[:-4], bomb, base64.b64encode(zlib.compress(b"[1]")).decode()):
        with pytest.raises(ValueError, match=r"."):
            migrations.unpack(damaged)


def test_a_thousand_migrations_fit_into_an_item() -> None:
    names = [f"application{number % 30}.{number:04}_auto_20260101_{number:04}" for number in range(1000)]
    assert len(migrations.pack(manifest(*names))) < 40_000


def of(text: str) -> list[Migration]:
    """Migrations, as `1 2 3=1+2`: a squash of 1 and 2."""
    found = []
    for word in text.split():
        key, _, replaced = word.partition("=")
        found.append(Migration(key, tuple(replaced.split("+")) if replaced else (), breaks=()))
    return found


@pytest.mark.parametrize(
    ("now", "wanted", "back", "forward"),
    [
        ("", "1 2", "", "1 2"),
        ("1 2", "1 2", "", ""),
        ("1 2", "1 2 3", "", "3"),
        ("1 2 3", "1", "3 2", ""),
        ("1 2 4", "1 2 3", "4", "3"),
        ("1 2", "1 2 9=1+2", "", ""),
        ("1 2", "9=1+2 3", "", "3"),
        ("9=1+2 3", "1 2", "3", ""),
        ("1", "9=1+2", "", "9"),
        ("", "1 2 9=1+2", "", "1 2"),
        ("8=9+3", "1 2 3 9=1+2 4", "", "4"),
    ],
)
def test_forecast(now: str, wanted: str, back: str, forward: str) -> None:
    found = forecast(of(now), of(wanted))
    assert (" ".join(found.back), " ".join(found.forward)) == (back, forward)


def test_what_is_lost_and_what_breaks() -> None:
    gone = Migration("a.2", holds=("AddField colour",), irreversible=("RunPython fill",), lossy=("never told",))
    come = Migration("a.3", lossy=("RemoveField size",), irreversible=("RunSQL x",), holds=("never told",))
    assert forecast([gone], [come]) == Forecast(
        back=("a.2",),
        forward=("a.3",),
        losses=(
            "a.2: undoing it: RunPython fill",
            "a.2: undoing it: AddField colour",
            "a.3: RunSQL x",
            "a.3: RemoveField size",
        ),
        breaks=(f"a.3: {UNKNOWN}",),
    )
