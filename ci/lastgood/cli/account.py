"""What an administrator decides about an account and an environment."""

from __future__ import annotations

import argparse

from lastgood.cli.common import environment
from lastgood.cli.verbs import flag, load, option, result, verb


@verb(
    environment,
    flag("--dry-run", "show the change sets, change nothing"),
    option(
        "--github-repository-id",
        default="",
        metavar="N",
        help="the number of the repository that may push and deploy (gh api repos/OWNER/NAME --jq .id)",
    ),
    option("--bundle", default="", metavar="OWNER/NAME", help="the repository whose workflows yours call"),
    option(
        "--bundle-version",
        action="append",
        default=[],
        metavar="TAG",
        help="its versions that are trusted, or a whole commit (default: v1.*); again for more",
    ),
    option(
        "--ref",
        action="append",
        default=[],
        metavar="REF",
        help="the branch or tag that may be pushed and deployed (default: refs/heads/main); again for more",
    ),
    option(
        "--github-environment",
        default="",
        metavar="NAME",
        help="the environment on GitHub whose rules apply (default: its name here)",
    ),
    option(
        "--github-provider-arn",
        default="",
        metavar="ARN",
        help="the account's OIDC provider for GitHub (default: the one that it has)",
    ),
    option(
        "--boundary",
        default="",
        metavar="ARN",
        help="a policy of yours as the permissions boundary, where tasks need more",
    ),
)
def bootstrap(options: argparse.Namespace) -> None:
    """as an administrator: registry, release record and migration function of the account; roles and boundary of the environment"""
    from lastgood.deploy import bootstrap as bootstrapper
    from lastgood.deploy.access import GitHub
    from lastgood.deploy.place import Place

    github = GitHub(
        repository=options.github_repository_id,
        bundle=options.bundle,
        versions=options.bundle_version,
        refs=options.ref,
        environment=options.github_environment,
        provider=options.github_provider_arn,
    )
    session = Place.of(load(options), options.environment).session
    facts = bootstrapper.bootstrap(session, github, boundary=options.boundary, dry_run=options.dry_run)
    result(options, facts, "\n".join(f"{key}: {value}" for key, value in facts.items()))
