"""What a person asks for: the Debian packages of each stage, from the bundle's base.toml and the project's pyproject.toml."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lastgood import platform
from lastgood.errors import UsageError

ARCHITECTURES = tuple(one.debian for one in platform.ALL.values())
_NAME = re.compile(rf"[a-z0-9][a-z0-9+.-]+(:({'|'.join(ARCHITECTURES)}))?")


@dataclass(frozen=True)
class Wanted:
    """A package that is asked for: its name, the architecture if it is said, and who asks (for errors)."""

    name: str
    architecture: str | None
    asker: str


@dataclass(frozen=True)
class Stage:
    """The seeds of one stage and architecture. `machine` is the architecture that its programs run on: another one for a cross compiler."""

    wanted: tuple[Wanted, ...]
    without: frozenset[str]
    machine: str


@dataclass(frozen=True)
class Seeds:
    """The seeds of all stages. `file` is where a person mends them; `digest` is a sha256 of their meaning (not of comments or order)."""

    suite: str
    file: str
    stages: Mapping[str, Mapping[str, Stage]]
    digest: str

    @classmethod
    def read(cls, file: Path) -> Seeds:
        """Reads a base.toml. Raises UsageError naming the file."""
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            tables = {name: table for name, table in data.items() if isinstance(table, dict)}
            stages: dict[str, Mapping[str, Stage]] = {}
            for name, table in tables.items():
                stages[name] = {one: _stage(table, one, stages, str(file)) for one in ARCHITECTURES}
            return cls(suite=data["suite"], file=str(file), stages=stages, digest=_digest(data))
        except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{file} can't be read as a list of Debian packages: {error}; see docker/base.toml"
            ) from None

    def add(self, file: Path, packages: Iterable[str], build_packages: Iterable[str], names: Iterable[str]) -> Seeds:
        """These seeds and what a project adds: `packages` to what ships and to what is compiled against, `build_packages` to the latter.

        `names` are the architectures that the project ships. Raises UsageError for what can't be the name of a package.
        """
        shipped = tuple(_wanted(name, f"{file.name}: [tool.lastgood.image] packages") for name in packages)
        built = tuple(_wanted(name, f"{file.name}: [tool.lastgood.image] build-packages") for name in build_packages)
        chosen = sorted(set(names))
        added = {"runtime": shipped, "compiler": (*shipped, *built)}
        stages = {
            stage: {
                one: replace(seeds, wanted=(*seeds.wanted, *added.get(stage, ()))) if one in chosen else seeds
                for one, seeds in table.items()
            }
            for stage, table in self.stages.items()
        }
        ours = [self.digest, sorted(packages), sorted(build_packages), chosen]
        return Seeds(self.suite, file.name, stages, _digest(ours))


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _wanted(text: str, asker: str) -> Wanted:
    if not _NAME.fullmatch(text):
        raise UsageError(f"{asker}: {text!r} is not the name of a Debian package: mend it")
    name, _, architecture = text.partition(":")
    return Wanted(name, architecture or None, asker)


def _stage(table: Mapping[str, Any], architecture: str, above: Mapping[str, Mapping[str, Stage]], file: str) -> Stage:
    """One stage for one architecture: its table, the architecture's own below it, and the stage it stands `on`."""
    own = table.get(architecture, {})
    machine = own.get("machine", architecture)
    wanted = tuple(_wanted(name, file) for name in (*table["packages"], *own.get("packages", ())))
    without = frozenset((*table.get("without", ()), *own.get("without", ())))
    if "on" in table:
        if table["on"] not in above:
            raise ValueError(f"a stage stands on {table['on']!r}, which is not above it")
        # What is below runs on the machine that the programs of this stage run on.
        below = above[table["on"]][machine]
        wanted = (*(replace(one, architecture=one.architecture or machine) for one in below.wanted), *wanted)
        without |= below.without
    return Stage(wanted, without, machine)
