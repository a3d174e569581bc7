"""What of the application stays out of its image: its tests, the files of CI and of other ways to run it, and what the project names.

What is left out by default is only what the rest does not use: tests that are imported, or named as settings name modules, stay.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from lastgood.report.terminal import counted

TESTS, CI, NAMED, OWN = "tests", "CI and tools", "what exclude names", "lastgood's own table"
_FOLDER = "tests"
_TEST_FILES = ("tests.py", "test_*.py", "conftest.py")
# Found by their place, and named by nobody who could be seen: commands, tags of templates, files that a loader looks for.
_FOUND_BY_PLACE = {"management", "templatetags", "templates", "jinja2", "static", "locale", "migrations", "fixtures"}
_TOP = (
    ".github", ".gitlab", ".gitlab-ci.yml", ".circleci", ".buildkite", ".travis.yml", ".travis",
    "azure-pipelines.yml", "bitbucket-pipelines.yml", "Jenkinsfile", ".drone.yml", ".woodpecker*",
    ".pre-commit-config.yaml", ".gitignore", ".gitattributes", ".gitmodules", ".editorconfig", ".dockerignore",
    "Dockerfile*", "docker-compose*.y*ml", "compose*.y*ml", ".vscode", ".idea", ".devcontainer", ".envs", "Makefile",
    "justfile", "tox.ini", "noxfile.py", "pytest.ini", ".coveragerc", ".flake8", "codecov.yml", ".codecov.yml",
    "mypy.ini",
)  # fmt: skip


def matches(path: str, pattern: str) -> bool:
    """Whether a path, a folder that it lies in, or, for a pattern without a slash, any part of it is what the pattern says."""
    pattern = pattern.strip("/")
    parts = PurePosixPath(path).parts
    if "/" not in pattern:
        return any(fnmatch.fnmatchcase(part, pattern) for part in parts)
    return any(fnmatch.fnmatchcase("/".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def chosen(
    names: Iterable[str], read: Callable[[str], bytes], exclude: Collection[str], keep: Collection[str]
) -> dict[str, str]:
    """{path: why} of what stays out of `names`, paths below the application's folder; `read` gives the content of one.

    `exclude` and `keep` are the project's patterns: what it names is out, and what it keeps is never out by default.
    """
    found: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for name in names:
        if any(matches(name, one) for one in exclude):
            found[name] = NAMED
        elif any(matches(name, one) for one in keep):
            continue
        elif any(fnmatch.fnmatchcase(PurePosixPath(name).parts[0], one) for one in _TOP):
            found[name] = CI
        elif group := _test(name):
            groups.setdefault(group, []).append(name)
    rest = [name for name in names if name not in found and name.endswith(".py")]
    for group in _unused(rest, groups, read):
        found |= dict.fromkeys(groups[group], TESTS)
    return found


def _test(name: str) -> str:
    """The folder of tests that a file lies in, or itself where it is one; empty where it is none."""
    parts = PurePosixPath(name).parts
    for number, part in enumerate(parts[:-1]):
        if part in _FOUND_BY_PLACE:
            return ""
        if part == _FOLDER:
            return "/".join(parts[: number + 1])
    return name if any(fnmatch.fnmatchcase(parts[-1], one) for one in _TEST_FILES) else ""


def _unused(rest: list[str], groups: Mapping[str, list[str]], read: Callable[[str], bytes]) -> set[str]:
    """The groups that nothing uses which is in the image; what one that is used uses is used, too."""
    modules = {_module(name): group for group, names in groups.items() for name in names if name.endswith(".py")}
    unused, waiting = set(groups), list(rest)
    while waiting and unused:
        name = waiting.pop()
        for used in _used(name, read(name)):
            group = modules.get(used)
            if group in unused:
                unused.discard(group)
                waiting += [one for one in groups[group] if one.endswith(".py")]
    return unused


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _used(name: str, body: bytes) -> Iterator[str]:
    """The modules that a source imports, or names in a string."""
    if b"test" not in body and b"conftest" not in body:
        return
    try:
        tree = ast.parse(body)
    except (SyntaxError, ValueError, RecursionError):
        return
    inside = _module(name) if name.endswith("/__init__.py") else _module(name).rpartition(".")[0]
    apps = b"INSTALLED_APPS" in body
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = inside.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module or "") if part)
            yield base
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"\w+(\.\w+)*", node.value)
        ):
            yield from _named(node.value, apps)


def _named(text: str, apps: bool) -> Iterator[str]:
    """A module, or what is in one; a word alone only where applications are listed."""
    if "." in text or apps:
        yield text
        while "." in text:
            text = text.rpartition(".")[0]
            if "." in text or apps:
                yield text


def without_table(body: bytes) -> bytes:
    """A pyproject.toml without `[tool.lastgood]`, which only the building needs; empty where that can't be cut out, or nothing is left."""
    try:
        text = body.decode("utf-8")
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return body
    if "lastgood" not in document.get("tool", {}):
        return body
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        header = re.match(r"\s*\[+\s*([\w.\"' -]+?)\s*\]+", line)
        if header:
            inside = bool(re.match(r"tool\.lastgood(\.|$)", re.sub(r"[\"' ]", "", header[1])))
        if not inside:
            kept.append(line)
    cut = "".join(kept)
    try:
        same = tomllib.loads(cut) == _without(document)
    except tomllib.TOMLDecodeError:
        same = False
    return cut.encode() if same and cut.strip() else b""


def _without(document: Mapping[str, Any]) -> dict[str, Any]:
    tools = {name: table for name, table in document["tool"].items() if name != "lastgood"}
    rest = {name: table for name, table in document.items() if name != "tool"}
    return rest | ({"tool": tools} if tools else {})


def told(left: Mapping[str, str]) -> str:
    """What stayed out, for the build's output; empty where nothing did."""
    counts = {why: sum(one == why for one in left.values()) for why in left.values()}
    parts = [why if why == OWN else f"{counted(count, 'file')} of {why}" for why, count in counts.items()]
    return f"left out of the image: {', '.join(parts)}" if parts else ""
