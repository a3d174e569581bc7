"""Several downloads at once, that an interrupted command does not wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def each(function: Callable[[_Item], _Answer], items: Iterable[_Item], workers: int) -> list[_Answer]:
    """`function` of every item, in the items' order, by at most `workers` threads.

    Raises the first error at once, and then begins no more items. concurrent.futures would wait for the running ones, also at the
    interpreter's end: with a mirror that has stopped answering, Ctrl-C would take until the timeout.
    """
    waiting: queue.SimpleQueue[tuple[int, _Item]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, _Answer | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()
    count = 0
    for item in items:
        waiting.put((count, item))
        count += 1

    def work() -> None:
        while not stop.is_set():
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, function(item), None))
            except BaseException as error:  # noqa: BLE001, RUF100  raised again in the caller's thread
                done.put((number, None, error))

    for _ in range(min(workers, count)):
        threading.Thread(target=work, daemon=True, name=f"one of {count} downloads").start()
    answers: dict[int, _Answer] = {}
    try:
        for _ in range(count):
            number, answer, error = done.get()
            if error is not None:
                raise error
            answers[number] = answer  # type: ignore[assignment]  # without an error it is one
    finally:
        stop.set()
    return [answers[number] for number in range(count)]
