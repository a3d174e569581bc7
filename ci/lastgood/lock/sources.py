"""Where a project says what it needs: a requirements file, or pyproject.toml with or without the lock of another tool.

Whatever it is becomes requirement files for pip-compile. The versions of another tool's lock come along as constraints, so that none moves
by being locked here: there it is upgraded, here it is followed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from lastgood.config.near import nearest
from lastgood.errors import UsageError
from lastgood.python import required
from lastgood.python.merge import normalised

ENTRY = "lastgood.in"
MADE = ".in"  # behind the name of what a file is made for: pip takes what ends in .toml for a lock
# What a lock of another tool is called, by the file of requirements that it was made from, and who upgrades it.
LOCKS = {
    "uv.lock": ("pyproject.toml", "uv lock --upgrade"),
    "poetry.lock": ("pyproject.toml", "poetry update"),
    "Pipfile.lock": ("Pipfile", "pipenv update"),
}
_WRITERS = {"uv.lock": "uv lock", "poetry.lock": "poetry lock", "Pipfile.lock": "pipenv lock"}


@dataclass(frozen=True)
class Source:
    """`name` is the file that the project names; `entry` what pip-compile is given, `texts` the files that are made for it, by name.

    `upgraded_by` is the command that moves versions, where a lock of another tool holds them.
    """

    name: str
    entry: str
    texts: Mapping[str, bytes] = field(default_factory=dict)
    upgraded_by: str = ""


def read(
    root: Path, name: str, extras: Iterable[str] = (), groups: Iterable[str] = (), also: Iterable[str] = ()
) -> Source:
    """The source `name` of the project at `root`, with those extras and groups, and the requirements of `also` added.

    Raises UsageError for a file that is not there or can't be read, and for an extra or group that it does not have.
    """
    file = PurePosixPath(name).name
    if file not in LOCKS and file != "pyproject.toml":
        if extras or groups:
            key = "extras" if extras else "groups"
            raise UsageError(
                f"[tool.lastgood.lock] {key} goes with pyproject.toml or a lock beside it, and source is {name}: remove the key, or "
                "name another source"
            )
        return _wrapped(name, {}, also, "") if also else Source(name, name)
    folder = (root / name).parent
    wanted = LOCKS[file][0] if file in LOCKS else file
    declared = _declared(folder / wanted, file, tuple(extras), tuple(groups))
    texts = {wanted + MADE: _text(declared)}
    if file in LOCKS:
        texts[file + MADE] = _text(_pins(folder / file, file, tuple(groups)))
    return _wrapped(name, texts, also, LOCKS[file][1] if file in LOCKS else "")


def _wrapped(name: str, texts: Mapping[str, bytes], also: Iterable[str], upgraded_by: str) -> Source:
    """The source behind one file that includes its parts."""
    included = [f"-{'c' if one.removesuffix(MADE) in LOCKS else 'r'} {one}" for one in texts] or [f"-r {name}"]
    return Source(name, ENTRY, {**texts, ENTRY: _text([*included, *also])}, upgraded_by)


def told(text: str) -> str:
    """A lock whose comments name the files that the project has, and not those that were made of them."""
    text = re.sub(
        rf"^( +# .*)-([rc]) (\S+\.(?:toml|lock)|Pipfile){re.escape(MADE)}$", r"\1-\2 \3", text, flags=re.MULTILINE
    )
    return re.sub(rf"^( +# .*)-r {re.escape(ENTRY)}$", r"\1-r pyproject.toml", text, flags=re.MULTILINE)


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{file} does not exist: [tool.lastgood.lock] source names it, or the lock beside it; add it, or name another source"
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} can't be read ({error}): mend it, or name another source") from None


def _declared(file: Path, source: str, extras: tuple[str, ...], groups: tuple[str, ...]) -> list[str]:
    document = _toml(file)
    if source == "Pipfile.lock":
        return list(_pipfile(document, groups))
    poetry = document.get("tool", {}).get("poetry", {})
    project = document.get("project", {})
    if "dependencies" not in project and "dependencies" in poetry:
        if source != "poetry.lock":
            raise UsageError(
                f"{file} keeps its dependencies in Poetry's own form ([tool.poetry.dependencies]), whose versions only poetry.lock says "
                'exactly: set source = "poetry.lock" in [tool.lastgood.lock]'
            )
        return list(_poetry(file, poetry, extras, groups))
    if "dependencies" in project.get("dynamic", ()):
        raise UsageError(
            f"{file} says that its dependencies are dynamic, so only its build could tell them: list them in [project], or name "
            "the file that they come from as source in [tool.lastgood.lock]"
        )
    if not project:
        raise UsageError(f"{file} has no [project] table: list what the image needs there, or name another source")
    return [
        *_expanded(project, project.get("dependencies", ()), file),
        *(one for name in extras for one in _extra(project, name, file)),
        *(one for name in groups for one in _group(document, poetry, name, file)),
    ]


def _extra(project: Mapping[str, Any], name: str, file: Path) -> list[str]:
    known = {normalised(one): wanted for one, wanted in project.get("optional-dependencies", {}).items()}
    if normalised(name) not in known:
        raise UsageError(_no_such("extra", name, known, f"[project.optional-dependencies] of {file.name}"))
    return _expanded(project, known[normalised(name)], file)


def _expanded(project: Mapping[str, Any], wanted: Iterable[str], file: Path) -> list[str]:
    """Requirements; one that asks for the project itself (`shop[aws]`) stands for its extras."""
    found: list[str] = []
    for one in wanted:
        try:
            asked = Requirement(one)
        except InvalidRequirement as error:
            raise UsageError(f"{file}: {one!r} is no requirement ({error}): mend it") from None
        if normalised(asked.name) == normalised(str(project.get("name", ""))):
            found += [inner for extra in sorted(asked.extras) for inner in _extra(project, extra, file)]
        else:
            found.append(one)
    return found


def _group(
    document: Mapping[str, Any], poetry: Mapping[str, Any], name: str, file: Path, within: tuple[str, ...] = ()
) -> list[str]:
    known = {normalised(one): wanted for one, wanted in document.get("dependency-groups", {}).items()}
    of_poetry = {normalised(one): table for one, table in poetry.get("group", {}).items()}
    key = normalised(name)
    if key in within:
        raise UsageError(f"{file}: the dependency group {name} includes itself: mend it")
    if key not in known and key in of_poetry:
        return list(_poetry_lines(of_poetry[key].get("dependencies", {})))
    if key not in known:
        raise UsageError(_no_such("group", name, known | of_poetry, f"[dependency-groups] of {file.name}"))
    found: list[str] = []
    for one in known[key]:
        if isinstance(one, str):
            found.append(one)
        else:
            found += _group(document, poetry, one["include-group"], file, (*within, key))
    return found


def _no_such(kind: str, name: str, known: Iterable[str], where: str) -> str:
    has = ", ".join(sorted(known)) or "none"
    return f"[tool.lastgood.lock] {kind}s names {name!r}{nearest(name, list(known))}, and {where} has {has}: mend it"


def _poetry(file: Path, poetry: Mapping[str, Any], extras: tuple[str, ...], groups: tuple[str, ...]) -> Iterator[str]:
    known = {normalised(one): list(names) for one, names in poetry.get("extras", {}).items()}
    asked: set[str] = set()
    for name in extras:
        if normalised(name) not in known:
            raise UsageError(_no_such("extra", name, known, f"[tool.poetry.extras] of {file.name}"))
        asked.update(map(normalised, known[normalised(name)]))
    yield from _poetry_lines(poetry["dependencies"], asked)
    for name in groups:
        yield from _group({}, poetry, name, file)


def _poetry_lines(table: Mapping[str, Any], asked: Iterable[str] = ()) -> Iterator[str]:
    """Names with extras and markers alone: the versions are those of poetry.lock."""
    for name, value in table.items():
        variants = value if isinstance(value, list) else [value]
        for one in variants:
            facts = one if isinstance(one, dict) else {}
            if name == "python" or (facts.get("optional") and normalised(name) not in asked):
                continue
            if not required.accepts(str(facts.get("python", "*"))):
                continue
            extras = f"[{','.join(facts['extras'])}]" if facts.get("extras") else ""
            marker = f" ; {facts['markers']}" if facts.get("markers") else ""
            yield f"{name}{extras}{marker}"


def _pipfile(document: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[str]:
    for table in ("packages", *groups):
        if table not in document:
            known = [
                name for name, one in document.items() if isinstance(one, dict) and name not in ("requires", "source")
            ]
            raise UsageError(_no_such("group", table, known, "Pipfile"))
        for name, value in document[table].items():
            facts = value if isinstance(value, dict) else {}
            extras = f"[{','.join(facts['extras'])}]" if facts.get("extras") else ""
            marker = f" ; {facts['markers']}" if facts.get("markers") else ""
            yield f"{name}{extras}{marker}"


def _pins(file: Path, kind: str, groups: tuple[str, ...]) -> Iterator[str]:
    """`name==version` of all that another tool's lock holds."""
    if not file.is_file():
        raise UsageError(f"{file} does not exist: run `{_WRITERS[kind]}` and commit it, or name another source")
    if kind == "Pipfile.lock":
        yield from _pipfile_pins(file, groups)
        return
    for one in _toml(file).get("package", ()):
        name, origin = one["name"], one.get("source", {})
        if kind == "uv.lock" and ({"virtual", "editable"} & origin.keys()):
            continue
        foreign = origin.get("type") in ("git", "directory", "file", "url") if kind == "poetry.lock" else (
            "registry" not in origin
        )  # fmt: skip
        if foreign:
            raise UsageError(
                f"{file.name} takes {name} from {_where(origin)}, and not from an index: what the image installs must have a hash "
                "that an index names; publish it at an index of yours, and lock again"
            )
        markers = one.get("resolution-markers") or []
        marker = f" ; {' or '.join(f'({each})' for each in markers)}" if markers else ""
        yield f"{name}=={one['version']}{marker}"


def _where(origin: Mapping[str, Any]) -> str:
    kind = origin.get("type") or next(iter(origin), "nowhere")
    return {"git": "a git repository", "url": "an address", "path": "a file", "file": "a file"}.get(kind, f"a {kind}")


def _pipfile_pins(file: Path, groups: tuple[str, ...]) -> Iterator[str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file} can't be read ({error}): run `pipenv lock`") from None
    for table in ("default", *groups):
        for name, facts in document.get(table, {}).items():
            if "version" not in facts:
                raise UsageError(
                    f"{file.name} takes {name} from a git repository or a file, and not from an index: what the image installs must have "
                    "a hash that an index names; publish it at an index of yours, and lock again"
                )
            marker = f" ; {facts['markers']}" if facts.get("markers") else ""
            yield f"{name}{facts['version']}{marker}"
