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

# What is locked, below the project's root; the last two are there only where they are needed.
REQUIREMENTS = "requirements.txt"
BUILDS = "docker/build-requirements.txt"
LOCKS = (REQUIREMENTS, "docker/packages.lock", BUILDS)
PLATFORMS = ("linux/amd64", "linux/arm64")
COMPRESSIONS = ("zstd", "gzip")
SOURCES = ("app", "all")
STATIC = ("all", "collected")
PARTS = ("sqlite3", "cjk-codecs")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "a string": str,
    "a whole number": int,
    "a table": dict,
    "a list": list,
    "a size or a table": (str, dict),
}
_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Budget:
    """What the image may weigh, compressed, in bytes. `growth` is against last good, `distributions` by normalised name."""

    total: int = 60_000_000
    growth: int | None = None
    files: int | None = None
    distributions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSettings:
    """`[tool.lastgood.image]`.

    `packages` and `build_packages` are Debian packages that the project adds to the runtime and the wheels stage. `aws_services` and
    `languages` say what data is kept (None: found by reading the project). `sources` is `app` or `all`: whose `.py` files are in the
    image. `static` says which static files of installed packages are in it: `all`, or `collected`, only where collectstatic has put them
    (None: what goes is found by reading the project). `without` names parts of Python that the project has no use for, of PARTS.
    `accept` lists findings of the scan that are known and accepted, as `second-openssl: psycopg-binary`.
    """

    budget: Budget = field(default_factory=Budget)
    platforms: tuple[str, ...] = ("linux/amd64",)
    packages: tuple[str, ...] = ()
    build_packages: tuple[str, ...] = ()
    compression: str = "zstd"
    sources: str = "app"
    static: str | None = None
    aws_services: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    mirror: str | None = None
    snapshot: str | None = None
    dockerfile: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LockSettings:
    """`[tool.lastgood.lock]`. Files that were uploaded less than `cooldown` days ago are not taken."""

    cooldown: int = 0


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
    lock: LockSettings = field(default_factory=LockSettings)

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
        for key, value in data.items():
            if key not in known:
                names = ", ".join(known)
                raise self.wrong(table, key, f"there is no such key{_nearest(key, known)}; it takes {names}")
            if not isinstance(value, _KINDS[known[key]]) or isinstance(value, bool):
                raise self.wrong(table, key, f"must be {known[key]}, not {value!r}")
        return data

    def list_of(
        self, table: str, key: str, values: Mapping[str, Any], choices: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        """The list of strings under `key`, each one of `choices` where there are any."""
        for value in values[key]:
            if not isinstance(value, str):
                raise self.wrong(table, key, f"must hold strings, not {value!r}")
            if choices and value not in choices:
                raise self.wrong(
                    table, key, f"{value!r} is none of {', '.join(choices)}{_nearest(value, dict.fromkeys(choices))}"
                )
        if len(set(values[key])) != len(values[key]):
            raise self.wrong(table, key, "names something twice")
        return tuple(values[key])

    def strings(self, table: str, data: Any) -> dict[str, str]:
        for key, value in data.items():
            if not isinstance(value, str):
                raise self.wrong(table, key, f"must be a string, not {value!r}")
        return dict(data)

    def project(self, data: Any) -> Project:
        top = "tool.lastgood"
        known = dict.fromkeys(("project", "app", "settings"), "a string")
        known |= dict.fromkeys(("image", "lock", "local", "environments"), "a table")
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
            lock=self.lock(values.get("lock", {})),
        )

    def image(self, data: Any) -> ImageSettings:
        table = "tool.lastgood.image"
        lists = ("platforms", "packages", "build-packages", "aws-services", "languages", "keep", "without", "accept")
        known = dict.fromkeys(("compression", "sources", "static", "mirror", "snapshot", "dockerfile"), "a string")
        known |= dict.fromkeys(lists, "a list") | {"budget": "a size or a table", "environment": "a table"}
        values = self.only(table, data, known)
        chosen: dict[str, Any] = {}
        for key, choices in (("compression", COMPRESSIONS), ("sources", SOURCES), ("static", STATIC)):
            if key in values:
                if values[key] not in choices:
                    raise self.wrong(table, key, f"{values[key]!r} must be one of {', '.join(choices)}")
                chosen[key] = values[key]
        for key in lists:
            if key in values:
                chosen[key.replace("-", "_")] = self.list_of(
                    table, key, values, {"platforms": PLATFORMS, "without": PARTS}.get(key, ())
                )
        if chosen.get("platforms") == ():
            raise self.wrong(table, "platforms", f"must name one of {', '.join(PLATFORMS)}")
        return ImageSettings(
            **chosen,
            budget=self.budget(table, values.get("budget", {})),
            mirror=values.get("mirror"),
            snapshot=values.get("snapshot"),
            dockerfile=values.get("dockerfile"),
            environment=self.strings(f"{table}.environment", values.get("environment", {})),
        )

    def budget(self, above: str, data: Any) -> Budget:
        if isinstance(data, str):
            return Budget(total=self.size(above, "budget", data))
        table = f"{above}.budget"
        known = {"total": "a string", "growth": "a string", "files": "a whole number", "distributions": "a table"}
        values = self.only(table, data, known)
        if values.get("files", 1) < 1:
            raise self.wrong(table, "files", f"{values['files']} leaves no room for any image")
        limits = self.strings(f"{table}.distributions", values.get("distributions", {}))
        return Budget(
            total=self.size(table, "total", values["total"]) if "total" in values else Budget.total,
            growth=self.size(table, "growth", values["growth"]) if "growth" in values else None,
            files=values.get("files"),
            distributions={
                re.sub(r"[-_.]+", "-", name).lower(): self.size(f"{table}.distributions", name, text)
                for name, text in limits.items()
            },
        )

    def size(self, table: str, key: str, text: str) -> int:
        """The bytes that `text` means, as `30 MB`."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB)?", text.strip())
        if not found:
            raise self.wrong(table, key, f"{text!r} must be a size, as “30 MB”")
        size = int(float(found.group(1)) * _UNITS[found.group(2) or ""])
        if not size:
            raise self.wrong(table, key, f"{text!r} leaves no room for any image")
        return size

    def lock(self, data: Any) -> LockSettings:
        table = "tool.lastgood.lock"
        values = self.only(table, data, {"cooldown": "a whole number"})
        if not 0 <= values.get("cooldown", 0) <= 365:
            raise self.wrong(table, "cooldown", f"{values['cooldown']} must be days, 0 to 365")
        return LockSettings(**values)

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
