"""What changes an environment's stack: to a build, or away."""

from __future__ import annotations

from collections.abc import Mapping

from lastgood import bundle
from lastgood.aws.session import Session
from lastgood.deploy.access import ONLY_HERE
from lastgood.deploy.place import Place
from lastgood.deploy.progress import Progress
from lastgood.deploy.stack import DONE, Stack
from lastgood.errors import LastgoodError, UsageError
from lastgood.record.release import BuildFacts
from lastgood.report.terminal import counted, step

DECIDED = (
    "LoadBalancerSecurityGroup",
    "TaskSecurityGroup",
    "PermissionsBoundary",
)  # outputs of the access stack, for service.yml


def apply(
    place: Place,
    build: BuildFacts,
    release: str,
    progress: Progress,
    *,
    accept_loss: bool = False,
    leave_ahead: bool = False,
) -> None:
    """Change set, execution, events, until the stack wants that build. Raises LastgoodError where it does not come to it."""
    template = bundle.path("cloudformation/service.yml").read_text(encoding="utf-8")
    tags = {"lastgood:project": place.session.project, "lastgood:environment": place.name}
    with step("change set") as shown:
        values = parameters(place.session, build, release, place.stack.decided)
        values |= {"AcceptLoss": "yes" if accept_loss else "no", "LeaveAhead": "yes" if leave_ahead else "no"}
        change = place.stack.prepare(template, values, tags)
        if change is None:
            shown.note("nothing to change")
            return
        progress.shown = {one["resource"] for one in change.changes}
        shown.note(counted(len(change.changes), "change"))
    try:
        place.stack.execute(change)
    except BaseException:
        place.stack.discard(change)
        raise
    with step(f"stack {place.stack.name}"):
        status = place.stack.watch(progress.show)
        if status not in DONE:
            raise LastgoodError(progress.cause or f"the stack ended as {status or 'deleted'}")


def remove(place: Place, progress: Progress) -> None:
    """Deletes the stack, if there is one. The database and the release record stand outside of it."""
    if place.stack.status() is None:
        return
    with step(f"delete stack {place.stack.name}"):
        progress.shown = ()
        place.stack.delete()
        status = place.stack.watch(progress.show)
        if status is not None:
            raise LastgoodError(f"the stack could not be deleted, it is {status}: look at its events in CloudFormation")


def parameters(session: Session, build: BuildFacts, release: str, decided: Mapping[str, str]) -> dict[str, str]:
    """The values for service.yml; `decided` are the outputs of the environment's access stack.

    Raises UsageError where account or environment were not bootstrapped.
    """
    account = Stack.of_account(session)
    function = account.outputs().get("MigrationFunctionArn")
    if not function:
        raise UsageError(
            f"there is no stack {account.name} in this account: run `lastgood bootstrap --environment {session.environment.name}`"
        )
    missing = [name for name in DECIDED if name not in decided]
    if missing:
        raise UsageError(
            f"nobody has decided about environment {session.environment.name} in this account ({missing[0]} is unknown): run `lastgood "
            f"bootstrap --environment {session.environment.name}` as an administrator"
        )
    own = dict(session.cloud.parameters) if session.cloud else {}
    own |= session.environment.parameters
    own = {name: value for name, value in own.items() if name not in ONLY_HERE}
    return (
        own
        | {name: decided[name] for name in DECIDED}
        | {
            "Project": session.project,
            "Environment": session.environment.name,
            "Image": build.image,
            "ImageDigest": build.digest,
            "Build": build.build,
            "Commit": build.commit,
            "Version": build.version,
            "ManifestSha": build.manifest_sha,
            "Release": release,
            "ServiceToken": function,
        }
    )
