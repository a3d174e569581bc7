"""The whole image as a container sees it: later layers over earlier ones, what they delete gone.

Deletions are the whiteouts of https://github.com/opencontainers/image-spec/blob/main/layer.md: our own layers have none, others' may.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lastgood import parallel
from lastgood.image.built import Image
from lastgood.image.layers import Layer
from lastgood.scan import layer as layer_
from lastgood.scan.layer import Entry, Facts

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_LINKS = 40  # as many as Linux follows


@dataclass(frozen=True)
class Side:
    """The image of one platform. `size` is in bytes, compressed, its configuration included."""

    platform: str
    image_id: str
    layers: tuple[Layer, ...]
    size: int
    unpacked: int


@dataclass(frozen=True)
class Wasted:
    """A file that is in the image and that no container sees: `by` is the layer that replaces or deletes it."""

    path: str
    layer: str
    by: str
    size: int
    packed: int


@dataclass(frozen=True)
class View:
    """`entries` is what a container sees, by path; `where` the layer's number of each; `wasted` what it does not see."""

    layers: tuple[Facts, ...]
    entries: Mapping[str, Entry]
    where: Mapping[str, int]
    wasted: tuple[Wasted, ...]

    def layer(self, path: str) -> Facts:
        """The layer whose entry a container sees at `path`."""
        return self.layers[self.where[path]]

    @functools.cached_property
    def folders(self) -> frozenset[str]:
        """Every folder, also those that no layer has an entry of."""
        return frozenset(parent.as_posix() for path in self.entries for parent in PurePosixPath(path).parents)

    def resolve(self, path: str) -> str | None:
        """The path of the file or folder that `path` leads to inside the image through any links, None where it leads nowhere."""
        done: list[str] = []
        waiting = [part for part in path.split("/") if part][::-1]
        links = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            entry = self.entries.get(here)
            if entry is None and here not in self.folders:
                return None
            if entry is not None and entry.kind == "link":
                links += 1
                if links > _LINKS:
                    return None
                if entry.target.startswith("/"):
                    done = []
                waiting += entry.target.split("/")[::-1]
            else:
                done.append(part)
        return "/".join(done)


def sides(image: Image) -> tuple[Side, ...]:
    """The image of every platform: `image.variants` where the build has them, else its only one."""
    variants = getattr(image, "variants", ())
    if variants:
        return tuple(Side(one.platform, one.image_id, tuple(one.layers), one.size, one.unpacked) for one in variants)
    settings = configuration(image, image.image_id)
    platform = f"{settings.get('os', 'linux')}/{settings.get('architecture', 'amd64')}"
    return (Side(platform, image.image_id, image.layers, image.size, image.unpacked),)


def configuration(image: Image, image_id: str) -> dict[str, Any]:
    """The image configuration whose digest is `image_id`, from the build's folder; empty where it is not there."""
    if image.folder.is_dir():
        for file in sorted(image.folder.glob("config*.json")):
            body = file.read_bytes()
            if f"sha256:{hashlib.sha256(body).hexdigest()}" == image_id:
                data: dict[str, Any] = json.loads(body)
                return data
    return {}


def read(layers: Iterable[Layer]) -> View:
    """Reads the layers, those that the cache does not know at the same time, and lays them over one another."""
    return over(parallel.each(layer_.read, list(layers), workers=os.cpu_count() or 2))


def over(layers: Iterable[Facts]) -> View:
    """Lays layers over one another."""
    facts = tuple(layers)
    entries: dict[str, Entry] = {}
    where: dict[str, int] = {}
    wasted: list[Wasted] = []

    def drop(path: str, number: int) -> None:
        gone = entries.pop(path)
        below = facts[where.pop(path)]
        if gone.is_file:
            wasted.append(Wasted(path, below.name, facts[number].name, gone.size, gone.packed))

    for number, one in enumerate(facts):
        for path in _hidden(one, entries, where, number):
            drop(path, number)
        for entry in one.entries:
            if PurePosixPath(entry.path).name.startswith(_WHITEOUT) or not entry.path:
                continue
            if entry.path in entries and not (entry.kind == "folder" == entries[entry.path].kind):
                if entries[entry.path].kind == "folder":
                    for path in [name for name in entries if name.startswith(f"{entry.path}/")]:
                        drop(path, number)
                drop(entry.path, number)
            entries[entry.path] = entry
            where[entry.path] = number
    return View(facts, entries, where, tuple(wasted))


def _hidden(one: Facts, entries: Mapping[str, Entry], where: Mapping[str, int], number: int) -> list[str]:
    """The paths of the layers below that this layer's whiteouts hide."""
    tops: list[str] = []
    inside: list[str] = []
    for entry in one.entries:
        parent, name = posixpath.split(entry.path)
        if name == _OPAQUE:
            inside.append(f"{parent}/" if parent else "")
        elif name.startswith(_WHITEOUT):
            tops.append(posixpath.join(parent, name.removeprefix(_WHITEOUT)))
    if not tops and not inside:
        return []
    starts = (*inside, *(f"{top}/" for top in tops))
    gone = set(tops)
    return [path for path in entries if where[path] < number and (path in gone or path.startswith(starts))]
