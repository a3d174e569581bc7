"""What a value may be: the types that msgspec checks, each with the words for one that is wrong."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lastgood.config.near import nearest

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


# What a variable's value may name in braces; a secret's place may be one of HANDED, which are secrets already.
NAMED = ("database.host", "database.port", "database.name", "site.url", "site.host")
HANDED = ("database.url", "database.user", "database.password", "secret-key")
_BRACES = re.compile(r"\{((?:database|site)\.[a-z.-]*|secret-key)\}")
_SHELL = re.compile(r"[|&;<>]+|.*\$[({A-Za-z_].*|`.*", re.DOTALL)
_MANAGED = r"arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:[\w/+=.@!-]+-[A-Za-z0-9]{6}(:[^:\s]*:[^:\s]*:[^:\s]*)?"
_PARAMETER = r"arn:[\w-]+:ssm:[\w-]+:\d{12}:parameter/[\w/.-]+|/[\w/.-]+"


def _command(given: str | list[str], _: Path) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(given)) if isinstance(given, str) else tuple(given)
    except ValueError as error:
        raise ValueError(f"{given!r} can't be taken apart ({error}): write it as a list") from None
    if not words or not words[0]:
        raise ValueError("names no program")
    if isinstance(given, str):
        found = next((word for word in words if _SHELL.fullmatch(word) or (word is words[0] and "=" in word)), None)
        if found:
            raise ValueError(f"no shell runs it, so {found!r} means nothing: name one program, or write it as a list")
    return words


def _text(given: str, _: Path) -> str:
    for name in _BRACES.findall(given):
        if name in HANDED:
            raise ValueError(f"{{{name}}} is a secret: a variable's value can be read by many; name it below secrets")
        if name not in NAMED:
            raise ValueError(f"{{{name}}} is nothing known{nearest(name, NAMED)}; there are {', '.join(NAMED)}")
    return given


def _secret_place(given: str, _: Path) -> str:
    # Whatever it is, it is not repeated: somebody may have written the secret itself.
    if re.fullmatch(f"{_MANAGED}|{_PARAMETER}", given) or given in [f"{{{name}}}" for name in HANDED]:
        return given
    raise ValueError(
        "must be a place, never a value: a secret's whole ARN with its six letters at the end (ARN:key:: for a key of its JSON), a "
        f"parameter's ARN or its name with a slash first, or one of {', '.join(f'{{{name}}}' for name in HANDED)}"
    )


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
PagePath = Annotated[str, _whole(r"/[^\s{}]*"), Kind("a path that begins with a slash")]
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
# Of a process or a job: a letter begins each of its parts, so that what the stack calls it is one name's alone.
PartName = Annotated[
    str,
    _whole("(?=.{1,40}$)[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*"),
    Kind("1 to 40 lower-case letters, digits and single hyphens, with a letter after each"),
]
Command = Annotated[Sequence[str], Kind("a command, as text or as a list", source=str | list[str], read=_command)]
VariableName = Annotated[
    str,
    _whole("(?!LASTGOOD_)[A-Za-z_][A-Za-z0-9_]*"),
    Kind("a variable's name: letters, digits and underscores, no digit first, and not LASTGOOD_…, which is ours"),
]
Text = Annotated[str, Kind("a string", source=str, read=_text)]
SecretPlace = Annotated[str, Kind("a place of a secret", source=str, read=_secret_place)]
Tasks = Annotated[int, Meta(ge=0, le=1000), Kind("a number of tasks, 0 to 1000")]
Cpu = Annotated[int, Meta(ge=256, le=16384, multiple_of=256), Kind("CPU units as Fargate has them, 256 to 16384")]
Memory = Annotated[int, Meta(ge=512, le=122880, multiple_of=512), Kind("MiB as Fargate has them, 512 to 122880")]
StopTimeout = Annotated[int, Meta(ge=2, le=120), Kind("seconds, 2 to 120")]
Schedule = Annotated[
    str,
    _whole(r"(cron|rate|at)\([^()]+\)"),
    Kind("a schedule, as rate(1 hour), cron(0 3 * * ? *) or at(2027-01-31T03:00:00)"),
]
