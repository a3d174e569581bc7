"""`lastgood completion SHELL`: what the script that it prints makes of a TAB, in the shells themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lastgood import cli

BIN = Path(sys.executable).parent
# How a shell that only reads is told a line: the function of its script, called as the shell calls it.
ASK = {
    "bash": 'source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; COMP_TYPE=9; _python_argcomplete lastgood; '
    'printf "%s\\n" "${COMPREPLY[@]}"',
    "fish": 'source $argv[1]; complete -C $argv[2] | string replace -r "\\t.*" ""',
}
PROJECT = """\
[tool.lastgood]
project = "shop"
settings = "shop.settings"
[tool.lastgood.environments.staging]
[tool.lastgood.environments.production]
"""
LINES = [
    ("lastgood ro", ["rollback"]),
    ("lastgood b", ["build", "bootstrap"]),
    ("lastgood deploy --acc", ["--accept-loss"]),
    ("lastgood local ", ["up", "down", "status", "clean", "--help", "--project", "--json", "--engine"]),
    ("lastgood completion ", ["bash", "zsh", "fish", "--help", "--project", "--json"]),
    ("lastgood status --environment ", ["local", "staging", "production"]),
    ("lastgood status -e p", ["production"]),
    ("lastgood status --project else", ["elsewhere/"]),
    ("lastgood status --project elsewhere -e ", ["local", "lab"]),
]


def script(shell: str) -> str:
    done = subprocess.run([BIN / "lastgood", "completion", shell], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with three environments, and another in a folder below."""
    for folder, text in (
        (tmp_path, PROJECT),
        (tmp_path / "elsewhere", PROJECT.split("[tool.lastgood.env")[0] + "[tool.lastgood.environments.lab]\n"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / "manage.py").touch()
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return tmp_path


def complete(shell: str, line: str, folder: Path) -> list[str]:
    """What the shell offers behind a line."""
    file = folder / f"script.{shell}"
    file.write_text(script(shell), encoding="utf-8")
    alone = {"bash": ["bash", "--norc", "-c", ASK["bash"], "bash"], "fish": ["fish", "-N", "-c", ASK["fish"]]}[shell]
    done = subprocess.run(
        [*alone, file, line],
        cwd=folder,
        env={"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_bash_completes(line: str, offered: list[str], shop: Path) -> None:
    assert sorted(complete("bash", line, shop)) == sorted(offered)


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed; its script's shape is tested without it")
@pytest.mark.parametrize(("line", "offered"), LINES)
def test_fish_completes(line: str, offered: list[str], shop: Path) -> None:
    assert sorted(complete("fish", line, shop)) == sorted(offered)


def test_a_project_that_is_wrong_has_no_environments_to_offer(shop: Path) -> None:
    (shop / "pyproject.toml").write_text("[tool.lastgood]\n", encoding="utf-8")
    assert complete("bash", "lastgood status -e ", shop) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_finds_no_mistake_in_its_script(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed; its script's shape is tested without it")
    file = tmp_path / "script"
    file.write_text(script(shell), encoding="utf-8")
    done = subprocess.run([shell, "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shell", "first", "registers"),
    [
        ("bash", "#compdef lastgood", "complete -o nospace -o default -o bashdefault -F _python_argcomplete lastgood"),
        ("zsh", "#compdef lastgood", "compdef _python_argcomplete lastgood"),
        ("fish", "function __fish_lastgood_complete", "complete --command lastgood -f -a '(__fish_lastgood_complete)'"),
    ],
)
def test_the_shape_of_a_script(shell: str, first: str, registers: str) -> None:
    lines = [line.strip() for line in script(shell).splitlines()]
    assert lines[0] == first
    assert registers in lines


def test_the_script_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "fish", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["shell"] == "fish"
    assert said["script"] + "\n" == script("fish")


def test_a_shell_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err.startswith("lastgood: argument shell: invalid choice: 'tcsh' (choose from ")
