"""The project's repository at the registry of an environment's account: ECR, or the one-machine cloud's stand-in for it."""

from __future__ import annotations

from lastgood.aws.errors import code
from lastgood.aws.session import Session
from lastgood.errors import Refused, UsageError
from lastgood.registry.client import Registry


def find(session: Session) -> Registry:
    """The repository, with a fresh password where one is needed. Raises UsageError where the account was not bootstrapped."""
    from botocore.exceptions import BotoCoreError, ClientError

    client, project, environment = session.client("ecr"), session.project, session.environment.name
    try:
        uri = client.describe_repositories(repositoryNames=[project])["repositories"][0]["repositoryUri"]
        if session.cloud:
            return Registry(session.cloud.registry, project)
        token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except (ClientError, BotoCoreError) as error:
        if session.cloud and code(error) == "RepositoryNotFoundException":
            raise UsageError(
                f"the local cloud has no repository {project!r} yet: run `lastgood bootstrap` once"
            ) from None
        raise UsageError(
            f"the ECR repository {project!r} can't be used for {environment}: {error}; check the credentials and the region, and "
            f"run `lastgood bootstrap --environment {environment}` once"
        ) from None
    return Registry.ecr(uri, token)


def check(session: Session, build: str, digest: str) -> None:
    """Raises Refused where the registry does not hold the image of a build, by its digest."""
    wanted = {"repositoryName": session.project, "imageIds": [{"imageDigest": digest}]}
    try:
        found = session.client("ecr").batch_get_image(**wanted)["images"]
    except Exception as error:
        if code(error) != "RepositoryNotFoundException":
            raise
        found = []
    if not found:
        raise Refused(
            f"the registry of {session.environment.name} does not hold {digest} (build {build}): run `lastgood push` first"
        )
