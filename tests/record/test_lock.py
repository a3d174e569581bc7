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


def test_the_holder_went_away_meanwhile() -> None:
    assert lock.refusal("staging", None) == (
        "environment staging was being deployed a moment ago: run the command again"
    )


def test_the_lease_outlives_some_beats() -> None:
    assert lock.LEASE >= 3 * lock.BEAT
