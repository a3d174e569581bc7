"""The release record: numbers, states, last good."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from lastgood.record.release import BuildFacts
from lastgood.record.table import Record


def begin(record: Record, build: BuildFacts, kind: str = "deploy", undoes: Iterable[int] = ()) -> Any:
    return record.begin(kind, build, who="ada", reason="why", undoes=undoes)


def test_releases_are_numbered_and_come_newest_first(record: Record, facts: Any) -> None:
    for name in ("a", "b", "c"):
        begin(record, facts(name))
    assert [(one.number, one.facts.build, one.state) for one in record.releases()] == [
        (3, "c", "pending"),
        (2, "b", "pending"),
        (1, "a", "pending"),
    ]
    assert [one.number for one in record.releases(limit=2)] == [3, 2]


def test_a_pushed_build_can_be_found_by_its_digest(record: Record, facts: Any) -> None:
    record.put_build(facts("a"))
    assert record.build(facts("a").digest) == facts("a")
    begin(record, facts("b"))
    assert record.build(facts("b").digest) is None, "who deploys writes no build: that is the push's to do"
    assert record.build("sha256:other") is None


def test_good_is_last_good(record: Record, facts: Any) -> None:
    assert record.last_good() is None
    ended = record.good(begin(record, facts("a")), undone=[], applied=["board.0001"])
    assert (ended.state, ended.applied, ended.undone) == ("good", ("board.0001",), ())
    assert ended.ended >= ended.started
    assert record.last_good() == ended


def test_failed_leaves_last_good(record: Record, facts: Any) -> None:
    record.good(begin(record, facts("a")), undone=[], applied=[])
    ended = record.failed(begin(record, facts("b")), "it crashed", undone=["x.1"], applied=["x.1"])
    assert (ended.state, ended.cause, ended.applied, ended.undone) == ("failed", "it crashed", ("x.1",), ("x.1",))
    last = record.last_good()
    assert last
    assert last.number == 1


def test_a_release_that_has_ended_does_not_fail_afterwards(record: Record, facts: Any) -> None:
    release = begin(record, facts("a"))
    record.good(release, undone=[], applied=[])
    assert record.failed(release, "late", undone=[], applied=[]).state == "good"


def test_a_rollback_undoes_in_the_same_write(record: Record, facts: Any) -> None:
    for name in ("a", "b"):
        record.good(begin(record, facts(name)), undone=[], applied=[])
    record.good(begin(record, facts("a"), "rollback", [2]), undone=["board.0002"], applied=[])
    assert [(one.number, one.state) for one in record.releases()] == [(3, "good"), (2, "undone"), (1, "good")]


def test_nothing_is_written_when_one_of_the_writes_can_not_be(record: Record, facts: Any) -> None:
    record.good(begin(record, facts("a")), undone=[], applied=[])
    failed = record.failed(begin(record, facts("b")), "x", undone=[], applied=[])
    release = begin(record, facts("c"), undoes=[failed.number])
    with pytest.raises(record.table.exceptions.ConditionalCheckFailedException):
        record.good(release, undone=[], applied=[])
    assert [one.state for one in record.releases()] == ["pending", "failed", "good"]
    last = record.last_good()
    assert last
    assert last.number == 1


def test_the_newest_operation(record: Record, table: Any) -> None:
    assert record.operation() is None
    table.put_item(Item={"pk": "environment#staging", "sk": "operation", "request": "r1"})
    table.put_item(Item={"pk": "operation#r1", "sk": "operation", "hops": []})
    assert record.operation() == {"pk": "operation#r1", "sk": "operation", "hops": []}


def test_the_contents_of_a_build_lie_in_its_own_item(record: Record, facts: Any, table: Any) -> None:
    scanned = replace(facts("a"), contents='{"v":1}')
    record.put_build(scanned)
    record.good(begin(record, facts("a")), undone=[], applied=[])
    assert record.build(scanned.digest) == scanned, "a deploy or a rollback that does not know them forgets nothing"
    last = record.last_good()
    assert last
    assert (last.facts.contents, "contents" in last.as_dict()) == ("", False)
    record.put_build(replace(scanned, contents="newer"))
    assert record.build(scanned.digest) == replace(scanned, contents="newer")


def test_an_item_from_before_there_were_contents(facts: Any) -> None:
    assert BuildFacts.of(facts("a").as_dict()) == facts("a")


def test_releases_are_paged(record: Record, facts: Any, table: Any) -> None:
    table.page = 2
    for name in "abcdefg":
        begin(record, facts(name))
    assert [one.number for one in record.releases()] == [7, 6, 5, 4, 3, 2, 1]
    assert [one.number for one in record.releases(limit=3)] == [7, 6, 5]
    assert [one.number for one in record.releases(limit=3, before=5)] == [4, 3, 2]
    assert record.releases(limit=3, before=1) == []


def many(record: Record, facts: Any, number: int) -> Any:
    """So many good releases, and a pending rollback to the first that undoes all others."""
    for _ in range(number):
        record.good(begin(record, facts("a")), undone=[], applied=[])
    return begin(record, facts("a"), "rollback", range(2, number + 1))


def test_a_rollback_over_more_releases_than_one_transaction_holds(record: Record, facts: Any) -> None:
    ended = record.good(many(record, facts, 250), undone=[], applied=[])
    assert ended.undoes == tuple(range(2, 251))
    states = [(one.number, one.state) for one in record.releases()]
    assert states == [(251, "good"), *((number, "undone") for number in range(250, 1, -1)), (1, "good")]
    assert record.take_back(ended) == 0


@pytest.mark.parametrize("transactions", [0, 1, 2])
def test_killed_between_its_transactions_it_is_finished_by_the_next(
    record: Record, facts: Any, table: Any, transactions: int
) -> None:
    release = many(record, facts, 250)
    write, calls = table.transact_write_items, []

    def dies(**request: Any) -> None:
        if len(calls) == transactions:
            raise KeyboardInterrupt
        calls.append(request)
        write(**request)

    table.transact_write_items = dies
    with pytest.raises(KeyboardInterrupt):
        record.good(release, undone=[], applied=[])
    table.transact_write_items = write
    last = record.last_good()
    assert last
    # What runs is never in doubt: either nothing was written, or the release is last good and the newest ones are undone.
    assert (last.number, last.state) == ((251, "good") if transactions else (250, "good"))
    newest = next(one for one in record.releases() if one.number == 250)
    assert newest.state == ("undone" if transactions else "good")
    if transactions:
        assert record.take_back(last) == {1: 151, 2: 51}[transactions]
        assert [one.number for one in record.releases() if one.state == "good"] == [251, 1]


def test_a_remark_leaves_it_pending(record: Record, facts: Any) -> None:
    release = begin(record, facts("a"))
    record.remark(release, "the session has expired")
    left = record.release(1)
    assert left
    assert (left.state, left.cause) == ("pending", "the session has expired")
    record.failed(release, "later", undone=[], applied=[])
    record.remark(release, "nothing happens to one that has ended")
    ended = record.release(1)
    assert ended
    assert (ended.state, ended.cause) == ("failed", "later")
