"""What no general checker knows: code of a project and an identity never meet in a job.

A job that may ask for an identity (`id-token: write`) runs `lastgood` with a verb that reads no more of a project than its pyproject.toml,
and actions that are named here; it checks out nothing else. A job that locks or builds runs the project's code, and may read the
repository, and that is all; an index's secrets reach the steps that fetch alone, which run none of it. The command is set up before
anything of the project is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

VERBS = ("scan", "sbom", "push", "attest", "deploy", "rollback", "status", "history")  # run no line of the project
ACTIONS = (
    "actions/checkout",
    "actions/download-artifact",
    "actions/attest",
    "aws-actions/configure-aws-credentials",
)
SETUP = "$/.github/actions/setup"
FILES = (
    "manage.py",
    "pyproject.toml",
)  # what is read of a project beside an identity; manage.py is only looked for
DATA = ("packages.lock", "requirements.txt", "trusted-root.jsonl")  # what may be, too: lists, and keys
FETCHES = ("lastgood lock --check --prove", "lastgood build --fetch")
INDEX = {name: f"${{{{ secrets.{name} }}}}" for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")}
_RUNS_CODE = re.compile(r"\blastgood\s+(lock|build)\b")
_ONE_COMMAND = re.compile(rf"lastgood ({'|'.join(VERBS)})( [^;|&`\n]*)?")


class _Loader(yaml.SafeLoader):
    """Safe YAML whose mappings know their line, as `None`."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        return super().construct_mapping(node, deep) | {None: node.start_mark.line + 1}


def findings(file: Path) -> Iterator[tuple[int | None, str]]:
    """(line, what is wrong) of one workflow."""
    data = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  it is a SafeLoader
    if data.get("cache-mode") != "none":
        yield None, "trust: it can reach the cache: add `cache-mode: none`"
    for name, job in data["jobs"].items():
        if name is not None:
            permissions = job.get("permissions", data.get("permissions"))
            for line, text in _job(job, permissions):
                yield line, f"trust: job {name} {text}"


def _job(job: dict[Any, Any], permissions: Any) -> Iterator[tuple[int | None, str]]:
    granted = (
        {key: value for key, value in permissions.items() if key} if isinstance(permissions, dict) else permissions
    )
    steps = job.get("steps", ())
    identity = granted == "write-all" or (isinstance(granted, dict) and granted.get("id-token") == "write")
    if job.get("secrets") == "inherit":
        yield job[None], "hands every secret on: name those that are needed"
    uses = [str(step.get("uses", "")).partition("@")[0] for step in steps]
    if "actions/checkout" in uses and SETUP in uses[uses.index("actions/checkout") :]:
        yield (
            steps[len(uses) - 1 - uses[::-1].index(SETUP)][None],
            "sets lastgood up after the checkout: set it up before",
        )
    if identity:
        for step, action in zip(steps, uses, strict=True):
            yield from _beside_an_identity(step, action)
    if any(_RUNS_CODE.search(str(step.get("run", ""))) for step in steps) or str(job.get("uses", "")).endswith(
        "/build.yml"
    ):
        if granted != {"contents": "read"}:
            yield job[None], "runs the project's code: its permissions must be `contents: read` alone"
        rest = {key: value for key, value in job.items() if key != "secrets"}
        if (
            "environment" in job
            or "secrets." in str(rest | {"steps": [_without_index(step) for step in steps]})
            or not _of_index(job.get("secrets"))
            or any("credentials" in action for action in uses)
        ):
            yield job[None], "runs the project's code: it can have no environment, secret or credentials"


def _of_index(given: Any) -> bool:
    """Whether what is handed on is an index's secrets and nothing else."""
    named = {key: value for key, value in given.items() if key} if isinstance(given, dict) else given
    return not named or named == "inherit" or (isinstance(named, dict) and named.items() <= INDEX.items())


def _without_index(step: dict[Any, Any]) -> dict[Any, Any]:
    """A step as it is without the secrets of an index, which those that fetch may see: they run no code of a project."""
    if str(step.get("run", "")).strip() not in FETCHES:
        return step
    environment = {key: value for key, value in step.get("env", {}).items() if key and INDEX.get(key) != value}
    return step | {"env": environment}


def _beside_an_identity(step: dict[Any, Any], action: str) -> Iterator[tuple[int | None, str]]:
    line = step[None]
    if "run" in step and ("$(" in step["run"] or not _ONE_COMMAND.fullmatch(step["run"].strip())):
        yield line, f"has an identity, and runs something else than `lastgood {'|'.join(VERBS)}`"
    if action and action not in (*ACTIONS, SETUP):
        yield line, f"has an identity, and uses {action}, which is not known to run no code of a project"
    if action == "actions/checkout":
        given = {key: value for key, value in step.get("with", {}).items() if key}
        wanted = {"persist-credentials": False, "sparse-checkout-cone-mode": False}
        out = set(str(given.pop("sparse-checkout", "")).split())
        if not set(FILES) <= out <= {*FILES, *DATA} or given != wanted:
            yield (
                line,
                f"has an identity, and checks out more than {', '.join(FILES)} and, of {', '.join(DATA)}, what it needs",
            )
