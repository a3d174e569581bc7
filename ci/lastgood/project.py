"""`[tool.lastgood]` of the project's pyproject.toml: read once, checked at the door, frozen."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError

_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class ImageSettings:
    """`[tool.lastgood.image]`. `budget` is in bytes, of the compressed image."""

    budget: int = 60_000_000
    mirror: str | None = None
    dockerfile: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalSettings:
    """`[tool.lastgood.local]`: the ports of the one-machine cloud."""

    port: int = 4566
    site_port: int = 8000
    database_port: int = 54320


@dataclass(frozen=True)
class Environment:
    """`[tool.lastgood.environments.NAME]`: one stack. `url` is where the smoke test asks, else the stack's output says."""

    name: str
    stack: str
    region: str | None = None
    url: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A Django project that lastgood ships."""

    root: Path
    name: str
    app: Path
    settings: str
    image: ImageSettings
    local: LocalSettings
    environments: Mapping[str, Environment]

    @property
    def state(self) -> Path:
        """`.lastgood` beside pyproject.toml (or LASTGOOD_STATE): what commands leave for one another. Created when asked for."""
        folder = Path(os.environ.get("LASTGOOD_STATE") or self.root / ".lastgood").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def environment(self, name: str) -> Environment:
        """The environment of that name. Raises UsageError naming the nearest one that is declared."""
        if name not in self.environments:
            declared = ", ".join(self.environments)
            raise UsageError(
                f"there is no environment {name!r}{_nearest(name, self.environments)}: pyproject.toml declares "
                f"{declared or 'none'}; add [tool.lastgood.environments.{name}] to make it one"
            )
        return self.environments[name]


def cache() -> Path:
    """The folder of downloads and prepared layers, shared by projects; every entry can be made again."""
    base = os.environ.get("LASTGOOD_CACHE")
    if base:
        return Path(base).resolve()
    return (Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lastgood").resolve()


def load(folder: Path) -> Project:
    """Reads the project whose pyproject.toml is in `folder` or above it.

    Raises UsageError for a missing file, a syntax error, an unknown or wrong key (with its line), or an app folder without manage.py.
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
            f"{file} has no [tool.lastgood] table: add it with at least `project`, `app` and `settings` (README, “adopt it”)"
        )
    return _Reader(file, text).project(table)


