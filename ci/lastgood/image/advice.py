"""What would be wrong with an image once it runs, and can be known while it is built: refused where it is sure, else said.

Pure functions of what the settings said when they were imported, of the sources and of the static files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lastgood.errors import Refused

SERVERS = ("gunicorn", "uvicorn", "daphne", "hypercorn", "granian", "uwsgi", "pyuwsgi")
_STATIC = re.compile(r"\{%-?\s*static\s+(['\"])([^'\"{}]+)\1\s*(?:as\s+\w+\s*)?-?%\}")
_MOST = 5


@dataclass(frozen=True)
class Facts:
    """What is known: `said` is what the settings' import gave, `files` the application's (path below `folder`, of a copy).

    `variables` are those of the build, `static` the paths of what was collected, `packages` what is installed at the top.
    """

    folder: Path
    files: Collection[str]
    settings: str
    said: Mapping[str, Any]
    variables: Mapping[str, str]
    static: Collection[str]
    packages: Collection[str]


def check(facts: Facts) -> list[str]:
    """What is to be said, a sentence each. Raises Refused for what can't be meant, with its line."""
    refused = [*_debug(facts), *_database(facts), *_server(facts)]
    if refused:
        raise Refused("\n".join(refused))
    return [*_doubtful(facts), *_moving(facts), *_templates(facts)]


def _debug(facts: Facts) -> Iterator[str]:
    where, value = _assigned(facts, "DEBUG")
    if facts.said.get("debug") and isinstance(value, ast.Constant):
        yield (
            f"{where}: DEBUG is on, which shows every visitor of an error page your settings and code: turn it off, let a variable decide, "
            "or name production's settings in [tool.lastgood]"
        )


def _database(facts: Facts) -> Iterator[str]:
    url = facts.variables.get("DATABASE_URL", "")
    if str(facts.said.get("engine", "")).endswith("sqlite3") and re.match(r"postgres(ql)?://", url):
        where, _ = _assigned(facts, "DATABASES")
        yield (
            f"{where}: the database is SQLite, though DATABASE_URL is PostgreSQL's: what is written would be lost with each task; let "
            "DATABASES read DATABASE_URL"
        )


def _server(facts: Facts) -> Iterator[str]:
    if facts.packages and not any(one.lower() in SERVERS for one in facts.packages):
        yield (
            "no server is among the requirements (gunicorn, uvicorn, daphne, hypercorn, granian or uwsgi): nothing could answer; add "
            'one, or name it as also = ["gunicorn"] in [tool.lastgood.lock], and run `lastgood lock`'
        )


def _doubtful(facts: Facts) -> Iterator[str]:
    where, value = _assigned(facts, "DEBUG")
    if facts.said.get("debug") and not isinstance(value, ast.Constant):
        yield f"{where}: DEBUG is on while the image is built; see that it is off where it runs"
    if str(facts.said.get("engine", "")).endswith("sqlite3") and "DATABASE_URL" not in facts.variables:
        where, _ = _assigned(facts, "DATABASES")
        yield f"{where}: the database is SQLite, a file that is lost with each task: let DATABASES read DATABASE_URL"


def _moving(facts: Facts) -> Iterator[str]:
    where, value = _assigned(facts, "STATIC_ROOT")
    if value and any(
        isinstance(node, ast.Call | ast.Subscript)
        and re.match(r"(os\.)?(environ|getenv)\b|env\b|config\b", ast.unparse(node))
        for node in ast.walk(value)
    ):
        yield (
            f"{where}: STATIC_ROOT is read from a variable: with another value at run time the static files in the image are not found; "
            "derive it from BASE_DIR"
        )


def _templates(facts: Facts) -> Iterator[str]:
    if not facts.static:
        return
    missing = []
    for name in sorted(facts.files):
        if "templates" in PurePosixPath(name).parts and name.endswith((".html", ".txt", ".xml")):
            try:
                text = (facts.folder / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            # What stands in comments is not asked for.
            text = re.sub(
                r"\{#.*?#\}|\{%\s*comment\b.*?endcomment\s*%\}",
                lambda one: "\n" * one[0].count("\n"),
                text,
                flags=re.DOTALL,
            )
            for found in _STATIC.finditer(text):
                asked = found[2].strip("/")
                line = text.count("\n", 0, found.start()) + 1
                missing += [f"{name}:{line} names {asked}"] * (asked not in facts.static and "?" not in asked)
    yield from (f"{one}, a static file that was not collected" for one in missing[:_MOST])
    if len(missing) > _MOST:
        yield f"{len(missing) - _MOST} more static files that templates name were not collected"


def _assigned(facts: Facts, name: str) -> tuple[str, ast.expr | None]:
    """`path:line` of the last assignment of a setting that was in force, and its value; the settings' module where none is seen."""
    path = _path(facts, facts.settings)
    seen: set[str] = set()
    found = _last(facts, path, facts.settings, name, seen)
    return found or (path or facts.settings, None)


def _path(facts: Facts, module: str) -> str:
    base = module.replace(".", "/")
    return next((one for one in (f"{base}.py", f"{base}/__init__.py") if one in facts.files), "")


def _last(facts: Facts, path: str, module: str, name: str, seen: set[str]) -> tuple[str, ast.expr] | None:
    """The last top-level statement of a module that assigns `name`, or takes it over from another with a star."""
    if not path or path in seen:
        return None
    seen.add(path)
    try:
        body = ast.parse((facts.folder / path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return None
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    for node in reversed(list(_flat(body))):
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return f"{path}:{node.lineno}", node.value
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == name
            and node.value
        ):
            return f"{path}:{node.lineno}", node.value
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module or "") if part)
            found = _last(facts, _path(facts, base), base, name, seen)
            if found:
                return found
    return None


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module in order, those of `if` and `try` among them."""
    for node in body:
        yield node
        for inner in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                for one in getattr(node, inner, []):
                    yield from _flat(one.body if isinstance(one, ast.ExceptHandler) else [one])
