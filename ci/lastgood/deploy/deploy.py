"""The whole of a release: lock, `pending`, change set, smoke test, `good`; and back to last good when anything fails."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lastgood import bundle
from lastgood.deploy import restore, smoke, verify
from lastgood.deploy.aws import Session, code, explained
from lastgood.deploy.lock import Lock
from lastgood.deploy.progress import Progress, plain
from lastgood.deploy.record import BuildFacts, Record, Release
from lastgood.deploy.stack import DONE, ONLY_DELETABLE, Stack, settled
from lastgood.errors import FailedNotRestored, FailedRestored, LastgoodError, Refused, UsageError
from lastgood.report.terminal import counted, say, step

if TYPE_CHECKING:
    from lastgood.config.project import Project

FIRST_ANSWER = 300.0  # seconds for a new load balancer's name to be known everywhere
INTERRUPTED = "interrupted by hand"
NOT_WAITED = "the command was interrupted again while the stack was going back: `lastgood status` says where it ended"


@explained
def deploy(
    project: Project,
    environment: str,
    build: BuildFacts,
    *,
    who: str,
    reason: str,
    force: bool = False,
    accept_loss: bool = False,
) -> dict[str, Any]:
    """Releases a pushed build. Returns the release, with what happened. `accept_loss` lifts the migrator's gate; then `reason` says why.

    Raises UsageError without that reason, Refused (somebody else is deploying, or the image is not in the registry), FailedRestored or
    FailedNotRestored.
    """
    if accept_loss and not reason.strip():
        raise UsageError("--accept-loss needs a --reason: the release record keeps why the loss is acceptable")
    session = Session(project, environment)
    record = Record(session, environment)
    exists(session, build)
    return Attempt(
        session, record, build, kind="deploy", who=who, reason=reason, again=force, accept_loss=accept_loss
    ).run()


def exists(session: Session, build: BuildFacts) -> None:
    """Raises Refused where the registry does not hold the build's image."""
    wanted = {"repositoryName": session.project.name, "imageIds": [{"imageDigest": build.digest}]}
    try:
        found = session.client("ecr").batch_get_image(**wanted)["images"]
    except Exception as error:
        if code(error) != "RepositoryNotFoundException":
            raise
        found = []
    if not found:
        raise Refused(
            f"the registry of {session.environment.name} does not hold {build.digest} (build {build.build}): run `lastgood push` first"
        )


