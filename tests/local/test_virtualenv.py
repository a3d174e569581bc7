from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from lastgood.errors import UsageError
from lastgood.local import virtualenv


class Runner:
    """Stands for venv and pip: makes the Python, and may be killed before the end."""

    def __init__(self, folder: Path, killed_at: int | None = None) -> None:
        self.folder, self.killed_at, self.commands = folder, killed_at, []

    def __call__(self, command: Sequence[str]) -> None:
        if self.killed_at == len(self.commands):
            raise KeyboardInterrupt
        self.commands.append(list(command))
        (self.folder / "bin").mkdir(parents=True, exist_ok=True)
        (self.folder / "bin" / "python").touch()


def test_made_once_from_the_hashed_lock(tmp_path: Path) -> None:
    folder = tmp_path / ".venv-local"
    runner = Runner(folder)
    assert virtualenv.ensure(tmp_path, runner) == folder / "bin" / "python"
    assert [command[1:4] for command in runner.commands] == [["-I", "-m", "venv"], ["-I", "-m", "pip"]]
    assert "--require-hashes" in runner.commands[1]
    assert virtualenv.ensure(tmp_path, runner) == folder / "bin" / "python"
    assert len(runner.commands) == 2
    assert (folder / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("killed_at", [0, 1])
def test_killed_creation_is_never_taken_for_complete(tmp_path: Path, killed_at: int) -> None:
    folder = tmp_path / ".venv-local"
    with pytest.raises(KeyboardInterrupt):
        virtualenv.ensure(tmp_path, Runner(folder, killed_at))
    assert not virtualenv.is_current(folder)
    (folder / "left-over").parent.mkdir(exist_ok=True)
    (folder / "left-over").touch()
    virtualenv.ensure(tmp_path, Runner(folder))
    assert virtualenv.is_current(folder)
    assert not (folder / "left-over").exists()


def test_made_again_for_another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(tmp_path / ".venv-local")
    virtualenv.ensure(tmp_path, runner)
    other = tmp_path / "requirements.txt"
    other.write_text("other==1\n")
    monkeypatch.setattr(virtualenv, "LOCK", other)
    virtualenv.ensure(tmp_path, runner)
    assert len(runner.commands) == 4


def test_failure_shows_the_last_line() -> None:
    script = "import sys; sys.exit('first\\nERROR: hashes do not match')"
    expected = (
        "the emulator's virtual environment could not be made: ERROR: hashes do not match; mend that and try again"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        virtualenv.run([sys.executable, "-c", script])
