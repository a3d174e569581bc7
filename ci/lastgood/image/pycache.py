"""Byte-code of the application and the migrator, compiled by the image's own Python, kept by the hash of each source.

What a process has compiled before decides which strings it shares, and so a few bytes of a later file. So each file is compiled by a
fork of one process that has compiled nothing: its byte-code depends on its source and its name alone, and can be kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lastgood.errors import UsageError
from lastgood.image import layers, python, store
from lastgood.project import cache

_RECIPE = 1

# In: lines of JSON, [source, its name in the image, target]. Out: nothing, or the first failure in the order of the lines.
_PROGRAM = """
import importlib.util, json, marshal, os, sys, traceback
def compile_one(source, name, target, report):
    with open(source, "rb") as file:
        body = file.read()
    try:
        code = compile(body, name, "exec", dont_inherit=True)
    except Exception as error:
        with open(report, "w") as file:
            file.write("".join(traceback.format_exception_only(error)))
        return 1
    flags = (1).to_bytes(4, "little")  # a hash, never checked
    hashed = importlib.util.source_hash(body)
    with open(target, "wb") as file:
        file.write(importlib.util.MAGIC_NUMBER + flags + hashed + marshal.dumps(code))
    return 0
running = {}
failed = []
def wait():
    child, status = os.wait()
    name = running.pop(child)
    if status:
        failed.append(name)
for number, line in enumerate(sys.stdin.buffer):
    if len(running) >= int(sys.argv[1]):
        wait()
    child = os.fork()
    if not child:
        status = 2
        try:
            status = compile_one(*json.loads(line), f"{sys.argv[2]}/failure-{number}")
        finally:
            os._exit(status)
    running[child] = number
while running:
    wait()
sys.exit(f"{min(failed)}" if failed else 0)
"""


def key(body: bytes, name: str, interpreter: str) -> str:
    """Names the byte-code of a source `body`, as `name` in the image, by the Python of the base `interpreter` (its key)."""
    return hashlib.sha256(f"{_RECIPE}\0{interpreter}\0{name}\0".encode() + body).hexdigest()


def add(tree: Path, sources: Mapping[str, bytes], root: Path, interpreter: str) -> int:
    """Puts the byte-code of each source (path below `tree` → its bytes) beside it; returns how many had to be compiled.

    Raises UsageError naming the first file, by its path, that does not compile.
    """
    kept = cache() / "byte-code"
    kept.mkdir(parents=True, exist_ok=True)
    wanted = {name: kept / key(body, name, interpreter) for name, body in sorted(sources.items())}
    missing = {name: target for name, target in wanted.items() if not target.is_file()}
    if missing:
        _compile(tree, missing, root)
    for name, target in wanted.items():
        source = tree / name
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-{python.VERSION.replace('.', '')}.pyc"
        compiled.parent.mkdir(exist_ok=True)
        shutil.copyfile(target, compiled)
    return len(missing)


def _compile(tree: Path, missing: Mapping[str, Path], root: Path) -> None:
    with store.workspace(cache() / "work", "byte-code-") as work:
        parts = {name: work / str(number) for number, name in enumerate(missing)}
        lines = [json.dumps([str(tree / name), f"/{name}", str(part)]) for name, part in parts.items()]
        done = python.run(
            python.wrapper(root, root.parent / "bin"),
            ["-B", "-S", "-c", _PROGRAM, str(os.cpu_count() or 1), str(work)],
            environment={"PYTHONNODEBUGRANGES": "1"},
            given="\n".join(lines),
        )
        if done.returncode:
            number = done.stderr.strip()
            file = work / f"failure-{number}"
            name = list(missing)[int(number)] if number.isdecimal() else "a file"
            said = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else number[-300:]
            raise UsageError(
                f"the image's Python can't compile {layers.readable(name)}: {said}; mend the file and build again"
            )
        for name, part in parts.items():
            part.replace(missing[name])