class Attempt:
    """One release from its beginning to its end.

    `undoes` are the numbers of releases that it takes back when it is good, `anew` deletes the stack first, `again` also releases
    a build that is last good already, `accept_loss` lets its migrations lose what no rollback brings back. With `service_first` the
    service gets the build before the database does, where the build's code can live with what is there: the way back's mirror of the way
    forward, where it is the old code that meets the new schema, too.
    """

    def __init__(
        self,
        session: Session,
        record: Record,
        facts: BuildFacts,
        *,
        kind: str,
        who: str,
        reason: str,
        undoes: Sequence[int] = (),
        anew: bool = False,
        again: bool = True,
        accept_loss: bool = False,
        service_first: bool = False,
    ) -> None:
        self.session = session
        self.record = record
        self.facts = facts
        self.kind = kind
        self.who = who
        self.reason = reason
        self.undoes = list(undoes)
        self.anew = anew
        self.again = again
        self.accept_loss = accept_loss
        self.service_first = service_first
        self.stack = Stack(session, session.environment.stack)
        self.story: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Does it, under the environment's lock. Returns and raises what `deploy` does."""
        name = self.session.environment.name
        with Lock(self.record, name, who=self.who, what=f"build {self.facts.build}") as lock:
            tidy(self.session, self.record, self.stack, anew=self.anew)
            last = self.record.last_good()
            if last and last.facts.digest == self.facts.digest and not self.again:
                say(
                    f"build {last.facts.build} is last good already (release {last.number}): nothing to do without --force"
                )
                return last.as_dict() | {"environment": name, "nothing": True}
            self.progress = Progress(self.session, self.record, self.facts.digest)
            self.release = self.record.begin(self.kind, self.facts, who=self.who, reason=self.reason)
            lock.rename(f"release {self.release.number}, build {self.facts.build}")
            begun = time.monotonic()
            try:
                with step(f"release {self.release.number}: {self.kind} of build {self.facts.build} to {name}"):
                    self.go(begun)
            except KeyboardInterrupt:
                return self.fail(INTERRUPTED, begun)
            except Exception as error:
                return self.fail(self.progress.cause or str(error) or type(error).__name__, begun)
            return self.told(begun)

    def go(self, begun: float) -> None:
        """The way forward."""
        if self.anew:
            self.remove()
        release, there = str(self.release.number), self.stack.status() is not None
        self.apply(self.facts, release, accept_loss=self.accept_loss, leave_ahead=self.service_first and there)
        if self.service_first and there and self.left_ahead():
            self.apply(self.facts, release)
        address = verify.url(self.session, self.stack.outputs())
        with step("smoke test") as shown:
            tested = smoke.wait(address, self.facts.digest, deadline=smoke.DEADLINE if there else FIRST_ANSWER)
            verify.wait(self.session, self.stack, self.facts.digest)
            shown.note(f"{address} answers as {self.facts.digest[:19]}, {tested['database']}")
        self.story |= {"smoke": tested, "url": address}
        self.release = self.record.good(
            self.release,
            undoes=self.undoes,
            undone=self.progress.names("undone"),
            applied=self.progress.names("applied"),
        )

    def left_ahead(self) -> bool:
        """Whether the service is back and the database is to follow. Raises LastgoodError where the service is not."""
        with step("service") as shown:
            found = verify.wait(self.session, self.stack, self.facts.digest, ahead=True)
            ahead = found.health.database == "ahead"
            shown.note(f"back as {self.facts.digest[:19]}" + (", its database follows" if ahead else ""))
        return ahead

    def apply(self, facts: BuildFacts, release: str, *, accept_loss: bool = False, leave_ahead: bool = False) -> None:
        """Change set, execution, events, until the stack wants that build. Raises LastgoodError where it does not come to it."""
        template = bundle.path("cloudformation/service.yml").read_text(encoding="utf-8")
        tags = {"lastgood:project": self.session.project.name, "lastgood:environment": self.session.environment.name}
        with step("change set") as shown:
            values = parameters(self.session, facts, release)
            values |= {"AcceptLoss": "yes" if accept_loss else "no", "LeaveAhead": "yes" if leave_ahead else "no"}
            change = self.stack.prepare(template, values, tags)
            if change is None:
                shown.note("nothing to change")
                return
            self.progress.shown = {one["resource"] for one in change.changes}
            shown.note(counted(len(change.changes), "change"))
        try:
            self.stack.execute(change)
        except BaseException:
            self.stack.discard(change)
            raise
        with step(f"stack {self.stack.name}"):
            status = self.stack.watch(self.progress.show)
            if status not in DONE:
                raise LastgoodError(self.progress.cause or f"the stack ended as {status or 'deleted'}")

    def remove(self) -> None:
        """Deletes the stack, if there is one. The database and the release record stand outside of it."""
        if self.stack.status() is None:
            return
        with step(f"delete stack {self.stack.name}"):
            self.progress.shown = ()
            self.stack.delete()
            status = self.stack.watch(self.progress.show)
            if status is not None:
                raise LastgoodError(
                    f"the stack could not be deleted, it is {status}: look at its events in CloudFormation"
                )

    def fail(self, cause: str, begun: float) -> dict[str, Any]:
        """The way back; always raises. A second interruption stops the waiting, and says so."""
        say(f"release {self.release.number} failed: {cause.partition(chr(10))[0]}")
        last = self.record.last_good()
        try:
            if cause == INTERRUPTED:
                say("going back to last good; interrupt again to stop waiting for it")
                self.stack.cancel()
            restored = restore.restore(
                lambda: verify.facts(self.session, self.stack), last.facts.digest if last else None, self.ways(last)
            )
        except KeyboardInterrupt:
            restored = restore.Restored(False, NOT_WAITED)
        except Exception as error:
            restored = restore.Restored(False, str(error))
        progress = self.progress
        self.release = self.record.failed(
            self.release, cause, undone=progress.names("undone"), applied=progress.names("applied")
        )
        self.story["restored"] = {"back": restored.back, "wrong": restored.wrong, "steps": restored.steps}
        self.told(begun)
        head = f"release {self.release.number} failed: {cause}"
        if not restored.back:
            raise FailedNotRestored(f"{head}\nlast good is NOT back: {restored.wrong}")
        if last is None:
            raise FailedRestored(f"{head}\nthere was no good release before: the environment is empty again")
        raise FailedRestored(
            f"{head}\nlast good is back and verified: build {last.facts.build} (release {last.number})"
        )

    def ways(self, last: Release | None) -> dict[str, Any]:
        """What restore() may ask for."""

        def continue_rollback() -> None:
            self.stack.continue_rollback()
            self.stack.watch(self.progress.show)

        def redeploy() -> None:
            if last:
                self.apply(last.facts, f"{self.release.number}-restore")

        def recreate() -> None:
            self.remove()
            redeploy()

        return {
            "wait": lambda: self.stack.watch(self.progress.show),
            "continue rollback": continue_rollback,
            "delete": self.remove,
            "redeploy": redeploy,
            "recreate": recreate,
        }

    def told(self, begun: float) -> dict[str, Any]:
        """The release with what happened, also left in `.lastgood/releases/` for those who make pictures of it."""
        told = self.release.as_dict() | {"environment": self.session.environment.name, "stack": self.stack.name}
        told |= {
            "seconds": round(time.monotonic() - begun, 3),
            "hops": self.progress.hops,
            "events": self.progress.events,
        }
        told |= self.story
        folder = self.session.project.state / "releases"
        folder.mkdir(exist_ok=True)
        file = folder / f"{self.session.environment.name}-{self.release.number:08d}.json"
        file.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return told


