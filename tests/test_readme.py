"""README's examples are run, so that they can't rot."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from lastgood.cli import parser
from lastgood.config import project

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", README, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


def test_the_configuration_is_read(tmp_path: Path) -> None:
    (text,) = examples("toml")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/manage.py").touch()
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    found = project.load(tmp_path)
    assert (found.name, found.image.budget.total, list(found.environments)) == (
        "shop",
        40_000_000,
        ["local", "production"],
    )


@pytest.mark.parametrize("number", [0, 1])
def test_the_workflows_are_as_github_wants_them(tmp_path: Path, number: int) -> None:
    texts = examples("yaml")
    assert len(texts) == 2
    file = tmp_path / "release.yml"
    file.write_text(texts[number], encoding="utf-8")
    program = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [program, "--builtin-schema", "vendor.github-workflows", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    called = re.findall(r"lastgood/(\.github/workflows/[a-z-]+\.yml)@", texts[number])
    assert called
    for name in called:
        inputs = (ROOT / name).read_text(encoding="utf-8")
        for given in re.findall(r"^      ([a-z-]+):", texts[number].partition("with:")[2], re.MULTILINE):
            assert re.search(rf"^      {given}:$", inputs, re.MULTILINE), f"{name} has no input {given}"


def test_every_verb_is_told() -> None:
    verbs = next(action for action in parser()._actions if action.dest == "verb").choices
    assert verbs
    for verb in verbs:
        assert verb == "lock-base" or f"`{verb}" in README, verb


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []
