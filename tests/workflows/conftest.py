"""A caller's repository, the bundle beside it, and act to run the one's workflows with the other's. No GitHub, no network of its own.

act is older than what the workflows use, so the bundle's copy is brought down to its level first (`down_level`): nothing else is changed.
It gives a caller no outputs of a workflow that only calls others; that pipeline.yml names the right ones, GitHub's parser checks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fixtures import emulator
from fixtures.ports import free_ports
from lastgood.config.project import LOCKS

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = "acme/bundle"
TAG = "v1"
_DEADLINE = 900  # seconds, for one run of act

# What a project's own workflow looks like: README, "adopt it in your project".
_RELEASE = f"""\
name: Release
on:
  workflow_dispatch:
    inputs:
      reason: {{type: string, required: true}}
permissions: {{}}
jobs:
  release:
    uses: {BUNDLE}/.github/workflows/pipeline.yml@{TAG}
    permissions:
      contents: read
      id-token: write
      attestations: write
    with:
      environment: local
      reason: ${{{{ inputs.reason }}}}
"""
_PULL_REQUEST = f"""\
name: Pull request
on:
  pull_request:
permissions: {{}}
jobs:
  checks:
    uses: {BUNDLE}/.github/workflows/pull-request.yml@{TAG}
    permissions:
      contents: read
"""
_STUB = """\
name: Stand-in
description: Stands in for {name}
{interface}runs:
  using: composite
  steps:
    - id: own
      shell: bash
      run: {run}
"""
_PYTHON = "outputs:\n  python-path:\n    description: the interpreter\n    value: {path}\n"
_INPUT = "inputs:\n  name: {{}}\n  artifact-ids: {{}}\n  path: {{}}\n".replace("{{}}", "{required: false}")
_ATTEST = (
    "inputs:\n"
    + "".join(
        f"  {name}: {{required: false}}\n"
        for name in ("subject-name", "subject-digest", "sbom-path", "predicate-type", "predicate-path")
    )
    + "outputs:\n  bundle-path:\n    description: the file\n    value: ${{ steps.own.outputs.bundle-path }}\n"
)
_SIGN = """|
        digest='${{ inputs.subject-digest }}'
        type='"_type":"https://in-toto.io/Statement/v1","predicateType":"${{ inputs.predicate-type }}","predicate":{}'
        payload=$(printf '{%s,"subject":[{"digest":{"sha256":"%s"}}]}' "$type" "${digest#sha256:}" | base64 -w0)
        file=$(mktemp)
        printf '{"dsseEnvelope":{"payload":"%s"}}' "$payload" > "$file"
        echo "bundle-path=$file" >> "$GITHUB_OUTPUT"
"""
# What each does instead of what it does on GitHub; an artifact's id is its name here.
_DONE = {
    "actions/setup-python": (_PYTHON, "true"),
    "actions/upload-artifact": (
        f"{_INPUT}outputs:\n  artifact-id:\n    description: its id\n    value: ${{{{ inputs.name }}}}\n",
        "mkdir -p ~/artifacts && cp -r '${{ inputs.path }}' ~/artifacts/'${{ inputs.name }}'",
    ),
    # What it writes nobody has signed: a statement of the right type about the right image.
    "actions/attest": (_ATTEST, _SIGN),
    "actions/download-artifact": (_INPUT, "cp -r ~/artifacts/'${{ inputs.artifact-ids }}' '${{ inputs.path }}'"),
}


def down_level(text: str) -> str:
    """A workflow or action as act understands it: `$/…` by its full name, and no keys that are newer than act."""
    text = re.sub(r"(uses: +)\$/(\S+)", rf"\1{BUNDLE}/\2@{TAG}", text)
    return re.sub(r"^ *(queue|deployment|cache-mode): .*\n", "", text, flags=re.MULTILINE)


def git(folder: Path, *arguments: str) -> str:
    """Runs git as somebody, with nobody's configuration."""
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "Rosa"), ("EMAIL", "rosa@test.invalid"))
    }
    environment = os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    """Commits everything; returns the commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@dataclass
class Run:
    """What act said of one run. Steps are (job, step, result), in the order in which they ended."""

    status: int
    steps: list[tuple[str, str, str]] = field(default_factory=list)
    outputs: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    summaries: dict[tuple[str, str], str] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    text: str = ""

    def take(self, line: str) -> None:
        """Adds one line of act's JSON log."""
        try:
            entry = json.loads(line)
        except ValueError:
            self.text += line
            return
        message = str(entry.get("msg", "")).rstrip("\r\n")
        self.text += f"[{entry.get('job', '')}] {message}\n"
        path = entry.get("stepID") or entry.get("stepid") or []
        if "jobID" not in entry or entry.get("stage") != "Main" or len(path) != 1:
            return
        key = (entry["jobID"], entry["step"])
        if entry.get("command") == "error":
            self.errors[key] = self.errors.get(key, "") + entry["arg"]
        elif entry.get("command") == "set-output":
            self.outputs.setdefault(key, {})[entry["name"]] = entry["arg"]
        elif entry.get("command") == "summary":
            self.summaries[key] = self.summaries.get(key, "") + entry["content"]
        elif "stepResult" in entry:
            self.steps.append((*key, entry["stepResult"]))


