"""Several downloads at once: answers in order, one error that is always the same, no waiting for Ctrl-C."""

from __future__ import annotations

import threading

import pytest
from lastgood import parallel


def test_answers_come_in_the_order_of_the_items() -> None:
    first_may_end = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(30)
        if item == 4:
            first_may_end.set()
        return item * 10

    assert parallel.each(work, range(5), workers=2) == [0, 10, 20, 30, 40]


def test_nothing_to_do() -> None:
    assert parallel.each(str, [], workers=8) == []


def test_the_first_items_error_is_raised_whichever_came_first() -> None:
    second_failed = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            assert second_failed.wait(30)
        else:
            second_failed.set()
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match=r"^item 0$"):
        parallel.each(work, range(2), workers=2)


def test_after_an_error_no_more_items_begin() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match=r"^item 0$"):
        parallel.each(work, range(1000), workers=1)
    assert begun == [0]
