"""One Python lock for several platforms: what differs carries a marker, and each platform's part can be taken out again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lastgood.platform import ALL, Platform

_HEAD = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*(==|@)\s*(\S+?)\s*(?:;\s*(.*?))?\s*\\?$")
_OURS = re.compile(r"^(?:\((?P<rest>.*)\) and )?platform_machine == \"(?P<machine>[^\"]+)\"$")


@dataclass(frozen=True)
class Entry:
    """One locked requirement: its name (normalised), version or address, marker, hashes, and who asks for it."""

    name: str
    spec: str  # as written, without the marker
    version: str
    marker: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]

    @property
    def text(self) -> str:
        """Its lines, as pip-compile writes them."""
        head = f"{self.spec} ; {self.marker}" if self.marker else self.spec
        lines = [" \\\n    ".join([head, *(f"--hash={one}" for one in self.hashes)])]
        if len(self.via) == 1:
            lines.append(f"    # via {self.via[0]}")
        elif self.via:
            lines += ["    # via", *(f"    #   {one}" for one in self.via)]
        return "\n".join(lines) + "\n"


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(text: str) -> list[Entry]:
    """The entries of a lock that pip-compile or `merged` wrote; other lines (options, comments) are passed over."""
    found: list[Entry] = []
    for line in text.splitlines():
        head = _HEAD.match(line)
        stripped = line.strip()
        if head:
            name, extras, sign, version, marker = head.groups()
            spec = f"{name}{extras or ''}{' @ ' if sign == '@' else sign}{version}"
            found.append(Entry(normalised(name), spec, version, marker or "", (), ()))
        elif found and stripped.startswith("--hash="):
            digest = stripped.removeprefix("--hash=").removesuffix("\\").strip()
            found[-1] = replace(found[-1], hashes=(*found[-1].hashes, digest))
        elif found and line.startswith("    #"):
            asker = stripped.removeprefix("#").strip().removeprefix("via").strip()
            found[-1] = replace(found[-1], via=(*found[-1].via, *([asker] if asker else [])))
    return found


def merged(texts: Mapping[str, str]) -> str:
    """The body of the lock from what was compiled for each platform (by its name). With one platform it is that text.

    An entry that all platforms share stands once; any other once for each of its platforms, with a marker of the machine.
    """
    if len(texts) == 1:
        return next(iter(texts.values()))
    compiled = {name: {entry.name: entry for entry in entries(text)} for name, text in texts.items()}
    options = {line for text in texts.values() for line in text.splitlines() if line.startswith("--")}
    lines = [f"{line}\n" for line in sorted(options)]
    for name in sorted({one for table in compiled.values() for one in table}):
        variants = {platform: table[name] for platform, table in compiled.items() if name in table}
        kinds = {(entry.spec, entry.marker, entry.hashes) for entry in variants.values()}
        if len(variants) == len(compiled) and len(kinds) == 1:
            via = sorted({asker for entry in variants.values() for asker in entry.via})
            lines.append(replace(next(iter(variants.values())), via=tuple(via)).text)
            continue
        for platform, entry in sorted(variants.items()):
            ours = f'platform_machine == "{ALL[platform].machine}"'
            both = ours if entry.marker in ("", ours) else f"({entry.marker}) and {ours}"
            lines.append(replace(entry, marker=both).text)
    return "".join(lines)


def of_platform(text: str, platform: Platform) -> list[Entry]:
    """The entries of a lock that hold for one platform, with the markers that they were compiled with."""
    found = []
    for entry in entries(text):
        ours = _OURS.match(entry.marker)
        if ours is None:
            found.append(entry)
        elif ours["machine"] == platform.machine:
            found.append(replace(entry, marker=ours["rest"] or ""))
    return found


def for_platform(text: str, platform: Platform) -> str:
    """The lock as pip is to install it for one platform: its entries alone, and without markers.

    Everything that was compiled for the image's Python belongs in its image; pip would compare markers with the Python and the machine
    that run it instead.
    """
    return written(replace(entry, marker="") for entry in of_platform(text, platform))


def bare(text: str) -> list[Entry]:
    """The entries of a lock without their hashes."""
    return [replace(entry, hashes=()) for entry in entries(text)]


def written(found: Iterable[Entry]) -> str:
    """Entries as a requirements file."""
    return "".join(entry.text for entry in found)
