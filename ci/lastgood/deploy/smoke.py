"""Is the build that was deployed the one that answers, on the schema that it wants?"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from lastgood.errors import LastgoodError
from lastgood.report.text import head, line, masked

PATH = "/healthz"
HEADER = "Lastgood-Stack"  # the header by which the image's health tells the pipeline from all others
DEADLINE = 120.0  # seconds, for a load balancer's name to be known and old tasks to leave


@dataclass(frozen=True)
class Health:
    """One answer of the application. `status` is HTTP's, 0 where nothing answered; `digest` and `database` are what it says of itself.

    `notes` are what people should know of the database: migrations that are tampered or interrupted. `hosts` and `static` are what it says
    of its site (its ALLOWED_HOSTS, its STATIC_URL), None where it says nothing.
    """

    status: int
    digest: str = ""
    database: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None
    static: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return asdict(self)


def verdict(health: Health, digest: str, *, ahead: bool = False) -> str:
    """Empty where the build of that digest answers and its database is in step (or, with `ahead`, has more), else what is wrong."""
    if health.status == 0:
        return f"no answer: {health.detail}"
    if health.status != 200:
        return f"answered {health.status}: {health.detail or 'no reason given'}"
    if not health.digest:
        return "answered without naming its digest"
    if health.digest != digest:
        return f"the build that answers is {health.digest[:19]}, not {digest[:19]}"
    if health.database != "in step" and not (ahead and health.database == "ahead"):
        return f"the database is {health.database or 'not named'}, not in step"
    return ""


def ask(url: str, stack: str = "", timeout: float = 5.0) -> Health:
    """Asks the application of the stack with the id `stack` once how it is; `timeout` is in seconds. Never raises."""
    if not url.lower().startswith(("http://", "https://")):
        return Health(
            0,
            detail=f"{line(masked(url))} is no address of a site: set url in pyproject.toml to one with http:// or https://",
        )
    try:
        request = urllib.request.Request(f"{url}{PATH}")  # noqa: S310 - its scheme was looked at
        # Only what was asked for itself gets it, and nobody that an answer leads to.
        request.add_unredirected_header(HEADER, hashlib.sha256(stack.encode()).hexdigest())
        with _opener().open(request, timeout=timeout) as answer:
            return read(answer.status, answer.read(65536))
    except urllib.error.HTTPError as error:
        with error:
            return read(error.code, error.read(65536))
    except (OSError, ValueError) as error:
        return Health(0, detail=str(getattr(error, "reason", "") or error or type(error).__name__))


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https alone, also where an answer leads elsewhere: not a file of this machine, nor ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler, urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def read(status: int, body: bytes) -> Health:
    """One answer, read."""
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return Health(status, detail=line(head(body.decode(errors="replace").strip(), 200)))
    text = {name: line(head(str(data.get(name) or ""), 2000)) for name in ("digest", "database", "reason")}
    listed = ((name, data.get(name)) for name in ("tampered", "interrupted"))
    notes = tuple(
        f"{name}: {line(head(', '.join(map(str, keys)), 2000))}"
        for name, keys in listed
        if isinstance(keys, list) and keys
    )
    hosts, static = data.get("hosts"), data.get("static")
    return Health(
        status,
        text["digest"],
        text["database"],
        text["reason"],
        notes,
        tuple(line(head(str(host), 253)) for host in hosts[:100]) if isinstance(hosts, list) else None,
        line(head(static, 2000)) if isinstance(static, str) else None,
    )


def wait(
    url: str,
    digest: str,
    stack: str = "",
    *,
    deadline: float = DEADLINE,
    pause: float = 0.5,
    ask: Callable[[str, str], Health] = ask,
) -> dict[str, Any]:
    """Asks until the build of that digest answers, at most `deadline` seconds. Returns {url, digest, database, tries, seconds}.

    `stack` is the id of the stack that it answers for.

    Raises LastgoodError that says what the last answer lacked.
    """
    begun = time.monotonic()
    tries = 0
    while True:
        tries += 1
        health = ask(url, stack)
        wrong = verdict(health, digest)
        seconds = round(time.monotonic() - begun, 3)
        if not wrong:
            return {"url": url, "digest": digest, "database": health.database, "tries": tries, "seconds": seconds}
        if seconds >= deadline:
            raise LastgoodError(f"the smoke test failed: after {seconds:.0f} s {url}{PATH}: {wrong}")
        time.sleep(pause)
