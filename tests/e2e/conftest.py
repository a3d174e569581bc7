"""A project of its own for each module: another folder, other ports, another instance of the one-machine cloud."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures import emulator
from fixtures.ports import free_ports
from lastgood.config.project import LOCKS

ROOT = Path(__file__).resolve().parents[2]

Lastgood = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the reference project, committed. Its local cloud is removed afterwards."""
    folder = tmp_path_factory.mktemp("home") / "board"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.sqlite3")
    shutil.copytree(ROOT / "app", folder / "app", ignore=ignored)
    (folder / "docker").mkdir()
    for name in ("pyproject.toml", "requirements.in", *LOCKS, ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "the reference project"]):
        subprocess.run(
            ["git", "-c", "user.name=test", "-c", "user.email=test@lastgood.invalid", *command], cwd=folder, check=True
        )
    (folder / ".git/info/exclude").write_text(".venv-local\n", encoding="utf-8")
    emulator.share(folder)
    yield folder
    done = _run(folder, {}, "local", "clean")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def ports(home: Path) -> dict[str, str]:
    """Free ports for the instance, as the variables that name them."""
    names = ("LASTGOOD_LOCAL_PORT", "LASTGOOD_SITE_PORT", "LASTGOOD_DATABASE_PORT")
    return {name: str(port) for name, port in zip(names, free_ports(3), strict=True)}


@pytest.fixture(scope="module")
def lastgood(home: Path, ports: dict[str, str]) -> Lastgood:
    """Runs `lastgood …` in the project and returns the finished process."""
    return lambda *arguments, stdin="", **environment: _run(home, ports | environment, *arguments, stdin=stdin)


def _run(
    folder: Path, environment: dict[str, str], *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "LASTGOOD_STATE"))}
    return subprocess.run(
        [sys.executable, "-m", "lastgood", *arguments],
        cwd=folder,
        env=clean | environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=1140,  # a first build on a machine with much else to do
    )
