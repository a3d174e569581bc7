"""Several downloads at once, that an interrupted command does not wait for."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def each(function: Callable[[_Item], _Answer], items: Iterable[_Item], workers: int) -> list[_Answer]:
    """`function` of every item, in the items' order, by at most `workers` threads.

    After an error no more items begin; the first item's error is raised when the running ones have ended. Ctrl-C does not wait for
    them, which is why this is not concurrent.futures: that waits for a mirror that has stopped answering, even at the interpreter's end.
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
                stop.set()
                done.put((number, None, error))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, count))]
    for thread in threads:
        thread.start()
    answers: dict[int, _Answer] = {}
    errors: dict[int, BaseException] = {}
    try:
        while len(answers) < count and not errors:
            # Not without an end: a signal that comes just before a wait begins would be noticed only when that ends.
            with contextlib.suppress(queue.Empty):
                _sort(done.get(timeout=1), answers, errors)
    finally:
        stop.set()
    if errors:
        for thread in threads:
            thread.join()
        while not done.empty():
            _sort(done.get(), answers, errors)
        raise errors[min(errors)]
    return [answers[number] for number in range(count)]


def _sort(
    came: tuple[int, _Answer | None, BaseException | None],
    answers: dict[int, _Answer],
    errors: dict[int, BaseException],
) -> None:
    number, answer, error = came
    if error is not None:
        errors[number] = error
    else:
        answers[number] = answer  # type: ignore[assignment]  # without an error it is one
