"""Reads the `runtime` stage of docker/Dockerfile: which layers are added, and the settings of the image. It is the only description."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerfile_parse import DockerfileParser

from lastgood.errors import UsageError

if TYPE_CHECKING:
    from lastgood.image.layers import Layer

_STAGE = "runtime"
KNOWN = ("ADD", "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")


@dataclass(frozen=True)
class Description:
    """What the stage says: `adds` are the layer files in order; `config` is the image configuration of the OCI specification."""

    adds: tuple[str, ...]
    config: Mapping[str, Any]
    file: str = "Dockerfile"

    def order(self, layers: Sequence[Layer]) -> list[Layer]:
        """`layers` in the order in which the file adds them. Raises UsageError for one that is not prepared."""
        known = {layer.name: layer for layer in layers}
        unknown = [name for name in self.adds if name not in known]
        if unknown:
            raise UsageError(
                f"{self.file} ADDs {unknown[0]}.tar, which lastgood does not prepare: it knows {', '.join(known)}"
            )
        return [known[name] for name in self.adds]


def read(file: Path, arguments: Mapping[str, str]) -> Description:
    """Reads the stage, with the build arguments given. Raises UsageError for an instruction that would run something."""
    instructions = _stage(file)
    adds: list[str] = []
    environment: dict[str, str] = {}
    known: dict[str, str] = {}
    config: dict[str, Any] = {}
    for entry in instructions:
        name = entry["instruction"]
        value = entry["value"]
        where = f"{file}:{entry['startline'] + 1}"
        if name in ("ENTRYPOINT", "CMD"):
            config["Entrypoint" if name == "ENTRYPOINT" else "Cmd"] = _words(name, value, where)
            continue
        value = _expand(value, known | environment, where)
        if name == "ARG":
            key, _, default = value.partition("=")
            known[key] = arguments.get(key, default)
        elif name == "ADD":
            adds.append(_added(value, where))
        elif name == "ENV":
            environment |= _pairs(name, value, where)
        elif name == "LABEL":
            config.setdefault("Labels", {}).update(_pairs(name, value, where))
        elif name in ("USER", "WORKDIR", "STOPSIGNAL"):
            config[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[name]] = value
        elif name in ("EXPOSE", "VOLUME"):
            key = "ExposedPorts" if name == "EXPOSE" else "Volumes"
            words = json.loads(value) if value.startswith("[") else value.split()
            named: dict[str, Any] = {word if key == "Volumes" or "/" in word else f"{word}/tcp": {} for word in words}
            config.setdefault(key, {}).update(named)
        else:
            raise UsageError(
                f"{where}: `{name} {entry['value']}` has no place in the {_STAGE} stage, which is assembled without an engine and knows "
                f"{', '.join(KNOWN)}; where something has to run, name a Dockerfile of your own in [tool.lastgood.image]"
            )
    config["Env"] = [f"{key}={text}" for key, text in environment.items()]
    return Description(tuple(adds), config, str(file))


def _stage(file: Path) -> list[dict[str, Any]]:
    try:
        parser = DockerfileParser(fileobj=io.BytesIO(file.read_bytes()))
    except OSError as error:
        raise UsageError(f"{file} can't be read ({error.strerror}): install lastgood again") from None
    inside: list[dict[str, Any]] | None = None
    for entry in parser.structure:
        if entry["instruction"] == "FROM":
            if inside is not None:
                break
            found = re.fullmatch(r"scratch\s+AS\s+(\S+)", entry["value"], re.IGNORECASE)
            inside = [] if found and found.group(1) == _STAGE else None
        elif inside is not None and entry["instruction"] != "COMMENT":
            inside.append(entry)
    if inside is None:
        raise UsageError(f"{file} has no stage `FROM scratch AS {_STAGE}`: restore it from the bundle")
    return inside


def _expand(value: str, known: Mapping[str, str], where: str) -> str:
    """As an engine does it: build arguments and earlier ENV; what is not set is empty."""
    if "${" in re.sub(r"\$\{\w+\}", "", value):
        raise UsageError(
            f"{where}: {value!r} has more than a name between the braces of a variable, which is not read here"
        )
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: known.get(found.group(1) or found.group(2), ""), value)


def _words(name: str, value: str, where: str) -> list[str]:
    try:
        words = json.loads(value)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UsageError(
            f'{where}: {name} must be a list, as {name} ["a", "b"]: there is no shell in the image to run {value!r}'
        )
    return words


def _pairs(name: str, value: str, where: str) -> dict[str, str]:
    words = shlex.split(value)
    if not all("=" in word for word in words):
        raise UsageError(f"{where}: {name} takes NAME=VALUE, not {value!r}")
    return dict(word.split("=", 1) for word in words)


def _added(value: str, where: str) -> str:
    words = value.split()
    if len(words) != 2 or words[1] != "/" or not words[0].endswith(".tar"):
        raise UsageError(f"{where}: ADD takes one prepared layer and /, as `ADD base.tar /`, not {value!r}")
    return words[0].removesuffix(".tar")
