"""Which role trusts which job: every job of the bundle that gets a token, from every kind of ref, for every environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lastgood.deploy import access

from permissions import claims, templates
from permissions.claims import Job, token
from permissions.templates import GITHUB

REFS = {
    "main": "refs/heads/main",
    "another branch": "refs/heads/feature",
    "a pull request": "refs/pull/7/merge",
    "a tag": "refs/tags/v2026.11",
}
ENVIRONMENTS = ("production", "staging", "scratch")  # the last was never bootstrapped: a branch made it up
ROLES = {
    f"{kind} {environment}": (environment, name)
    for environment in ENVIRONMENTS[:2]
    for kind, name in (("push", "PushRole"), ("deploy", "DeployRole"))
}


@dataclass(frozen=True)
class Row:
    """One run: a job of a workflow that was called from a ref for an environment, and the roles that trust it."""

    job: Job
    ref: str
    environment: str
    roles: tuple[str, ...]


def trusting(brought: dict[str, str]) -> tuple[str, ...]:
    """The roles that a token gets, by their names in the table."""
    provider = {"Federated": f"arn:aws:iam::{templates.ACCOUNT}:oidc-provider/{GITHUB}"}
    return tuple(
        name
        for name, (environment, role) in ROLES.items()
        if _made(environment).role(role).trusts("sts:AssumeRoleWithWebIdentity", provider, brought)
    )


def _made(environment: str) -> templates.Made:
    if environment not in _STACKS:
        _STACKS[environment] = templates.environment(environment)
    return _STACKS[environment]


_STACKS: dict[str, templates.Made] = {}


def innermost() -> list[Job]:
    """Every job with a token that a caller of any public workflow gets, once."""
    return sorted({job for file in claims.public() for job in claims.jobs(file)}, key=lambda job: (job.file, job.name))


def rows() -> Iterator[Row]:
    for job in innermost():
        for ref in REFS:
            for environment in ENVIRONMENTS:
                yield Row(job, ref, environment, trusting(token(job, environment=environment, ref=REFS[ref])))


__all__ = ["access", "innermost", "rows", "trusting"]
