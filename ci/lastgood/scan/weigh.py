"""What an image weighs by layer, owner, kind and folder. Every byte is counted once, so each table has the same sum.

Compressed bytes are each file's share of its layer (layer.Shares), so the owners' sums are exactly the layers'. The image's configuration
is compressed with nothing and belongs to `lastgood`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lastgood.scan.layer import Entry, Facts
from lastgood.scan.owners import LASTGOOD, PROJECT, Owners
from lastgood.scan.view import View

CONFIGURATION = "(configuration)"
_METADATA = re.compile(r"\.(dist|egg)-info/|^var/lib/dpkg/|^usr/share/doc/|^opt/lastgood/manifest\.json$")
_LOCALE = re.compile(r"(^|/)locale/|^usr/share/locale|^usr/lib/locale|\.mo$")


@dataclass(frozen=True)
class Weight:
    """Bytes and files of one thing, as the owner `python:django`. `version` is empty for what has none."""

    name: str
    compressed: int
    unpacked: int
    files: int
    version: str = ""

    def as_dict(self, key: str) -> dict[str, Any]:
        """JSON-able facts, the name under `key`."""
        named: dict[str, Any] = {key: self.name} | ({"version": self.version} if self.version else {})
        return named | {"compressed": self.compressed, "unpacked": self.unpacked, "files": self.files}


@dataclass(frozen=True)
class Piece:
    """One entry with all that it is counted by."""

    entry: Entry
    layer: str
    owner: str
    kind: str
    folder: str


def kind(entry: Entry, facts: Facts) -> str:
    """What a file is: native, byte-code, source, metadata, static, locale, templates or data; links and folders are `folders`."""
    path = entry.path
    if not entry.is_file:
        return "folders and links"
    if path in facts.elves:
        return "native"
    if path.endswith(".pyc"):
        return "byte-code"
    if _METADATA.search(path):
        return "metadata"
    if _LOCALE.search(path):
        return "locale"
    if path.startswith("static/") or "/static/" in path:
        return "static"
    if path.endswith((".py", ".pyi", ".pyx", ".c", ".h")):
        return "source"
    return "templates" if "/templates/" in path or path.endswith((".html", ".jinja", "-tpl")) else "data"


def folder(path: str) -> str:
    """The folder that a file is counted in: a distribution's top one, else three levels below /usr, else the first."""
    parts = path.split("/")
    for number, part in enumerate(parts[:-2]):
        if part in ("site-packages", "dist-packages"):
            return "/".join(parts[: number + 2])
    depth = 3 if parts[0] == "usr" else 1
    return "/".join(parts[:-1][:depth]) or "/"


def pieces(view: View, owned: dict[tuple[int, str], str]) -> Iterator[Piece]:
    """Every entry of every layer, those that no container sees among them."""
    for number, facts in enumerate(view.layers):
        for entry in facts.entries:
            where = folder(entry.path) if entry.kind != "folder" else folder(f"{entry.path}/.")
            yield Piece(entry, facts.name, owned[number, entry.path], kind(entry, facts), where)


def by(found: Iterable[Piece], what: str, configuration: int, owners: Owners | None = None) -> tuple[Weight, ...]:
    """The weights by `layer`, `owner`, `kind` or `folder`, heaviest first; `configuration` is the size of the image's, in bytes."""
    sums: dict[str, list[int]] = {}
    for piece in found:
        one = sums.setdefault(getattr(piece, what), [0, 0, 0])
        one[0] += piece.entry.packed
        one[1] += piece.entry.size
        one[2] += piece.entry.is_file
    if configuration:
        sums.setdefault(LASTGOOD if what == "owner" else CONFIGURATION, [0, 0, 0])[0] += configuration
    weights = [
        Weight(name, packed, size, files, owners.version(name) if owners else "")
        for name, (packed, size, files) in sums.items()
    ]
    return tuple(sorted(weights, key=lambda one: (-one.compressed, one.name)))


def title(owner: str) -> str:
    """An owner for people: `django`, `libc6`, `the project's own files`."""
    return {PROJECT: "the project's own files", LASTGOOD: "lastgood's own files"}.get(
        owner, owner.partition(":")[2] or owner
    )
