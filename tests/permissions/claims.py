"""What GitHub says of a job in its OIDC token, derived from the workflow files themselves.

`workflow_ref` names the workflow that was started, `job_workflow_ref` the innermost one, whose steps ask for the token
(pypi/warehouse#11096); `environment` is there only where the job is in one. AWS's STS knows these of GitHub's claims as condition keys:
actor, actor_id, aud, enterprise_id, environment, job_workflow_ref, ref, repository, repository_id, sub, workflow (since January 2026).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from permissions.templates import BUNDLE, GITHUB, REPOSITORY

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
KEYS = (
    *("actor", "actor_id", "aud", "enterprise_id", "environment", "job_workflow_ref"),
    *("ref", "repository", "repository_id", "sub", "workflow"),
)
TAG = "refs/tags/v1.2.3"


@dataclass(frozen=True)
class Job:
    """A job with steps of its own that may ask for a token: `file` is the innermost workflow, `environment` what it says it is in."""

    file: str
    name: str
    environment: str


def read(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))
    return found


def jobs(file: str) -> Iterator[Job]:
    """The jobs that a caller of a workflow gets with a token, also of workflows that it calls: those get no more than it gives."""
    for name, job in read(file)["jobs"].items():
        if (job.get("permissions") or {}).get("id-token") != "write":
            continue
        if "uses" in job:
            assert job["uses"].startswith("$/.github/workflows/"), job["uses"]
            yield from jobs(job["uses"].rpartition("/")[2])
            continue
        environment = job.get("environment", "")
        yield Job(file, name, environment["name"] if isinstance(environment, dict) else environment)


def public() -> list[str]:
    """The workflows that others call, or press."""
    return sorted(path.name for path in FOLDER.glob("*.yml") if not path.name.startswith("."))


def token(
    job: Job,
    *,
    environment: str = "production",
    ref: str = "refs/heads/main",
    bundle: str = f"{BUNDLE}@{TAG}",
    repository: str = REPOSITORY,
    name: str = "acme/shop",
) -> dict[str, str]:
    """The condition keys that a run brings. `bundle` is OWNER/NAME@REF of the innermost workflow, `environment` the input of the call."""
    owner, _, version = bundle.partition("@")
    claims = {
        "aud": "sts.amazonaws.com",
        "repository": name,
        "repository_id": repository,
        "ref": ref,
        "job_workflow_ref": f"{owner}/.github/workflows/{job.file}@{version}",
        "sub": f"repo:{name}:ref:{ref}",
    }
    if job.environment:
        assert job.environment == "${{ inputs.environment }}", job.environment
        claims |= {"environment": environment, "sub": f"repo:{name}:environment:{environment}"}
    assert set(claims) <= set(KEYS)
    return {f"{GITHUB}:{key}": value for key, value in claims.items()}
