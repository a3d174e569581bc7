"""A build's migrations as the release record keeps them: what its manifest says of each, packed, for an item holds 400 kB.

The manifest itself is in the image; here lies what a person asks of it before a release, on any machine.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

_MOST = 8_000_000  # bytes unpacked; a thousand migrations have less than a tenth of it
_LISTS = ("replaces", "irreversible", "lossy", "holds")


@dataclass(frozen=True)
class Migration:
    """One migration: its name as `app.name`, what it replaces, and its operations that have no way back or take data with them.

    `lossy` take data going forward, `holds` when they are undone; `breaks` are those that the code of a build before can't live with (None:
    nobody knows). `rollback` is the reason why a loss is accepted, as the migration says it.
    """

    key: str
    replaces: tuple[str, ...] = ()
    irreversible: tuple[str, ...] = ()
    lossy: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    breaks: tuple[str, ...] | None = None
    rollback: str | None = None


def pack(manifest: bytes) -> str:
    """The text for the record, of a manifest as it lies in the image. Raises ValueError where it is none."""
    data = json.loads(manifest)
    kept = []
    for one in data["migrations"]:
        named = {name: one[name] for name in _LISTS if one.get(name)}
        named |= {"rollback": one["rollback"]} if one.get("rollback") else {}
        named |= {"breaks": one["breaks"]} if one.get("breaks") is not None else {}
        kept.append({"key": f"{one['app']}.{one['name']}"} | named)
    text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(text: str) -> tuple[Migration, ...]:
    """The migrations in their order, of what pack() made. Raises ValueError where the text is damaged."""
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(base64.b64decode(text, validate=True), _MOST)
        if not unpacker.eof:
            raise ValueError("it is cut, or too long")
        return tuple(_migration(one) for one in json.loads(plain))
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"it is not what pack() made ({error})") from None


def _migration(one: dict[str, Any]) -> Migration:
    return Migration(
        key=one["key"],
        breaks=tuple(one["breaks"]) if "breaks" in one else None,
        rollback=one.get("rollback"),
        **{name: tuple(one.get(name, ())) for name in _LISTS},
    )
