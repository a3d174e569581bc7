"""The environment's registry: where builds are pushed to, and what the release record knows of them."""

from __future__ import annotations

from lastgood.config.project import Project
from lastgood.deploy.aws import Session, code
from lastgood.deploy.record import BuildFacts, Record
from lastgood.errors import UsageError
from lastgood.image.build import Image, last
from lastgood.local import state
from lastgood.registry.push import Registry
from lastgood.report.terminal import step
from lastgood.scan import contents


def find(project: Project, environment: str) -> Registry:
    """The repository of the project as the environment's account has it, with a fresh password where one is needed.

    Raises UsageError where the local cloud is down or the account was not bootstrapped.
    """
    project.environment(environment)
    cloud = state.read(project) if environment == "local" else None
    if environment == "local" and cloud is None:
        raise UsageError("the local cloud is not up: run `lastgood local up`")
    from botocore.exceptions import BotoCoreError, ClientError

    client = Session(project, environment).client("ecr")
    try:
        uri = client.describe_repositories(repositoryNames=[project.name])["repositories"][0]["repositoryUri"]
        if cloud:
            return Registry(cloud.registry, project.name)
        token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except (ClientError, BotoCoreError) as error:
        if cloud and code(error) == "RepositoryNotFoundException":
            raise UsageError(
                f"the local cloud has no repository {project.name!r} yet: run `lastgood bootstrap` once"
            ) from None
        raise UsageError(
            f"the ECR repository {project.name!r} can't be used for {environment}: {error}; check the credentials and the region, and "
            f"run `lastgood bootstrap --environment {environment}` once"
        ) from None
    return Registry.ecr(uri, token)


def facts(image: Image, reference: str) -> BuildFacts:
    """What a deploy needs to know of a build that was pushed as `reference`."""
    return BuildFacts(
        build=image.build,
        commit=image.commit,
        version=image.version,
        digest=image.digest,
        image=reference,
        manifest_sha=image.manifest_sha,
        size=image.size,
        contents=contents.stored(image.folder),
    )


def recorded(project: Project, environment: str, image: Image, reference: str) -> None:
    """Writes the pushed build into the release record, so that any machine can deploy it by its digest."""
    Record(Session(project, environment), environment).put_build(facts(image, reference))


def handed_over(project: Project, environment: str, image: Image, reference: str) -> None:
    """Loads a pushed build into this machine's engine, where that is the environment and can't pull zstd layers (before version 23).

    It lies there under a tag that names the digest (local/adapters/containers.py starts it from there), as a pull would have left it.
    """
    if environment != "local" or not any("zstd" in layer.media_type for layer in image.layers):
        return
    from lastgood.image import build
    from lastgood.local import engine

    client = engine.connect()
    if client is None:
        return
    version = str(client.version()["Version"])
    client.close()
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < 23:
        with step("load into Docker") as shown:
            build.load(image, reference.replace("@sha256:", ":sha256-"))
            shown.note(f"engine {version} can't pull zstd layers")


def build_facts(project: Project, environment: str, digest: str | None) -> BuildFacts:
    """The build to deploy: by digest from the release record, else the last build of this machine, which must have been pushed."""
    record = Record(Session(project, environment), environment)
    wanted = digest or last(project.state).digest
    found = record.build(wanted)
    if found is None:
        raise UsageError(
            f"the release record of {environment} does not know {wanted}: run `lastgood push --environment {environment}` first"
        )
    return found
