"""A job's credentials last as long as the job may: what it asks for, and what its role allows, in workflows and templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from permissions import templates

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = 3600  # seconds, of a session that nobody asks longer for, and of a role that nobody allows more
ROLES = {"push.yml": "PushRole", "deploy.yml": "DeployRole", "rollback.yml": "DeployRole"}


def assuming(folder: Path) -> Iterator[tuple[str, str, int, int]]:
    """(workflow, job, seconds that it may take, seconds that it asks for) of every job that assumes a role."""
    for file in sorted(folder.glob("*.yml")):
        for name, job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].items():
            for step in job.get("steps", ()):
                if "configure-aws-credentials" in step.get("uses", ""):
                    asked = step["with"].get("role-duration-seconds", DEFAULT)
                    yield file.name, name, job["timeout-minutes"] * 60, int(asked)


JOBS = list(assuming(ROOT / ".github/workflows"))


def test_every_workflow_that_assumes_a_role_is_known() -> None:
    assert sorted({workflow for workflow, _, _, _ in JOBS}) == sorted(ROLES)


@pytest.mark.parametrize(("workflow", "job", "takes", "asks"), JOBS)
def test_the_session_outlives_the_job(workflow: str, job: str, takes: int, asks: int) -> None:
    assert asks >= takes, (workflow, job)


@pytest.mark.parametrize(("workflow", "job", "takes", "asks"), JOBS)
def test_the_role_allows_what_is_asked_for(workflow: str, job: str, takes: int, asks: int) -> None:
    """Else it is not assumed at all."""
    properties: dict[str, Any] = templates.environment().resources[ROLES[workflow]]["Properties"]
    assert asks <= properties.get("MaxSessionDuration", DEFAULT), (workflow, job, takes)
