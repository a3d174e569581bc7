"""What a value may be: the types that msgspec checks, each with the words for one that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PLATFORMS = ("linux/amd64", "linux/arm64")
PARTS = ("sqlite3", "cjk-codecs")
_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*(B|kB|MB|GB)?\s*"


class Kind(msgspec.Struct, frozen=True):
    """How people call what a value must be, and how the file has it where that is not how the tool has it.

    `wrong` is said of a `value` of the right type that is no such thing. `source` is the type in the file, `read` makes ours of it, given
    the file's folder, too, and raises ValueError with the sentence to say; `write` is the way back, for the defaults in the documentation.
    """

    name: str
    wrong: str = "{value!r} must be {name}"
    source: Any = None
    read: Callable[[Any, Path], Any] | None = None
    write: Callable[[Any], Any] | None = None


def _whole(pattern: str) -> Meta:
    # In Python `$` also matches before a last line feed; what follows it here refuses that, in Python and in JSON Schema.
    return Meta(pattern=rf"^{pattern}$(?!\n)")


def _one_of(*choices: str) -> Kind:
    return Kind("a string", source=Literal[choices])


def _bytes(text: str, _: Path) -> int:
    number, unit = re.fullmatch(_SIZE, text).groups()  # type: ignore[union-attr]  # its pattern was checked
    size = int(float(number) * _UNITS[unit or ""])
    if not size:
        raise ValueError(f"{text!r} leaves no room for any image")
    return size


def _size(number: int) -> str:
    unit, factor = next(one for one in reversed(_UNITS.items()) if one[1] <= number)
    return f"{number / factor:g} {unit}"


def _normalised(name: str, _: Path) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_slash(address: str, _: Path) -> str:
    return address.rstrip("/")


def _managed(name: str, root: Path) -> Path:
    folder = (root / name).resolve()
    if not (folder / "manage.py").is_file():
        raise ValueError(f"there is no manage.py in {folder}: name the folder that holds it")
    return folder


# Whatever AWS makes of it must take it: ECR and CloudFormation refuse two hyphens in a row, EventBridge more than 64 characters in all.
_NAME = _whole("(?=.{2,40}$)[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAMED = "2 to 40 lower-case letters, digits and single hyphens"

Name = Annotated[str, _NAME, Kind(_NAMED)]
EnvironmentName = Annotated[str, _NAME, Kind(_NAMED, wrong=f"an environment's name is {_NAMED}")]
StackName = Annotated[
    str,
    _whole("[A-Za-z][A-Za-z0-9-]{0,127}"),
    Kind("a stack's name: at most 128 letters, digits and hyphens, a letter first"),
]
Module = Annotated[str, _whole(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"), Kind("a module's dotted name, as board.settings")]
ManagedFolder = Annotated[Path, Kind("a folder", source=str, read=_managed)]
FileBelow = Annotated[
    str,
    _whole(r"(?!/)(?!(.*/)?\.\.?(/|$))[^\\\x00-\x1f]+(?<!/)"),
    Kind("a file's path below pyproject.toml, as requirements/live.txt"),
]
Address = Annotated[
    str,
    Kind(
        "an address that begins with http:// or https://",
        source=Annotated[str, _whole(r"https?://\S+")],
        read=_without_slash,
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535), Kind("a port, 1 to 65535")]
Days = Annotated[int, Meta(ge=0, le=365), Kind("days, 0 to 365")]
Count = Annotated[int, Meta(ge=1), Kind("a whole number", wrong="{value} leaves no room for any image")]
# In bytes.
Size = Annotated[int, Kind("a size, as “30 MB”", source=Annotated[str, _whole(_SIZE)], read=_bytes, write=_size)]
DistributionName = Annotated[str, Kind("a distribution's name", source=str, read=_normalised)]
Platform = Annotated[str, _one_of(*PLATFORMS)]
Part = Annotated[str, _one_of(*PARTS)]
Compression = Annotated[str, _one_of("zstd", "gzip")]
Sources = Annotated[str, _one_of("app", "all")]
Attestations = Annotated[str, _one_of("required", "none")]
Static = Annotated[str, _one_of("all", "collected")]