def _find(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file():
            return candidate / "pyproject.toml"
        if (candidate / ".git").exists():
            break
    raise UsageError(
        f"there is no pyproject.toml in {folder} or above it: run lastgood in a project that has one, or point to it with --project"
    )


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class _Reader:
    """Turns the parsed tables into the frozen objects above, and knows where in the file a key stands."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines = text.splitlines()

    def where(self, table: str, key: str | None = None) -> str:
        """`pyproject.toml:LINE`, of the key, else of the table's header, else of the file."""
        header: int | None = None
        inside = False
        for number, line in enumerate(self.lines, start=1):
            found = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
            if found:
                inside = found.group(1).replace('"', "").replace(" ", "") == table
                header = number if inside and header is None else header
                if key and found.group(1).replace('"', "") == f"{table}.{key}":
                    return f"{self.file.name}:{number}"
            elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*(=|\.)", line):
                return f"{self.file.name}:{number}"
        if header is None and "." in table:  # an inline table: the line of the key that holds it
            return self.where(*table.rsplit(".", 1))
        return f"{self.file.name}:{header}" if header else self.file.name

    def wrong(self, table: str, key: str, problem: str) -> UsageError:
        return UsageError(f"{self.where(table, key)}: [{table}] {key}: {problem}")

    def only(self, table: str, data: Any, known: Mapping[str, str]) -> dict[str, Any]:
        """`data`, after every key was found in `known` with the right type."""
        if not isinstance(data, dict):
            parent, _, key = table.rpartition(".")
            raise self.wrong(parent, key, f"must be a table ([{table}])")
        kinds: dict[str, type] = {"a string": str, "a whole number": int, "a table": dict}
        for key, value in data.items():
            if key not in known:
                names = ", ".join(known)
                raise self.wrong(table, key, f"there is no such key{_nearest(key, known)}; it takes {names}")
            kind = kinds[known[key]]
            if not isinstance(value, kind) or isinstance(value, bool):
                raise self.wrong(table, key, f"must be {known[key]}, not {value!r}")
        return data

    def strings(self, table: str, data: Any) -> dict[str, str]:
        for key, value in data.items():
            if not isinstance(value, str):
                raise self.wrong(table, key, f"must be a string, not {value!r}")
        return dict(data)

    def project(self, data: Any) -> Project:
        top = "tool.lastgood"
        known = dict.fromkeys(("project", "app", "settings"), "a string")
        known |= dict.fromkeys(("image", "local", "environments"), "a table")
        values = self.only(top, data, known)
        for key in ("project", "settings"):
            if key not in values:
                raise UsageError(f"{self.where(top)}: [{top}] has no {key!r}: add it (README, “adopt it”)")
        name = values["project"]
        if not _NAME.fullmatch(name):
            raise self.wrong(top, "project", f"{name!r} must be 2 to 40 lower-case letters, digits and hyphens")
        if not _DOTTED.fullmatch(values["settings"]):
            raise self.wrong(
                top, "settings", f"{values['settings']!r} must be a module's dotted name, as board.settings"
            )
        app = (self.file.parent / values.get("app", ".")).resolve()
        if not (app / "manage.py").is_file():
            raise self.wrong(top, "app", f"there is no manage.py in {app}: name the folder that holds it")
        return Project(
            root=self.file.parent,
            name=name,
            app=app,
            settings=values["settings"],
            image=self.image(values.get("image", {})),
            local=self.local(values.get("local", {})),
            environments=self.environments(name, values.get("environments", {})),
        )

    def image(self, data: Any) -> ImageSettings:
        table = "tool.lastgood.image"
        known = dict.fromkeys(("budget", "mirror", "dockerfile"), "a string") | {"environment": "a table"}
        values = self.only(table, data, known)
        budget = ImageSettings.budget
        if "budget" in values:
            found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB)?", values["budget"].strip())
            if not found:
                raise self.wrong(table, "budget", f"{values['budget']!r} must be a size, as “30 MB”")
            budget = int(float(found.group(1)) * _UNITS[found.group(2) or ""])
            if not budget:
                raise self.wrong(table, "budget", f"{values['budget']!r} leaves no room for any image")
        return ImageSettings(
            budget=budget,
            mirror=values.get("mirror"),
            dockerfile=values.get("dockerfile"),
            environment=self.strings(f"{table}.environment", values.get("environment", {})),
        )

    def local(self, data: Any) -> LocalSettings:
        table = "tool.lastgood.local"
        names = ("port", "site_port", "database_port")
        values = dict(self.only(table, data, dict.fromkeys(names, "a whole number")))
        for key, value in values.items():
            if not 0 < value < 65536:
                raise self.wrong(table, key, f"{value} must be a port, 1 to 65535")
        for key in names:
            variable = "LASTGOOD_LOCAL_PORT" if key == "port" else f"LASTGOOD_{key.upper()}"
            given = os.environ.get(variable)
            if given:
                if not given.isdecimal() or not 0 < int(given) < 65536:
                    raise UsageError(f"{variable} is {given!r}: it must be a port, 1 to 65535")
                values[key] = int(given)
        return LocalSettings(**values)

    def environments(self, project: str, data: Any) -> dict[str, Environment]:
        top = "tool.lastgood.environments"
        known = dict.fromkeys(("stack", "region", "url"), "a string") | {"parameters": "a table"}
        found: dict[str, Environment] = {}
        for name, value in {"local": {}, **data}.items():
            if not _NAME.fullmatch(name):
                raise self.wrong(top, name, "an environment's name is 2 to 40 lower-case letters, digits and hyphens")
            table = f"{top}.{name}"
            values = self.only(table, value, known)
            found[name] = Environment(
                name=name,
                stack=values.get("stack", f"{project}-{name}"),
                region=values.get("region"),
                url=values["url"].rstrip("/") if "url" in values else None,
                parameters=self.strings(f"{table}.parameters", values.get("parameters", {})),
            )
        return found
