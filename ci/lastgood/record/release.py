"""What the record holds: builds, and the releases that were made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

OWN = ("contents", "migrations")  # facts of a build that lie in its own item alone


def now() -> str:
    """The time as the record writes it: ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class BuildFacts:
    """What a deploy needs to know of a build. `image` is the reference by digest, `size` is in bytes, compressed.

    `contents` is what the scan found in it, in the form of scan/contents.py, empty where it was not scanned; `migrations` what its manifest
    says, in the form of record/migrations.py, empty where nobody kept it. Both lie in the build's own item alone: releases, which are many
    and are shown, do not repeat them.
    """

    build: str
    commit: str
    version: str
    digest: str
    image: str
    manifest_sha: str
    size: int
    contents: str = ""
    migrations: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts, without what lies in the build's own item alone."""
        return {key: value for key, value in asdict(self).items() if key not in OWN}

    @classmethod
    def of(cls, item: dict[str, Any]) -> BuildFacts:
        """From an item of the record, or any mapping that holds these facts."""
        values = {field.name: item[field.name] for field in fields(cls) if field.name not in OWN}
        return cls(**values | {"size": int(values["size"])} | {name: item.get(name, "") for name in OWN})


@dataclass(frozen=True)
class Release:
    """One attempt to run a build in an environment. `cause` says why it failed; `reason` why it was made.

    `undoes` are the numbers of the good releases that it takes back once it is good itself; `signed` says who had signed for the build.
    """

    number: int
    state: str
    kind: str
    facts: BuildFacts
    who: str
    started: str
    reason: str = ""
    ended: str = ""
    cause: str = ""
    undone: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    undoes: tuple[int, ...] = ()
    signed: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts, the build's among them."""
        own = {key: value for key, value in asdict(self).items() if key != "facts"}
        lists = {"undone": list(self.undone), "applied": list(self.applied), "undoes": list(self.undoes)}
        return self.facts.as_dict() | own | lists

    @classmethod
    def of(cls, item: dict[str, Any]) -> Release:
        """From an item of the record."""
        names = {field.name for field in fields(cls)} - {"facts"}
        values = {name: item[name] for name in names if name in item}
        values |= {"number": int(item["number"]), "facts": BuildFacts.of(item)}
        values["undoes"] = tuple(int(number) for number in values.get("undoes", ()))
        return cls(**values | {name: tuple(values.get(name, ())) for name in ("undone", "applied")})
