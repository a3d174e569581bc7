"""`[tool.lastgood]` of the project's pyproject.toml: read once, checked at the door, frozen."""

from __future__ import annotations

import tomllib
from pathlib import Path

from msgspec.structs import replace

from lastgood.config.kinds import PARTS, PLATFORMS
from lastgood.config.reader import Reader
from lastgood.config.tables import (
    WEB,
    Budget,
    Environment,
    ImageSettings,
    Job,
    LocalSettings,
    LockSettings,
    Process,
    Project,
    Shape,
    overridden,
)
from lastgood.errors import UsageError

__all__ = [
    "BUILDS",
    "LOCKS",
    "PARTS",
    "PLATFORMS",
    "REQUIREMENTS",
    "WEB",
    "Budget",
    "Environment",
    "ImageSettings",
    "Job",
    "LocalSettings",
    "LockSettings",
    "Process",
    "Project",
    "Shape",
    "load",
]

# What is locked, below the project's root; the last two are there only where they are needed.
REQUIREMENTS = "requirements.txt"
BUILDS = "docker/build-requirements.txt"
LOCKS = (REQUIREMENTS, "docker/packages.lock", BUILDS)
_TABLE = "tool.lastgood"


def load(folder: Path) -> Project:
    """Reads the project whose pyproject.toml is in `folder` or above it.

    Raises UsageError for a missing file, a syntax error, unknown or wrong keys (all of them, each with its line), or an app folder without
    manage.py.
    """
    file = _find(folder.resolve())
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}; mend that line and run the command again") from None
    tools = document.get("tool")
    table = tools.get("lastgood") if isinstance(tools, dict) else None
    if table is None:
        raise UsageError(
            f"{file} has no [{_TABLE}] table: add it with at least `project`, `app` and `settings` (README, “adopt it”)"
        )
    return _read(file, text, table)


def _read(file: Path, text: str, table: object) -> Project:
    project = Reader(file, text).read(Project, _TABLE, table, root=file.parent)
    environments = {"local": Environment("local"), **project.environments}
    for name, one in environments.items():
        stack, made = one.stack or f"{project.name}-{name}", shape(project, one)
        smoke = project.smoke if made.smoke is None else made.smoke
        environments[name] = replace(one, stack=stack, shape=made, smoke=smoke)
    return replace(project, environments=environments)


def shape(project: Project, environment: Environment) -> Shape:
    """What the tables of a project and of one of its environments make of its stack; the environment's own word counts.

    `local` has the secrets of all environments, by values of its own: their places are AWS's.
    """
    own = environment.processes
    declared = dict(project.processes)
    if WEB in own:
        declared.setdefault(WEB, Process(WEB))
    variables, secrets = dict(project.variables), dict(project.secrets)
    if environment.name == "local":
        for other in project.environments.values():
            secrets |= {name: place for name, place in other.secrets.items() if name not in variables}
    return Shape(
        tuple(overridden(one, own.get(name)) for name, one in declared.items()),
        tuple(project.jobs.values()),
        {name: value for name, value in variables.items() if name not in environment.secrets}
        | dict(environment.variables),
        {name: place for name, place in secrets.items() if name not in environment.variables}
        | dict(environment.secrets),
    )


def _find(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file():
            return candidate / "pyproject.toml"
        if (candidate / ".git").exists():
            break
    raise UsageError(
        f"there is no pyproject.toml in {folder} or above it: run lastgood in a project that has one, or point to it with --project"
    )
