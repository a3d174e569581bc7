"""Whose each file of a tree is, written down as the tree is made: the scan believes it, and needs not guess."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lastgood.python import bytecode

NAME = "owners.json"


def write(root: Path, owners: Mapping[str, str], default: str) -> None:
    """Writes owners.json beside `root`: every file's owner; byte-code belongs to its source's, what is left to `default`."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or path.is_file():
            name = path.relative_to(root).as_posix()
            found[name] = owners.get(name) or owners.get(bytecode.source_of(name) or "") or default
    text = json.dumps(found, indent=0, ensure_ascii=True)
    (root.parent / NAME).write_text(text, encoding="utf-8")


def read(tree: Path) -> dict[str, str]:
    """{path below `tree`: owner, as "debian:libc6" or "python:django"}, as `write` left it beside the tree."""
    found: dict[str, str] = json.loads((tree.parent / NAME).read_text(encoding="utf-8"))
    return found
