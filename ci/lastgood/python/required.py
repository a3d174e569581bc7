"""Which Python a project asks for, and what it can do where that is not the image's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from lastgood.python.interpreter import VERSION


def refusal(pyproject: Path) -> str:
    """Why the image's Python can't serve the project of that file, and the ways on; empty where it can, or nothing is said."""
    try:
        document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    wanted, key = document.get("project", {}).get("requires-python", ""), "requires-python"
    if not wanted:
        wanted, key = document.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python", ""), "python"
    if accepts(str(wanted)):
        return ""
    return (
        f'{pyproject.name} says {key} = "{wanted}", and the image has Python {VERSION}, Debian\'s own: run your tests with {VERSION} and '
        f"let {key} take it, or build an image of your own (dockerfile in [tool.lastgood.image])"
    )


def accepts(wanted: str) -> bool:
    """Whether any patch of the image's Python fits a constraint, as `>=3.10,<4` or Poetry's `^3.10 || 3.9.*`; what can't be read fits."""
    return any(_fits(part) for part in wanted.split("||"))


def _fits(wanted: str) -> bool:
    parts = []
    for one in re.split(r"[,\s]+", re.sub(r"([<>=!~^]+)\s+", r"\1", wanted.strip())):
        caret = re.fullmatch(r"\^(\d+)(?:\.\d+)*", one)
        tilde = re.fullmatch(r"~(\d+)\.(\d+)(?:\.\d+)*", one)
        if caret:
            parts += [f">={one[1:]}", f"<{int(caret[1]) + 1}"]
        elif tilde:
            parts += [f">={one[1:]}", f"<{tilde[1]}.{int(tilde[2]) + 1}"]
        elif re.fullmatch(r"\d+(\.\d+)*(\.\*)?", one):
            parts.append(f"=={one}")
        elif one and one != "*":
            parts.append(one)
    try:
        allowed = SpecifierSet(",".join(parts))
    except InvalidSpecifier:
        return True
    return any(allowed.contains(f"{VERSION}.{patch}") for patch in range(40))
