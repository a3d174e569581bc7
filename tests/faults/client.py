"""A client at 50 requests a second, in a process of its own: `client.py URL`, until its input ends. It then prints what it got, as JSON.

A request is sent when it is due, and at most 16 at once: a machine that can't keep up is asked less often, not more and more. A failed
answer is any but 200, or none in 30 seconds.
"""

from __future__ import annotations

import http.client
import json
import queue
import sys
import threading
import time
import urllib.parse
from collections import Counter

RATE = 50  # a second
TIMEOUT = 30.0  # seconds; a load balancer's own is 60
THREADS = 16


def ask(host: str, port: int | None, path: str) -> str:
    """What went wrong with one request; empty where nothing did."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return "" if answer.status == 200 else f"status {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def main(url: str) -> None:
    """Asks until standard input ends."""
    parts = urllib.parse.urlsplit(url)
    due: queue.Queue[bool] = queue.Queue(maxsize=1)
    failures: Counter[str] = Counter()
    asked = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal asked
        while due.get():
            problem = ask(parts.hostname or "", parts.port, parts.path or "/")
            with lock:
                asked += 1
                if problem:
                    failures[problem] += 1

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for one in threads:
        one.start()
    end = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        end.set()

    threading.Thread(target=listen, daemon=True).start()
    begun = at = time.monotonic()
    while not end.wait(max(at - time.monotonic(), 0)):
        due.put(True)
        at = max(at + 1 / RATE, time.monotonic())
    for _ in threads:
        due.put(False)
    for one in threads:
        one.join()
    seconds = time.monotonic() - begun
    print(
        json.dumps({"asked": asked, "failed": failures.total(), "kinds": dict(failures), "seconds": round(seconds, 1)})
    )


if __name__ == "__main__":
    main(sys.argv[1])
