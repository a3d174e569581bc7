"""What a build contains, by owner: the form that is compared between builds, and that travels with a build in the release record."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError
from lastgood.scan.weigh import Weight, title

_VERSION = 1
_PLAIN = 8000  # characters; longer ones are compressed
FILE = "scan.json"


@dataclass(frozen=True)
class Contents:
    """The sizes of a build in bytes. `owners` is {owner: (version, compressed, unpacked)}, `layers` {digest: compressed}."""

    build: str
    size: int
    unpacked: int
    files: int
    owners: Mapping[str, tuple[str, int, int]]
    layers: Mapping[str, int]

    @classmethod
    def of(cls, build: str, weights: Iterable[Weight], layers: Mapping[str, int]) -> Contents:
        """From the weights by owner, whose sums are the image's."""
        found = tuple(weights)
        owners = {one.name: (one.version, one.compressed, one.unpacked) for one in found}
        size, unpacked, files = (
            sum(getattr(one, name) for one in found) for name in ("compressed", "unpacked", "files")
        )
        return cls(build, size, unpacked, files, owners, layers)

    def text(self) -> str:
        """Compact JSON; compressed and in base64 where it is longer than 8 kB."""
        data = {
            "v": _VERSION,
            "build": self.build,
            "size": [self.size, self.unpacked, self.files],
            "owners": {name: list(values) for name, values in self.owners.items()},
            "layers": dict(self.layers),
        }
        plain = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        if len(plain) <= _PLAIN:
            return plain
        return base64.b64encode(gzip.compress(plain.encode(), 9, mtime=0)).decode()

    @classmethod
    def read(cls, text: str) -> Contents:
        """From `text()`. Raises ValueError for anything else."""
        try:
            data = _decoded(text)
            if data["v"] != _VERSION:
                raise ValueError(f"its form is {data['v']}, this lastgood reads {_VERSION}")
            owners = {name: (str(one[0]), int(one[1]), int(one[2])) for name, one in data["owners"].items()}
            size, unpacked, files = map(int, data["size"])
            return cls(data["build"], size, unpacked, files, owners, data["layers"])
        except (KeyError, TypeError, OSError, EOFError, IndexError) as error:
            raise ValueError(f"it is not what a scan wrote ({type(error).__name__}: {error})") from None


def _decoded(text: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(text if text.startswith("{") else gzip.decompress(base64.b64decode(text)))
    except ValueError as error:
        raise TypeError(error) from None
    return data


@dataclass(frozen=True)
class Cause:
    """One reason why a build weighs more or less than another. Bytes, negative for less."""

    owner: str
    text: str
    compressed: int
    unpacked: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {"owner": self.owner, "cause": self.text, "compressed": self.compressed, "unpacked": self.unpacked}


def growth(before: Contents, after: Contents) -> tuple[Cause, ...]:
    """Why `after` does not weigh what `before` does, the largest growth first; the causes' sum is exactly the difference."""
    causes = []
    for owner in before.owners.keys() | after.owners.keys():
        old, new = before.owners.get(owner), after.owners.get(owner)
        packed = (new[1] if new else 0) - (old[1] if old else 0)
        size = (new[2] if new else 0) - (old[2] if old else 0)
        if packed or size or (old or ("",))[0] != (new or ("",))[0]:
            causes.append(Cause(owner, _cause(owner, old, new), packed, size))
    return tuple(sorted(causes, key=lambda one: (-one.compressed, one.owner)))


def _cause(owner: str, old: tuple[str, int, int] | None, new: tuple[str, int, int] | None) -> str:
    name = title(owner)
    if old is None or new is None:
        version, what = (new[0], "new") if new else ((old or ("",))[0], "gone")
        return " ".join(part for part in (name, version, what) if part)
    if old[0] != new[0]:
        return f"{name} {old[0]} → {new[0]}"
    if old[2] == new[2]:
        return f"{name} {new[0]}".strip() + ", compressed differently"
    return f"{name} {new[0]}, its files changed" if new[0] else name


def stored(folder: Path) -> str:
    """The contents that the scan of a build left in the build's folder, as the release record keeps it; empty where it was not scanned."""
    file = folder / FILE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def from_machine(name: str, builds: Path) -> Contents:
    """The contents of a build of this machine by its name, or of a file that a scan wrote. Raises UsageError where there is none."""
    file = Path(name) if name.endswith(".json") or "/" in name else builds / name / FILE
    try:
        return Contents.read(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        known = sorted(one.parent.name for one in builds.glob(f"*/{FILE}"))
        has = f"scans of {', '.join(known[:5])} are here" if known else "no build was scanned here yet"
        raise UsageError(
            f"there is no scan of {name} ({file} does not exist): {has}; build it and run `lastgood scan`"
        ) from None
    except ValueError as error:
        raise UsageError(f"{file} can't be compared with: {error}; scan that build again") from None
