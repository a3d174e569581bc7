"""A client that asks the site at a fixed rate and counts what it got, to show whether a release was noticed from outside."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.parse
from collections import Counter
from types import TracebackType

INTERVAL = 0.1  # seconds between two questions
_TIMEOUT = 5  # seconds, after which an answer counts as failed


class Visitor:
    """Asks `url` every 100 ms while the context lasts. A failed answer is any but 200, or none in 5 s."""

    def __init__(self, url: str) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitor", daemon=True)
        self.asked = 0
        self.failures: Counter[str] = Counter()
        self.slowest = 0.0

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def failed(self) -> int:
        """How many answers failed."""
        return self.failures.total()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.wait(max(due - time.monotonic(), 0)):
            due = max(due + INTERVAL, time.monotonic())
            began = time.monotonic()
            problem = self._ask()
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.asked += 1
            if problem:
                self.failures[problem] += 1

    def _ask(self) -> str | None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=_TIMEOUT)
        try:
            connection.request("GET", self._url.path or "/")
            answer = connection.getresponse()
            answer.read()
            return None if answer.status == 200 else f"status {answer.status}"
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()
