"""What changes an environment's stack: to a build, or away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lastgood import bundle
from lastgood.aws.session import Session
from lastgood.deploy import reach
from lastgood.deploy.access import ONLY_HERE
from lastgood.deploy.place import Place
from lastgood.deploy.progress import Progress
from lastgood.deploy.stack import DONE, ChangeSet, Event, Stack
from lastgood.errors import LastgoodError, UsageError
from lastgood.record.release import BuildFacts
from lastgood.report.terminal import counted, step

DECIDED = (
    "LoadBalancerSecurityGroup",
    "TaskSecurityGroup",
    "PermissionsBoundary",
)  # outputs of the access stack, for service.yml


@dataclass(frozen=True)
class Wanted:
    """What the stack is to come to: a build, under the name of a release; and what its release task may do to the database.

    `accept_loss`: what no rollback brings back. `leave_ahead`: leave more in it than the build wants, so that the service goes first.
    """

    build: BuildFacts
    release: str
    accept_loss: bool = False
    leave_ahead: bool = False


def apply(
    place: Place,
    wanted: Wanted,
    progress: Progress,
    *,
    show: Callable[[list[Event]], None],
    ready: Callable[[], None],
) -> None:
    """Change set, execution, events, until the stack wants that build. Raises LastgoodError where it does not come to it.

    `show` takes the events as they come; `ready` is called right before the execution, and stops it by raising.
    """
    with step("change set") as shown:
        change = prepare(place, wanted)
        if change is None:
            shown.note("nothing to change")
            return
        progress.shown = {one["resource"] for one in change.changes}
        shown.note(counted(len(change.changes), "change"))
    try:
        ready()
        place.stack.execute(change)
    except BaseException:
        with contextlib.suppress(Exception):  # it is the first error that says what happened
            place.stack.discard(change)
        raise
    with step(f"stack {place.stack.name}"):
        status = place.stack.watch(show)
        if status not in DONE:
            raise LastgoodError(progress.cause or f"the stack ended as {status or 'deleted'}")


def prepare(place: Place, wanted: Wanted) -> ChangeSet | None:
    """The change set that brings the stack to what is wanted; None where it is there already. Nothing is executed."""
    template = bundle.path("cloudformation/service.yml").read_text(encoding="utf-8")
    tags = {"lastgood:project": place.session.project, "lastgood:environment": place.name}
    values = parameters(place.session, wanted.build, wanted.release, place.stack.decided)
    values["AcceptLoss"] = "yes" if wanted.accept_loss else "no"
    values["LeaveAhead"] = "yes" if wanted.leave_ahead else "no"
    return place.stack.prepare(template, values, tags)


def remove(place: Place, progress: Progress, show: Callable[[list[Event]], None]) -> None:
    """Deletes the stack, if there is one. The database and the release record stand outside of it."""
    if place.stack.status() is None:
        return
    with step(f"delete stack {place.stack.name}"):
        progress.shown = ()
        place.stack.delete()
        status = place.stack.watch(show)
        if status is not None:
            raise LastgoodError(f"the stack could not be deleted, it is {status}: look at its events in CloudFormation")


def parameters(session: Session, build: BuildFacts, release: str, decided: Mapping[str, str]) -> dict[str, str]:
    """The values for service.yml; `decided` are the outputs of the environment's access stack.

    Raises UsageError where account or environment were not bootstrapped, or where what is deployed could not be asked how it is.
    """
    account = Stack.of_account(session)
    made = account.outputs()
    function, repository = made.get("MigrationFunctionArn"), made.get("RepositoryUri")
    if session.cloud:
        repository = f"{session.cloud.registry}/{session.project}"
    if not function or not repository:
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
    problem = reach.closed(session.environment.name, session.environment.url, own)
    if problem:
        raise UsageError(problem)
    own = {name: value for name, value in own.items() if name not in ONLY_HERE}
    return (
        own
        | {name: decided[name] for name in DECIDED}
        | {
            "Project": session.project,
            "Environment": session.environment.name,
            "Image": f"{repository}@{build.digest}",  # never what somebody wrote into the record
            "ImageDigest": build.digest,
            "Build": build.build,
            "Commit": build.commit,
            "Version": build.version,
            "ManifestSha": build.manifest_sha,
            "Release": release,
            "ServiceToken": function,
        }
    )
