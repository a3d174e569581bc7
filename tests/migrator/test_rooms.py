"""The migrator's rooms: what decides knows nothing of what talks, and no module asks one that asks it, lazily or for its types."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "docker" / "migrator"
# A room may use those to the right of it, and the modules that are in none.
ROOMS = ("commands", "database", "decision", "manifest")
MODULES = {
    ".".join(("migrator", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imported(name: str) -> Iterator[str]:
    """Yield every module that the module `name` imports, wherever in it: ours by the full name."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{module}.{alias.name}"
                yield inside if inside in MODULES else module


GRAPH = {name: {one for one in imported(name) if one in MODULES} for name in MODULES}


def room(name: str) -> str:
    return f"{name}..".split(".")[1]


def test_no_module_is_part_of_a_circle() -> None:
    TopologicalSorter(GRAPH).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("number", range(len(ROOMS)), ids=ROOMS)
def test_a_room_uses_only_those_behind_it(number: int) -> None:
    before = ROOMS[:number]
    wrong = {
        f"{name} imports {one}"
        for name, uses in GRAPH.items()
        if room(name) == ROOMS[number]
        for one in uses
        if room(one) in before or room(one) == "__main__"
    }
    assert wrong == set()


def test_what_decides_knows_neither_django_nor_how_to_talk() -> None:
    found = {one for name in MODULES if room(name) == "decision" for one in imported(name)}
    outside = {one.split(".")[0] for one in found} - {"migrator"}
    assert outside == {"__future__", "collections", "dataclasses", "datetime", "functools", "typing"}
    ours = {one for one in found if one.startswith("migrator.") and room(one) != "decision"}
    assert ours == {"migrator.manifest.document", "migrator.manifest.squash"}


def test_it_needs_django_and_the_standard_library_alone() -> None:
    outside = {one.split(".")[0] for name in MODULES for one in imported(name)} - {"migrator"}
    assert outside - sys.stdlib_module_names == {"django"}
