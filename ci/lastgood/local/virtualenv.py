"""The emulator's own virtual environment: ministack pins its botocore, and must not meet ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lastgood.errors import UsageError
from lastgood.report.terminal import step

LOCK = Path(__file__).with_name("requirements.txt")
NAME = ".venv-local"
STAMP = "lastgood-lock"


def lock_hash() -> str:
    """The sha256 of the lock that the environment is made from."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def is_current(folder: Path) -> bool:
    """Whether `folder` is the environment of this lock, complete."""
    try:
        return (folder / STAMP).read_text() == lock_hash() and (folder / "bin" / "python").exists()
    except OSError:
        return False


def run(command: Sequence[str]) -> None:
    """Runs a command. Raises UsageError with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise UsageError(f"the emulator's virtual environment could not be made: {lines[-1]}; mend that and try again")


def ensure(root: Path, runner: Callable[[Sequence[str]], None] = run) -> Path:
    """Returns the Python of `root`/.venv-local, which is made where it is missing or of another lock.

    The stamp is written last, so what a killed creation left is made anew.
    """
    folder = root / NAME
    python = folder / "bin" / "python"
    if is_current(folder):
        return python
    with step("Emulator's environment") as progress:
        if folder.exists():
            shutil.rmtree(folder)
        runner([sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)])
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")  # as venv does itself from Python 3.13 on
        pip = [sys.executable, "-I", "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
        runner([*pip, "install", "--quiet", "--require-hashes", "--no-deps", "--requirement", str(LOCK)])
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as stamp:
            stamp.write(lock_hash())
        Path(stamp.name).replace(folder / STAMP)
        progress.note(NAME)
    return python
