"""Is the build that was deployed the one that answers, on the schema that it wants?"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from lastgood.errors import LastgoodError

PATH = "/healthz"
DEADLINE = 120.0  # seconds, for a load balancer's name to be known and old tasks to leave


@dataclass(frozen=True)
class Health:
    """One answer of the application. `status` is HTTP's, 0 where nothing answered; `digest` and `database` are what it says of itself.

    `notes` are what people should know of the database: migrations that are tampered or interrupted.
    """

    status: int
    digest: str = ""
    database: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()

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


def ask(url: str, timeout: float = 5.0) -> Health:
    """Asks the application once how it is; `timeout` is in seconds. Never raises."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):  # urllib would open files, too
        return Health(0, detail="the address is neither http:// nor https://")
    try:
        with urllib.request.urlopen(f"{url}{PATH}", timeout=timeout) as answer:  # noqa: S310
            return read(answer.status, answer.read(65536))
    except urllib.error.HTTPError as error:
        with error:
            return read(error.code, error.read(65536))
    except (OSError, ValueError) as error:
        return Health(0, detail=str(getattr(error, "reason", "") or error or type(error).__name__))


def read(status: int, body: bytes) -> Health:
    """One answer, read."""
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return Health(status, detail=body[:200].decode(errors="replace").strip())
    text = {name: str(data.get(name) or "") for name in ("digest", "database", "reason")}
    listed = ((name, data.get(name)) for name in ("tampered", "interrupted"))
    notes = tuple(f"{name}: {', '.join(map(str, keys))}" for name, keys in listed if isinstance(keys, list) and keys)
    return Health(status, text["digest"], text["database"], text["reason"], notes)


def wait(
    url: str, digest: str, *, deadline: float = DEADLINE, pause: float = 0.5, ask: Callable[[str], Health] = ask
) -> dict[str, Any]:
    """Asks until the build of that digest answers, at most `deadline` seconds. Returns {url, digest, database, tries, seconds}.

    Raises LastgoodError that says what the last answer lacked.
    """
    begun = time.monotonic()
    tries = 0
    while True:
        tries += 1
        health = ask(url)
        wrong = verdict(health, digest)
        seconds = round(time.monotonic() - begun, 3)
        if not wrong:
            return {"url": url, "digest": digest, "database": health.database, "tries": tries, "seconds": seconds}
        if seconds >= deadline:
            raise LastgoodError(f"the smoke test failed: after {seconds:.0f} s {url}{PATH}: {wrong}")
        time.sleep(pause)
