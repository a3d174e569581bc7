"""Who may do what in an environment: the values of environment.yml, which an administrator decides with `lastgood bootstrap`.

They come from the administrator's own checkout and options, never from the branch that is deployed: what a branch writes into its
pyproject.toml reaches no role and no boundary before somebody who may change them has run the command again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lastgood.errors import UsageError

ONLY_HERE = (
    "AllowedCidr",
    "DatabaseSecurityGroup",
    "ListenerSecurityGroup",
)  # of an environment's parameters: service.yml has them not
NETWORK = ("VpcId", "DatabasePort", "Domain", "HostedZoneId", "ListenerArn", *ONLY_HERE)
PUSH, DEPLOY = ("push.yml",), ("deploy.yml", "rollback.yml")  # the innermost workflows that assume each role
VERSIONS = ("v1.*",)
_SECRET = re.compile(r"arn:[\w-]+:secretsmanager:[\w-]+:\d+:secret:[\w/+=.@!-]+")
_PARAMETER = re.compile(r"arn:[\w-]+:ssm:[\w-]+:\d+:parameter/[\w/.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class GitHub:
    """What may push and deploy from GitHub, as far as it is said; what is not said stays as an earlier run left it.

    `repository` is the repository's number, `bundle` the OWNER/NAME whose workflows are trusted, in `versions` (tags, with `*`, or whole
    commits), called from `refs`, in GitHub's `environment`; `provider` is the ARN of the account's OIDC provider.
    """

    repository: str = ""
    bundle: str = ""
    versions: Sequence[str] = ()
    refs: Sequence[str] = ()
    environment: str = ""
    provider: str = ""

    def values(self) -> dict[str, str]:
        """The parameters of environment.yml that are said. Raises UsageError for one that can't be meant."""
        if self.repository and not self.repository.isdecimal():
            raise UsageError(
                f"--github-repository-id {self.repository!r} must be a number: `gh api repos/OWNER/NAME --jq .id` prints it"
            )
        if self.versions and not self.bundle:
            raise UsageError("--bundle-version goes with --bundle OWNER/NAME: whose versions are meant?")
        said = {
            "GitHubRepositoryId": self.repository,
            "GitHubEnvironment": self.environment,
            "GitHubProviderArn": self.provider,
            "GitHubRefs": ",".join(_narrow("--ref", ref) for ref in self.refs),
        }
        if self.bundle:
            said |= workflows(self.bundle, self.versions or VERSIONS)
        return {name: value for name, value in said.items() if value}


def workflows(bundle: str, versions: Iterable[str]) -> dict[str, str]:
    """PushWorkflows and DeployWorkflows: `job_workflow_ref` as GitHub says it of the bundle's innermost workflows."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", bundle):
        raise UsageError(f"--bundle {bundle!r} must be OWNER/NAME, the repository whose workflows yours call")
    refs = [one if _COMMIT.fullmatch(one) else f"refs/tags/{_version(one)}" for one in versions]
    return {
        name: ",".join(f"{bundle}/.github/workflows/{file}@{ref}" for file in files for ref in refs)
        for name, files in (("PushWorkflows", PUSH), ("DeployWorkflows", DEPLOY))
    }


def _version(text: str) -> str:
    if not re.fullmatch(r"v\d[\w.*-]*", text):
        raise UsageError(f"--bundle-version {text!r} must be a tag as v1.2.3 or v1.*, or a whole commit")
    return text


def _narrow(option: str, ref: str) -> str:
    if not re.fullmatch(r"refs/(heads|tags)/[^*,\s][^,\s]*", ref):
        raise UsageError(f"{option} {ref!r} must be a branch or a tag, as refs/heads/main or refs/tags/v*")
    return ref


def readable(values: Iterable[str]) -> dict[str, str]:
    """SecretArns and ParameterArns: every secret and parameter that the values of service.yml name.

    What ECS takes behind a secret's ARN (`:key:stage:version`) is no part of it for IAM.
    """
    text = "\n".join(values)
    return {
        "SecretArns": ",".join(sorted(set(_SECRET.findall(text)))),
        "ParameterArns": ",".join(sorted(set(_PARAMETER.findall(text)))),
    }


def network(values: Mapping[str, str], environment: str) -> dict[str, str]:
    """What of an environment's parameters is the administrator's to decide. Raises UsageError where the network is not named."""
    if not values.get("VpcId"):
        raise UsageError(
            f"environment {environment} names no network: add VpcId to [tool.lastgood.environments.{environment}] parameters"
        )
    return {name: values[name] for name in NETWORK if name in values}
