"""Which builds stay, whatever their age: run, to go back to, or needed to undo what they applied. In doubt all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from lastgood.deploy import retention
from lastgood.record import migrations
from lastgood.record.release import BuildFacts, Release
from lastgood.record.table import Record, everything

Facts = Callable[[str], BuildFacts]


def brings(*keys: str) -> str:
    """A build's migrations as the record has them."""
    listed = [{"app": key.partition(".")[0], "name": key.partition(".")[2]} for key in keys]
    return migrations.pack(json.dumps({"migrations": listed}).encode())


def ended(record: Record, build: BuildFacts, state: str = "good", kind: str = "deploy", **moved: list[str]) -> Release:
    """A release that has ended, with what it has applied and undone."""
    lists = {"applied": [], "undone": []} | moved
    release = record.begin(kind, build, who="ada", reason="")
    return record.good(release, **lists) if state == "good" else record.failed(release, "no", **lists)


def why(record: Record, keep: int = 1) -> dict[str, str]:
    """{build: why it stays}."""
    found, _ = retention.needed(everything(record.table), keep)
    names = {one["digest"]: one["build"] for one in record.table.items.values() if "build" in one}
    return {names[digest]: reason for digest, reason in found.items()}


def test_last_good_and_those_before_it(record: Record, facts: Facts) -> None:
    for name in "abcdabcd":
        ended(record, facts(name))
    assert why(record, 2) == {
        "d": "last good of staging",
        "c": "one of the 2 builds before last good of staging",
        "b": "one of the 2 builds before last good of staging",
    }


def test_what_has_no_end_yet(record: Record, facts: Facts) -> None:
    ended(record, facts("a"))
    record.begin("deploy", facts("b"), who="ada", reason="")
    assert why(record) == {"a": "last good of staging", "b": "release 2 of staging has no end yet"}


def test_who_applied_what_nobody_has_undone_stays(record: Record, facts: Facts) -> None:
    ended(record, facts("a"), applied=["x.1"])
    ended(record, facts("b"), applied=["x.2"])
    for name in "cdef":
        ended(record, facts(name))
    assert why(record) == {
        "a": "staging: it may have applied x.1, and nothing has undone that",
        "b": "staging: it may have applied x.2, and nothing has undone that",
        "e": "one of the 1 builds before last good of staging",
        "f": "last good of staging",
    }


def test_what_was_undone_needs_nobody(record: Record, facts: Facts) -> None:
    ended(record, facts("a"), applied=["x.1"])
    ended(record, facts("b"), applied=["x.2"])
    ended(record, facts("a"), kind="rollback", undone=["x.2"])
    for name in "cd":
        ended(record, facts(name))
    assert sorted(why(record)) == ["a", "c", "d"]


def test_who_applied_it_last_stays(record: Record, facts: Facts) -> None:
    ended(record, facts("a"), applied=["x.1"])
    ended(record, facts("b"), kind="rollback", undone=["x.1"])
    ended(record, facts("c"), applied=["x.1"])
    for name in "de":
        ended(record, facts(name))
    assert sorted(why(record)) == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("kind", "moved", "kept"),
    [
        ("deploy", {"applied": ["x.2"], "undone": ["x.2"]}, "a yz"),  # as it should be
        ("deploy", {"applied": ["x.2"]}, "abyz"),  # the way back did not come that far
        ("rollback", {"undone": ["x.1"]}, "abyz"),  # and somebody has applied it again: who, nobody says
        ("rollback", {"undone": ["x.1"], "applied": ["x.1"]}, "abyz"),
    ],
)
def test_a_failed_release(record: Record, facts: Facts, kind: str, moved: dict[str, list[str]], kept: str) -> None:
    ended(record, facts("a"), applied=["x.1"])
    ended(record, facts("b"), "failed", kind, **moved)
    for name in "yz":
        ended(record, facts(name))
    assert sorted(why(record)) == sorted(kept.replace(" ", ""))


def test_after_a_failed_release_who_came_back_may_have_applied_it(record: Record, facts: Facts) -> None:
    ended(record, facts("a"), applied=["x.1"])
    ended(record, facts("b"))  # last good, which the failed rollback comes back to
    ended(record, facts("c"), "failed", "rollback", undone=["x.1"], applied=["x.1"])
    for name in "yz":
        ended(record, facts(name))
    assert sorted(why(record)) == ["a", "b", "c", "y", "z"]


@pytest.mark.parametrize(
    ("brought", "stays"),
    [(brings("x.1"), False), (brings("x.1", "x.2"), True), ("", True)],
)
def test_a_failed_release_that_says_nothing(record: Record, facts: Facts, brought: str, stays: bool) -> None:
    before, after = replace(facts("a"), migrations=brings("x.1")), replace(facts("b"), migrations=brought)
    for build in (before, after):
        record.put_build(build)
    ended(record, before)
    ended(record, after, "failed")
    for name in "yz":
        ended(record, facts(name))
    assert ("b" in why(record)) is stays
    if stays:
        assert why(record)["b"] == "staging: release 2 failed, and the record does not say what it left in the database"
    ended(record, facts("z"), applied=["x.2"])  # so nobody had
    assert ("b" in why(record)) is (not brought)


def test_environments_share_what_stays(record: Record, facts: Facts) -> None:
    production = Record(record.table, "production")
    ended(production, facts("a"))
    for name in "bcd":
        ended(record, facts(name))
    assert why(record) == {
        "a": "last good of production",
        "c": "one of the 1 builds before last good of staging",
        "d": "last good of staging",
    }


def test_an_environment_that_can_not_be_read_keeps_all_its_builds(record: Record, facts: Facts) -> None:
    production = Record(record.table, "production")
    for name in "abcd":
        ended(production, facts(name))
    record.table.items["environment#production", "release#00000002"].pop("who")
    for name in "ef":
        ended(record, facts(name))
    found, notes = retention.needed(everything(record.table), 1)
    assert notes == ["the releases of production can't be read: no build that they name is expired"]
    assert {facts(name).digest for name in "abcdef"} == set(found)


def test_what_the_newest_request_names_stays(record: Record, facts: Facts) -> None:
    ended(record, facts("a"))
    pk = "environment#staging"
    record.table.put_item({"pk": pk, "sk": "operation", "request": "1"})
    wanted = {"wanted": {"digest": facts("b").digest}, "leaves": facts("c").digest}
    record.table.put_item({"pk": "operation#1", "sk": "operation"} | wanted)
    record.table.put_item({"pk": "operation#2", "sk": "operation", "wanted": {"digest": facts("d").digest}})
    found, _ = retention.needed(everything(record.table), 1)
    assert set(found) == {facts(name).digest for name in "abc"}
