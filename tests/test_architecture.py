"""The picture in docs/architecture.md is the house: every import of ci/lastgood goes down in it, and nothing in it is made up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "ci/lastgood"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LEAVES = ("beneath", "bundle", "errors", "limits", "parallel", "platform", "tar")


def lines() -> list[list[str]]:
    """The rooms of the picture, line by line from the top."""
    picture = PAGE.split("```")[1]
    return [re.findall(r"(?:^|· )([a-z]+) {2,}", line) for line in picture.strip().splitlines()]


def height() -> dict[str, int]:
    """How high each room lies; what lies below all rooms is 0."""
    rooms = lines()
    return {room: len(rooms) - at for at, line in enumerate(rooms) for room in line} | dict.fromkeys(LEAVES, 0)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of lastgood in a file, also below functions and TYPE_CHECKING."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lastgood":
            whole = node.module.split(".")[1:]
            names = [".".join([*whole, alias.name]) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.removeprefix("lastgood.") for alias in node.names if alias.name.startswith("lastgood.")]
        for name in names:
            yield node.lineno, name.split(".")[0]


def test_the_picture_names_every_room_once() -> None:
    rooms = [room for line in lines() for room in line]
    there = {path.name for path in HOUSE.iterdir() if (path / "__init__.py").is_file() and path.name != "_bundle"}
    modules = {path.stem for path in HOUSE.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(rooms) == sorted(there)
    assert sorted(LEAVES) == sorted(modules)
    assert [leaf for leaf in LEAVES if f"`{leaf}`" not in PAGE] == []


def test_every_import_goes_down() -> None:
    heights = height()
    wrong = []
    for file in sorted(HOUSE.rglob("*.py")):
        room = file.relative_to(HOUSE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__", "_bundle", *LEAVES):
            continue
        for number, used in imports(file):
            if used in heights and used != room and heights[used] >= heights[room]:
                wrong.append(f"{file.relative_to(ROOT)}:{number}: {room} uses {used}")
    assert wrong == []


def _modules(folder: Path) -> dict[str, set[str]]:
    """{module: modules of ours that it imports} below `folder`, by dotted names."""
    named = {
        ".".join(file.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__"): file
        for file in folder.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, file in named.items():
        found[name] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found[name] |= {whole if whole in named else node.module} & named.keys()
    return found


def _circle(uses: dict[str, set[str]]) -> list[str]:
    """A circle of imports, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(uses[name] - {name}):
            found = visit(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    for name in sorted(uses):
        found = visit(name, [])
        if found:
            return found
    return []


def test_no_circle() -> None:
    assert _circle(_modules(HOUSE)) == []


def test_a_circle_would_be_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize(
    "name", sorted({one for one in re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE) if not one.endswith(".yml")})
)
def test_every_module_that_the_page_names_is_there(name: str) -> None:
    path = name.replace(".", "/")
    places = (HOUSE, ROOT / "docker/migrator", ROOT / "docker")
    found = [place / f"{path}.py" for place in places] + [place / path for place in places]
    if name == "migrator.state":
        found = [ROOT / "docker/migrator/__init__.py"]
    assert any(one.exists() for one in found)


def test_no_python_is_started_that_takes_modules_from_where_it_is_started() -> None:
    """The folder that the command is called in is a project's, and may hold a pip.py."""
    starts = []
    for file in sorted(HOUSE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List | ast.Tuple) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
                option = ast.unparse(node.elts[1]) if len(node.elts) > 1 else ""
                starts.append((f"{file.relative_to(ROOT)}:{node.lineno}", option))
    assert starts
    assert [place for place, option in starts if option not in ("'-I'", "'-P'")] == []
