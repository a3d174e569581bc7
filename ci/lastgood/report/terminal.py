"""What a person sees while a command runs: progress on standard error, results on standard output.

Steps nest. On a terminal the running step is shown with its clock and replaced by its result; elsewhere (a CI log) each step is one line
when it ends, and one when it begins if it contains others.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from lastgood.report.text import in_json, line, masked, shown

_WIDTH = 100
_lock = threading.RLock()
_open: list[Step] = []


def _stream() -> TextIO:
    return sys.stderr


def _live() -> bool:
    return _stream().isatty() and os.environ.get("TERM") != "dumb"


def _paint(code: str, text: str, stream: TextIO) -> str:
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def bold(text: str, stream: TextIO | None = None) -> str:
    """`text`, bold where the stream (standard error unless told) is a terminal."""
    return _paint("1", text, stream or _stream())


def green(text: str, stream: TextIO | None = None) -> str:
    """`text`, green where the stream is a terminal."""
    return _paint("32", text, stream or _stream())


def red(text: str, stream: TextIO | None = None) -> str:
    """`text`, red where the stream is a terminal."""
    return _paint("31", text, stream or _stream())


def seconds(value: float) -> str:
    """A duration for people: `0.04 s`, `1.2 s`, `75 s`, `4 min 05 s`."""
    if value < 0.1:
        return f"{value:.2f} s"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def megabytes(value: float) -> str:
    """Bytes for people, in MB (1e6 bytes) or kB."""
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def counted(number: int, noun: str) -> str:
    """As `1 change` or `3 changes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A plain table with two spaces between columns; columns whose index is in `right` are aligned right. Each row is one line."""
    cells = [list(header), *[[line(text) for text in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def joined(row: Sequence[str]) -> str:
        parts = (
            text.rjust(widths[index]) if index in right else text.ljust(widths[index]) for index, text in enumerate(row)
        )
        return "  ".join(parts).rstrip()

    rule = "  ".join("─" * width for width in widths)
    return "\n".join([joined(cells[0]), rule, *[joined(row) for row in cells[1:]]])


def say(text: str) -> None:
    """One line (or several) of progress on standard error, above any running clock; what looks like a secret is masked."""
    with _lock:
        _erase()
        indent = "  " * len(_open)
        for part in masked(text).removesuffix("\n").split("\n"):
            _print(f"{indent}{part}".rstrip())
        for step_ in _open:
            step_.has_children = True


def result(data: object, text: str, *, as_json: bool) -> None:
    """The command's result on standard output: `text` for people, or `data` as one JSON document."""
    print(in_json(json.dumps(data, indent=2, ensure_ascii=False)) if as_json else shown(text), flush=True)


def complain(text: str) -> None:
    """An error on standard error."""
    _print(f"lastgood: {text}")


def _print(text: str) -> None:
    """All that is printed goes through `shown`: what a package or a log is called, a terminal or a CI system must not obey."""
    print(shown(text), file=_stream(), flush=True)


class Step:
    """One running step: `note()` adds what came of it to its line."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.text = ""
        self.started = time.monotonic()
        self.has_children = False

    def note(self, text: str) -> None:
        """Sets what is shown behind the title."""
        self.text = text

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Shows a step with its duration; a cross and the error's way on when it raises."""
    current = Step(title)
    with _lock:
        _erase()
        for parent in _open:
            if not parent.has_children:
                parent.has_children = True
                _print(f"{'  ' * _open.index(parent)}· {line(parent.title)}")
        _open.append(current)
    ticker = _Ticker(current) if _live() else None
    mark = green("✓")
    try:
        yield current
    except BaseException:
        mark = red("✗")
        raise
    finally:
        if ticker:
            ticker.stop()
        with _lock:
            _erase()
            if current in _open:
                _open.remove(current)
            _print(_line(mark, current))


def _line(mark: str, current: Step) -> str:
    indent = "  " * len(_open)
    body = line(f"{current.title}  {current.text}".rstrip())
    room = max(_WIDTH - len(indent) - 4, 20)
    return f"{indent}{mark} {body.ljust(room)}{seconds(current.elapsed).rjust(9)}"


def _erase() -> None:
    if _live():
        print("\r\x1b[K", end="", file=_stream(), flush=True)


class _Ticker:
    """Redraws the innermost running step's clock, on a terminal only."""

    def __init__(self, current: Step) -> None:
        self._step = current
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"clock of {current.title}")
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.2):
            with _lock:
                if _open and _open[-1] is self._step:
                    indent = "  " * (len(_open) - 1)
                    body = line(f"{self._step.title}  {self._step.text}".rstrip())
                    text = f"\r\x1b[K{indent}… {body}  {seconds(self._step.elapsed)}"
                    print(text, end="", file=_stream(), flush=True)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def mapping_lines(data: Mapping[str, Any]) -> str:
    """`key  value` lines, the keys aligned."""
    width = max((len(key) for key in data), default=0)
    return "\n".join(f"{key.ljust(width)}  {line(str(value))}" for key, value in data.items())
