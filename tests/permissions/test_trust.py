"""Who gets which role: the workflows as they are, against the trust policies as they are."""

from __future__ import annotations

import pytest
from lastgood.deploy import access

from permissions import claims, templates, trust
from permissions.templates import GITHUB


def test_the_roles_name_the_innermost_workflows_and_no_others() -> None:
    """A workflow that is split, or a job that begins to ask for a token, shows here: lastgood.deploy.access says which role is whose."""
    found = {job.file: bool(job.environment) for job in trust.innermost()}
    assert found == dict.fromkeys(access.PUSH, False) | dict.fromkeys(access.DEPLOY, True)


def test_no_job_that_checks_a_pull_request_gets_a_token() -> None:
    assert list(claims.jobs("pull-request.yml")) == []


def test_every_row() -> None:
    for row in trust.rows():
        pushes, main = row.job.file in access.PUSH, row.ref == "main"
        if not main:
            expected: tuple[str, ...] = ()
        elif pushes:  # it is in no environment: the branch alone counts
            expected = ("push production", "push staging")
        else:
            expected = (f"deploy {row.environment}",) if row.environment != "scratch" else ()
        assert row.roles == expected, row


@pytest.mark.parametrize("name", ["PushRole", "DeployRole"])
def test_a_trust_policy_asks_for_what_sts_knows_and_iam_wants(name: str) -> None:
    """IAM refuses a role for GitHub's provider whose trust asks for neither sub nor job_workflow_ref, or for * alone."""
    (statement,) = templates.environment().role(name).trust["Statement"]
    keys = {key: value for block in statement["Condition"].values() for key, value in block.items()}
    assert {key.partition(":")[0] for key in keys} == {GITHUB}
    assert {key.partition(":")[2] for key in keys} <= set(claims.KEYS)
    assert {f"{GITHUB}:aud", f"{GITHUB}:repository_id", f"{GITHUB}:ref", f"{GITHUB}:job_workflow_ref"} <= set(keys)
    assert all(one.startswith("acme/lastgood/.github/workflows/") for one in keys[f"{GITHUB}:job_workflow_ref"])


@pytest.mark.parametrize(
    ("versions", "ref", "trusted"),
    [
        (("v1.*",), "refs/tags/v1.9.0", True),
        (("v1.4.*",), "refs/tags/v1.9.0", False),
        (("v1.*", "v2.*"), "refs/tags/v2.0.1", True),
        (("0123456789abcdef0123456789abcdef01234567",), "0123456789abcdef0123456789abcdef01234567", True),
        (("0123456789abcdef0123456789abcdef01234567",), "1123456789abcdef0123456789abcdef01234567", False),
    ],
)
def test_versions_of_the_bundle(versions: tuple[str, ...], ref: str, trusted: bool) -> None:
    given = access.workflows(templates.BUNDLE, versions)
    role = templates.environment("production", **given).role("DeployRole")
    job = claims.Job("rollback.yml", "rollback", "${{ inputs.environment }}")
    provider = {"Federated": f"arn:aws:iam::{templates.ACCOUNT}:oidc-provider/{GITHUB}"}
    brought = claims.token(job, bundle=f"{templates.BUNDLE}@{ref}")
    assert role.trusts("sts:AssumeRoleWithWebIdentity", provider, brought) is trusted