def parameters(session: Session, facts: BuildFacts, release: str) -> dict[str, str]:
    """The values for service.yml. Raises UsageError where the account was not bootstrapped."""
    bootstrap = f"lastgood-{session.project.name}"
    function = Stack(session, bootstrap).outputs().get("MigrationFunctionArn")
    if not function:
        raise UsageError(
            f"there is no stack {bootstrap} in this account: run `lastgood bootstrap --environment {session.environment.name}`"
        )
    own = dict(session.cloud.parameters) if session.cloud else {}
    own |= session.environment.parameters
    return own | {
        "Project": session.project.name,
        "Environment": session.environment.name,
        "Image": facts.image,
        "ImageDigest": facts.digest,
        "Build": facts.build,
        "Commit": facts.commit,
        "Version": facts.version,
        "ManifestSha": facts.manifest_sha,
        "Release": release,
        "ServiceToken": function,
    }


def tidy(session: Session, record: Record, stack: Stack, *, anew: bool) -> None:
    """Leaves nothing of a command that died: the stack settled, its release ended by what really runs.

    Raises Refused where the stack is stuck; `anew` says that it will be deleted anyhow.
    """
    status = stack.status()
    if not settled(status):
        with step(f"the stack is still {status}, left by a command that is gone: wait for its end"):
            stack.mark()
            status = stack.watch(lambda _events: None)
    if status == "UPDATE_ROLLBACK_FAILED" and not anew:
        with step("continue the rollback that stopped"):
            stack.continue_rollback()
            status = stack.watch(lambda _events: None)
        if status == "UPDATE_ROLLBACK_FAILED":
            raise Refused(f"the stack {stack.name} can't finish its rollback: run `lastgood rollback --recreate`")
    pending = [release for release in record.releases(limit=50) if release.state == "pending"]
    if pending:
        found = verify.facts(session, stack)
        for release in pending:
            end_dangling(record, release, found, newest=release is pending[0])
    if status in ONLY_DELETABLE and not anew:
        with step(f"delete the stack, which is {status}"):
            stack.delete()
            status = stack.watch(lambda _events: None)
        if status is not None:
            raise Refused(
                f"the stack {stack.name} can't be deleted, it is {status}: look at its events in CloudFormation"
            )


def end_dangling(record: Record, release: Release, found: verify.Facts, *, newest: bool) -> None:
    """Ends a release whose command died: `good` if it is what verifiably runs, else `failed`."""
    wrong = verify.wrong(found, release.facts.digest)
    operation = record.operation()
    own = operation is not None and operation["wanted"]["digest"] == release.facts.digest
    hops = [plain(hop) for hop in operation["hops"] if "ended" in hop] if operation and own else []
    undone, applied = ([name for hop in hops for name in hop[what]] for what in ("undone", "applied"))
    if newest and found.stack in DONE and not wrong:
        record.good(release, undoes=[], undone=undone, applied=applied)
        say(f"release {release.number} was left pending by a command that is gone; it runs and is verified: good")
        return
    record.failed(release, "its command ended without an answer", undone=undone, applied=applied)
    say(f"release {release.number} was left pending by a command that is gone: failed")
