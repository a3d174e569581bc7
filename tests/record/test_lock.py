"""One deploy at a time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from lastgood.errors import Refused
from lastgood.record import lock
from lastgood.record.lock import Lock
from lastgood.record.table import Record

KEY = ("environment#staging", "lock")


def take(record: Record, who: str = "ada", **more: Any) -> Lock:
    return Lock(record, who=who, what="release 7", **more)


def test_the_second_is_refused_and_told_who(record: Record, table: Any) -> None:
    with take(record):
        since = table.items[KEY]["since"]
        table.items[KEY]["until"] = 4102444800 - 1
        with pytest.raises(Refused) as error, take(record, "grace"):
            pass
        assert str(error.value) == (
            f"environment staging is being deployed by ada since {since} (release 7): wait for it; if that command is dead, "
            "its lock ends by itself at 23:59:59 UTC"
        )
        assert table.items[KEY]["who"] == "ada"
    assert KEY not in table.items


def test_it_is_given_back_after_an_error(record: Record, table: Any) -> None:
    def fail() -> None:
        with take(record):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert KEY not in table.items


def test_the_lock_of_a_dead_command_is_taken_over(record: Record, table: Any) -> None:
    with take(record):
        table.items[KEY]["until"] = 1
        with take(record, "grace"):
            assert table.items[KEY]["who"] == "grace"


def test_who_has_lost_it_does_not_release_the_other_ones(record: Record, table: Any) -> None:
    first = take(record)
    with first:
        table.items[KEY] |= {"who": "grace", "token": "other"}
    assert table.items[KEY]["who"] == "grace"


def test_it_is_renewed_while_it_is_held_and_a_loss_is_seen(record: Record, table: Any) -> None:
    renewed = threading.Event()
    write = table.update_item

    def update_item(**request: Any) -> None:
        write(**request)
        renewed.set()

    table.update_item = update_item
    held = take(record, beat=0.01)
    with held:
        table.items[KEY]["until"] = 1
        assert renewed.wait(10)
        assert table.items[KEY]["until"] > 1
        assert not held.lost
        table.items[KEY]["token"] = "other"
        held._thread.join(10)
        assert held.lost


def test_it_can_say_more_closely_what_goes_on(record: Record, table: Any) -> None:
    with take(record) as held:
        held.rename("release 8, build a")
        assert table.items[KEY]["what"] == "release 8, build a"


def test_a_lock_that_is_ours_is_kept_without_a_question(record: Record, table: Any) -> None:
    with take(record) as held:
        table.update_item = None
        held.keep()


def test_before_an_act_a_lease_that_nobody_renewed_is_renewed(record: Record, table: Any) -> None:
    with take(record) as held:
        table.items[KEY]["until"] = held._until = 1
        held.keep()
        assert table.items[KEY]["until"] == held._until > 1


def test_before_an_act_a_loss_is_told(record: Record, table: Any) -> None:
    with take(record) as held:
        table.items[KEY] |= {"who": "grace", "what": "release 8", "since": "then", "token": "other"}
        held._until = 1
        with pytest.raises(lock.Lost) as error:
            held.keep()
        assert str(error.value) == (
            "the deploy lock of environment staging is no longer ours, grace has it since then (release 8): nothing more was touched from "
            "there on"
        )
        del table.items[KEY]
        with pytest.raises(lock.Lost, match="is no longer ours, somebody has taken it away: nothing more"):
            held.keep()


def test_what_hinders_the_renewal_before_an_act_is_not_swallowed(record: Record, table: Any) -> None:
    def fails(**_: Any) -> None:
        raise OSError("no network")

    with take(record) as held:
        held._until = 1
        table.update_item = fails
        with pytest.raises(OSError, match="no network"):
            held.keep()


def test_an_end_that_can_not_be_written_hides_nothing(record: Record, table: Any) -> None:
    def fails(**_: Any) -> None:
        raise OSError("no network")

    def work() -> None:
        with take(record):
            table.delete_item = fails
            raise ValueError("what happened")

    with pytest.raises(ValueError, match="what happened"):
        work()


# By hand.


def test_who_holds_it_and_until_when(record: Record, table: Any) -> None:
    assert (lock.state(record), lock.holder(record)) == (None, None)
    with take(record) as held:
        table.items[KEY]["until"] = 4102444800 - 1
        found = lock.state(record)
        assert found
        assert found == {
            "who": "ada",
            "what": "release 7",
            "since": found["since"],
            "token": held.token,
            "until": "2099-12-31T23:59:59Z",
            "ended": False,
        }
        table.items[KEY]["until"] = 1
        ended = lock.state(record)
        assert ended
        assert (ended["ended"], lock.holder(record)) == (True, None)


def test_it_is_taken_away_by_hand_and_that_leaves_a_trace(record: Record, table: Any) -> None:
    with take(record) as held:
        found = lock.state(record)
        assert found
        lock.force(record, found, who="grace", reason="ada's laptop is at the bottom of the lake")
        assert KEY not in table.items
        held._until = 1
        with pytest.raises(lock.Lost):
            held.keep()
    (trace,) = lock.forced(record)
    assert trace == {
        "at": trace["at"],
        "by": "grace",
        "reason": "ada's laptop is at the bottom of the lake",
        "who": "ada",
        "what": "release 7",
        "since": found["since"],
        "until": found["until"],
    }


def test_a_lock_that_has_changed_hands_is_not_taken_away(record: Record, table: Any) -> None:
    with take(record):
        found = lock.state(record)
        assert found
        table.items[KEY] |= {"who": "grace", "token": "other"}
        with pytest.raises(Refused) as error:
            lock.force(record, found, who="linus", reason="x")
    assert str(error.value) == (
        "the lock of environment staging is no longer the one that was looked at: look again with `lastgood lock-status`"
    )
    assert table.items[KEY]["who"] == "grace"
    assert lock.forced(record) == []


def test_the_holder_went_away_meanwhile() -> None:
    assert lock.refusal("staging", None) == (
        "environment staging was being deployed a moment ago: run the command again"
    )


def test_the_lease_outlives_some_beats() -> None:
    assert lock.LEASE >= 3 * lock.BEAT
