"""Builds, timed, and what each would upload: from nothing, with a changed dependency, with changed code; on both sides the same changes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.image import build as builder
from lastgood.report.terminal import step

from bench import peers, sizes
from bench.projects import VERSIONS, Subject, lastgood, peers_requirements

OURS, LOADED = "lastgood", "lastgood, loaded"


@dataclass(frozen=True)
class Side:
    """One way to build. `build(cold)` builds the subject as it is now; `layers()` is what a push of the last build names: digest →
    compressed bytes, as far as `known` does not have it."""

    name: str
    build: Callable[[bool], float]
    layers: Callable[[set[str]], dict[str, int]]


def peer(client: Any, one: peers.Peer, subject: Subject, wheels: str, folder: Path) -> Side:
    """How others build: `docker build`, with the engine's cache."""
    environment = subject.project.image.environment

    def build(cold: bool) -> float:
        requirements = peers_requirements(subject.requirements).encode()
        begun = time.perf_counter()
        peers.build(client, one, subject.name, subject.project.app, requirements, environment, wheels, cached=not cold)
        return time.perf_counter() - begun

    def layers(known: set[str]) -> dict[str, int]:
        image = f"{peers.PREFIX}/{subject.name}-{one.name}:latest"
        digests = client.images.get(image).attrs["RootFS"]["Layers"]
        if not set(digests) - known:
            return {}
        with sizes.saved(client, image, folder) as found:
            return {
                digest: sizes.compressed([layer], folder / "compressed.json", ["gzip"])["gzip"]
                for digest, layer in zip(found.diff_ids, found.layers, strict=True)
                if digest not in known
            }

    return Side(one.name, build, layers)


def ours(subject: Subject, folder: Path, *, load: bool) -> Side:
    """`lastgood build`, with `--load` if `load`; a cold one with an empty cache, so that all is fetched, too."""

    def build(cold: bool) -> float:
        arguments = ["build", *(["--load"] if load else [])]
        with tempfile.TemporaryDirectory(dir=folder, prefix="cold-") as empty:
            begun = time.perf_counter()
            lastgood(subject.folder, *arguments, cache=Path(empty) if cold else None)
            return time.perf_counter() - begun

    def layers(known: set[str]) -> dict[str, int]:
        image = builder.last(subject.project.state)
        documents = {f"documents of {image.digest}": _documents(image.folder)}
        found = {layer.digest: layer.compressed for layer in image.layers} | documents
        return {digest: size for digest, size in found.items() if digest not in known}

    return Side(LOADED if load else OURS, build, layers)


def _documents(folder: Path) -> int:
    """Bytes of the configuration, the manifest and, with several platforms, the index."""
    return sum(file.stat().st_size for kind in ("config", "manifest", "index") for file in folder.glob(f"{kind}*.json"))


def measure(client: Any, subject: Subject, wheels: str, folder: Path, count: int, part: str) -> dict[str, Any]:
    """{"build": {kind: {side: [seconds]}}, "upload": {kind: {side: bytes}}} for the kinds cold and dependency (`part` is "build"), or code
    and model ("code").

    `count` is the rounds of the code changes; of the others there are `fewer`. Sides take turns in every round. The last build of every
    side is of the subject's start, so that later parts measure that.
    """
    sides = every(client, subject, wheels, folder)
    seconds: dict[str, dict[str, list[float]]] = {}
    upload: dict[str, dict[str, int]] = {}
    known: dict[str, set[str]] = {}

    def note(kind: str, side: Side) -> None:
        new = side.layers(known.setdefault(side.name, set()))
        upload.setdefault(kind, {})[side.name] = sum(new.values())
        known[side.name] |= set(new)

    def rounds(kind: str, count: int, change: Callable[[int], None]) -> None:
        for number in range(count):
            for side in sides:
                if side.name in (
                    OURS,
                    LOADED,
                ):  # each its own change: the second would find all that the first has made
                    change(2 * number + (side.name == LOADED))
                with step(f"{subject.name}: {kind} build {number + 1} of {count}, {side.name}") as shown:
                    took = side.build(kind == "cold")
                    shown.note(f"{took:.2f} s")
                seconds.setdefault(kind, {}).setdefault(side.name, []).append(took)
                if kind != "cold" and side.name != LOADED:
                    note(kind, side)

    subject.restore()
    try:
        if part == "build":
            rounds("cold", fewer(count), lambda _number: None)
        warm(sides)
        for side in sides:
            if side.name != LOADED:
                note("cold", side)
        if part == "build":
            rounds("dependency", fewer(count), lambda number: subject.depend(VERSIONS[number]))
        else:
            for kind, file in zip(("code", "model"), subject.edited, strict=True):
                subject.restore()
                warm(sides)
                rounds(kind, count, lambda number, file=file: subject.edit(number + 1000 * int(time.time()), file))  # type: ignore[misc]
            del upload["cold"]
    finally:
        subject.restore()
    warm(sides)
    return {"build": seconds, "upload": upload}


def fewer(count: int) -> int:
    """The rounds of what takes long: a third, and at least one."""
    return min(max(count // 3, 1), len(VERSIONS) // 2)


def every(client: Any, subject: Subject, wheels: str, folder: Path) -> list[Side]:
    """All sides, ours first."""
    sides = [ours(subject, folder, load=False), ours(subject, folder, load=True)]
    return sides + [peer(client, one, subject, wheels, folder) for one in peers.PEERS]


def warm(sides: list[Side]) -> None:
    """Builds each as it is now, with what is cached."""
    for side in sides:
        side.build(False)