@dataclass(frozen=True)
class Act:
    """act in host mode, with a home of its own, the bundle as acme/bundle@v1, and stand-ins for the actions of others."""

    home: Path
    repositories: Mapping[str, Path]
    variables: Mapping[str, str]

    def run(self, folder: Path, event: str, workflow: str, **inputs: str) -> Run:
        """Lets `event` happen to a workflow of the repository in `folder`."""
        command = [str(Path(sys.executable).parent / "act"), event, "--json", "--no-cache-server"]
        command += [
            "--workflows",
            f".github/workflows/{workflow}.yml",
            "--actor",
            "rosa",
            "--platform",
            "ubuntu-24.04=-self-hosted",
        ]
        command += ["--action-cache-path", str(self.home / "actions")]
        command += [f"--local-repository={name}={path}" for name, path in self.repositories.items()]
        command += [f"--input={name}={value}" for name, value in inputs.items()]
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("GITHUB_", "LASTGOOD_", "VIRTUAL_ENV", "PYTHON"))
        }
        # The command must come from the set-up action, not from the virtual environment that the tests run in.
        path = [part for part in os.environ["PATH"].split(os.pathsep) if not Path(part).is_relative_to(ROOT)]
        environment |= {
            "HOME": str(self.home),
            "PATH": os.pathsep.join(path),
            "NO_COLOR": "1",
            "TERM": "dumb",
            **self.variables,
        }
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_DEADLINE
        )
        run = Run(done.returncode)
        for line in done.stdout.splitlines(keepends=True):
            run.take(line)
        run.text += done.stderr
        return run


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it stands in the working tree, down-levelled, committed and tagged."""
    target = tmp_path_factory.mktemp("bundle")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    for file in [*target.glob(".github/**/*.yml")]:
        file.write_text(down_level(file.read_text(encoding="utf-8")), encoding="utf-8")
    commit(target, "the bundle")
    git(target, "tag", TAG)
    return target


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that uses the bundle: the reference project with its locks and two workflows, version 1 committed."""
    target = tmp_path_factory.mktemp("caller")
    shutil.copytree(ROOT / "app", target / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (target / "docker").mkdir()
    for name in ("requirements.in", *LOCKS):
        shutil.copy(ROOT / name, target / name)
    (target / ".gitignore").write_text(".lastgood\n.venv-local\n__pycache__\n", encoding="utf-8")
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    own = settings[settings.index("\n[tool.lastgood]\n") : settings.index("\n[tool.pytest")]
    ports = zip(("port", "site_port", "database_port"), free_ports(3), strict=True)
    own += "\n[tool.lastgood.local]\n" + "".join(f"{key} = {port}\n" for key, port in ports)
    (target / "pyproject.toml").write_text(own, encoding="utf-8")
    (target / ".github/workflows").mkdir(parents=True)
    for name, text in (("release", _RELEASE), ("pull-request", _PULL_REQUEST)):
        (target / f".github/workflows/{name}.yml").write_text(text, encoding="utf-8")
    commit(target, "Version 1")
    return target


@pytest.fixture(scope="session")
def act(bundle: Path, caller: Path, tmp_path_factory: pytest.TempPathFactory) -> Act:
    """act, ready to run."""
    home = tmp_path_factory.mktemp("home")
    (home / ".config/act").mkdir(parents=True)
    (home / ".config/act/actrc").touch()
    # The machine's own way to its package index goes on to work under the other home.
    if (Path.home() / ".config/pip").is_dir():
        (home / ".config/pip").symlink_to(Path.home() / ".config/pip")
    repositories = {f"{BUNDLE}@{TAG}": bundle}
    for file in bundle.glob(".github/**/*.yml"):
        for name, sha in re.findall(
            r"uses: (?!acme/)([\w.-]+/[\w.-]+)@([0-9a-f]{40})\b", file.read_text(encoding="utf-8")
        ):
            repositories[f"{name}@{sha}"] = _stand_in(home / "stand-ins" / name, name)
    variables = {
        "LASTGOOD_STATE": str(caller / ".lastgood"),
        "LASTGOOD_CACHE": os.environ.get("LASTGOOD_CACHE") or str(ROOT / ".lastgood/cache"),
        "PIP_CACHE_DIR": str(ROOT / ".lastgood/cache/pip"),
    }
    if os.environ.get("LASTGOOD_DEBIAN_MIRROR"):
        variables["LASTGOOD_DEBIAN_MIRROR"] = os.environ["LASTGOOD_DEBIAN_MIRROR"]
    return Act(home, repositories, variables)


def _stand_in(folder: Path, name: str) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        # act copies the tree in place of a checkout; nobody is to reach for AWS.
        interface, command = _DONE.get(name, ("", "exit 1" if name.startswith("aws-") else "true"))
        interface = interface.replace("{path}", str(Path(sys.base_prefix) / "bin/python3"))
        text = _STUB.format(name=name, interface=interface, run=command)
        (folder / "action.yml").write_text(text, encoding="utf-8")
        commit(folder, name)
    return folder


@pytest.fixture(scope="session")
def lastgood(caller: Path, act: Act) -> Callable[..., Any]:
    """Runs a command of the working tree's own `lastgood` in the caller's repository; returns its JSON."""

    def run(*arguments: str) -> Any:
        program = Path(sys.executable).parent / "lastgood"
        environment = os.environ | act.variables
        done = subprocess.run(
            [str(program), *arguments, "--json"],
            cwd=caller,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEADLINE,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def cloud(caller: Path, lastgood: Callable[..., Any]) -> Iterator[Mapping[str, Any]]:
    """The caller's one-machine cloud, up; removed with all its data in the end."""
    emulator.share(caller)
    try:
        yield lastgood("local", "up")
    finally:
        lastgood("local", "clean")


@pytest.fixture(scope="session", name="commit")
def committer() -> Callable[[Path, str], str]:
    """Commits everything in a folder; returns the commit."""
    return commit
