"""Byte-code of the application and the migrator, compiled by the image's own Python, kept by the hash of each source.

What a process has compiled before decides which strings it shares, and so a few bytes of a later file. So each file is compiled by a
fork of one process that has compiled nothing: its byte-code depends on its source and its name alone, and can be kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.python import bytecode
from lastgood.python.interpreter import Python
from lastgood.report.text import readable

_RECIPE = 2


def key(body: bytes, name: str, interpreter: str) -> str:
    """Names the byte-code of a source `body`, as `name` in the image, by the Python of the base `interpreter` (its key)."""
    return hashlib.sha256(f"{_RECIPE}\0{interpreter}\0{name}\0".encode() + body).hexdigest()


def add(tree: Path, sources: Mapping[str, bytes], python: Python, interpreter: str) -> int:
    """Puts the byte-code of each source (path below `tree` → its bytes) beside it; returns how many had to be compiled.

    Raises UsageError naming the first file, by its path, that does not compile.
    """
    kept = store.cache() / "byte-code"
    kept.mkdir(parents=True, exist_ok=True)
    wanted = {name: kept / key(body, name, interpreter) for name, body in sorted(sources.items())}
    missing = {name: target for name, target in wanted.items() if not target.is_file()}
    if missing:
        _compile(tree, missing, python)
    for name, target in wanted.items():
        source = tree / name
        compiled = bytecode.cached(source)
        compiled.parent.mkdir(exist_ok=True)
        if compiled.is_symlink():  # the project's own, and copying would go on to what it leads to
            compiled.unlink()
        shutil.copyfile(target, compiled)
    return len(missing)


def _compile(tree: Path, missing: Mapping[str, Path], python: Python) -> None:
    with store.workspace(store.cache() / "work", "byte-code-") as work:
        parts = {name: work / str(number) for number, name in enumerate(missing)}
        broken = bytecode.compiled({name: (tree / name, part) for name, part in parts.items()}, python)
        if broken:
            name, said = min(broken.items())
            raise UsageError(
                f"the image's Python can't compile {readable(name)}: {said.strip()}; mend the file and build again"
            )
        for name, part in parts.items():
            part.replace(missing[name])
