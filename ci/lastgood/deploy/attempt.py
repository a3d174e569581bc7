"""One release from its beginning to its end: lock, `pending`, change set, smoke test, `good`; and back to last good when anything fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lastgood.aws.errors import explained, patiently, unheard
from lastgood.deploy import change, leftovers, outcome, restore, smoke, stuck, verify
from lastgood.deploy.admission import admit
from lastgood.deploy.order import Order
from lastgood.deploy.outcome import Ending
from lastgood.deploy.place import Place
from lastgood.deploy.progress import Progress
from lastgood.deploy.stack import Event
from lastgood.errors import LastgoodError
from lastgood.record.lock import Lock, Lost
from lastgood.record.release import BuildFacts, Release
from lastgood.report.terminal import say, step

FIRST_ANSWER = 300.0  # seconds for a new load balancer's name to be known everywhere


def carry_out(place: Place, order: Order, decide: Callable[[], Order] | None = None) -> dict[str, Any]:
    """Makes the release that is ordered, under the environment's lock. Returns the release, with what happened.

    `decide` orders anew where a command that died has left a release, which is ended first: the one to go back to may be another then.
    Raises Refused (somebody else is deploying, or the stack is stuck), FailedRestored or FailedNotRestored.
    """
    record = place.record
    with Lock(record, who=order.who, what=f"build {order.build.build}") as lock:
        if leftovers.tidy(place, lock, anew=order.anew) and decide:
            order = decide()
            order = replace(order, signed=admit(place, order.build))
        build = order.build
        last = record.last_good()
        if last and order.is_done(last):
            say(f"build {last.facts.build} is last good already (release {last.number}): nothing to do without --force")
            return last.as_dict() | {"environment": place.name, "nothing": True}
        progress = Progress(place.session, record, build.digest)
        lock.keep()
        release = record.begin(
            order.kind, build, who=order.who, reason=order.reason, undoes=order.undoes, signed=order.signed
        )
        return Attempt(place, order, release, progress, lock, last).run()


class Attempt:
    """A release that has begun: an order in its place, `pending` in the record. `last` is last good, which it goes back to."""

    def __init__(
        self, place: Place, order: Order, release: Release, progress: Progress, lock: Lock, last: Release | None
    ) -> None:
        self.place = place
        self.order = order
        self.release = release
        self.progress = progress
        self.lock = lock
        self.last = last
        self.ending = Ending(release.number, place.name, last)
        self.cause = ""  # why it goes back, once it does
        self.begun = time.monotonic()
        self.story: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Does it. Returns and raises what `carry_out` does: whatever happens, its end is recorded, or it is said why it is not."""
        try:
            return self.attempt()
        except Lost as error:
            raise outcome.taken(self.ending, str(error), self.place.stack.seen) from None
        except Exception as error:
            if not unheard(error):
                raise
            cause = self.cause or self.progress.cause
            why = said(error) + (f"; what had failed before: {cause}" if cause else "")
            self.remark(why)
            raise outcome.left(self.ending, why, self.place.stack.seen) from None

    def attempt(self) -> dict[str, Any]:
        """Forward; and back where that fails. Raises Lost, and what boto3 raises where AWS can't be asked any more."""
        number, build = self.release.number, self.order.build
        try:
            self.lock.rename(f"release {number}, build {build.build}")
            with step(f"release {number}: {self.order.kind} of build {build.build} to {self.place.name}"):
                self.go()
        except KeyboardInterrupt:
            return self.fail(outcome.INTERRUPTED)
        except Exception as error:
            if isinstance(error, Lost) or unheard(error):
                raise
            return self.fail(self.progress.cause or said(error))
        return self.good()

    def go(self) -> None:
        """The way forward."""
        place, order, build = self.place, self.order, self.order.build
        if order.anew:
            self.lock.keep()
            change.remove(place, self.progress, self.show)
        there = place.stack.status() is not None
        self.bring(build, str(self.release.number), service_first=order.service_first and there)
        address = verify.url(place.session, place.stack.outputs())
        with step("smoke test") as shown:
            tested = smoke.wait(address, build.digest, deadline=smoke.DEADLINE if there else FIRST_ANSWER)
            verify.wait(place, build.digest)
            shown.note(f"{address} answers as {build.digest[:19]}, {tested['database']}")
        self.story |= {"smoke": tested, "url": address}

    def bring(self, build: BuildFacts, release: str, *, service_first: bool, patient: bool = False) -> None:
        """Brings the stack to a build; with `service_first` in two updates where its code can live with what the database has.

        Raises LastgoodError where the stack does not come to it, or the service is not back by itself, which `patient` puts up with:
        it may be the database that keeps it from answering.
        """
        loss = self.order.accept_loss and build is self.order.build
        self.apply(build, release, accept_loss=loss, leave_ahead=service_first)
        if not service_first:
            return
        try:
            ahead = self.left_ahead(build.digest)
        except LastgoodError as error:
            if not patient:
                raise
            say(f"{error}; its database follows all the same")
            ahead = True
        if ahead:
            self.apply(build, release)

    def apply(self, build: BuildFacts, release: str, *, accept_loss: bool = False, leave_ahead: bool = False) -> None:
        """One update of the stack, made only while the lock is ours."""
        wanted = change.Wanted(build, release, accept_loss, leave_ahead)
        change.apply(self.place, wanted, self.progress, show=self.show, ready=self.lock.keep)

    def show(self, events: list[Event]) -> None:
        """Shows what the stack says, and stops watching it when somebody else has the lock."""
        self.progress.show(events)
        if self.lock.lost:
            self.lock.keep()

    def left_ahead(self, digest: str) -> bool:
        """Whether the service is back and the database is to follow. Raises LastgoodError where the service is not."""
        with step("service") as shown:
            ahead = verify.wait(self.place, digest, ahead=True).health.database == "ahead"
            shown.note(f"back as {digest[:19]}" + (", its database follows" if ahead else ""))
        return ahead

    def good(self) -> dict[str, Any]:
        """The good end. Raises FailedNotRestored where it can't be written down: what runs and is verified is not taken back for that."""
        undone, applied = self.progress.names("undone"), self.progress.names("applied")
        try:
            self.lock.keep()
            self.release = self.place.record.good(self.release, undone=undone, applied=applied)
        except Lost:
            raise
        except Exception as error:
            self.told()
            raise outcome.unrecorded(self.ending, self.order.build.build, said(error)) from None
        return self.told()

    def fail(self, cause: str) -> dict[str, Any]:
        """The way back; always raises. A second interruption stops the waiting, and says so."""
        self.cause = cause
        say(outcome.turn(cause))
        restored = self.restore(cause)
        undone, applied, unrecorded = self.progress.names("undone"), self.progress.names("applied"), ""
        try:
            self.release = self.place.record.failed(self.release, cause, undone=undone, applied=applied)
        except Exception as error:
            unrecorded = said(error)
        self.story["restored"] = {"back": restored.back, "wrong": restored.wrong, "steps": restored.steps}
        self.told()
        raise outcome.failure(self.ending, cause, restored, unrecorded)

    def restore(self, cause: str) -> restore.Restored:
        """Brings last good back, and says whether it is. Raises Lost, and what boto3 raises where AWS can't be asked any more."""
        digest = self.last.facts.digest if self.last else None
        pause = self.place.stack.pause
        eyes = restore.Eyes(
            lambda: patiently(lambda: verify.facts(self.place), seconds=verify.PATIENCE, pause=pause),
            lambda facts: stuck.look(self.place, digest, facts),
        )
        try:
            self.lock.keep()
            if cause == outcome.INTERRUPTED:
                self.place.stack.cancel()
            return restore.restore(eyes, digest, self.ways())
        except KeyboardInterrupt:
            return restore.Restored(False, outcome.NOT_WAITED)
        except Exception as error:
            if isinstance(error, Lost) or unheard(error):
                raise
            return restore.Restored(False, said(error))

    def ways(self) -> dict[str, Callable[..., None]]:
        """What restore() may ask for."""
        place, last = self.place, self.last

        def wait() -> None:
            place.stack.watch(self.show)

        def continue_rollback(*skipping: str) -> None:
            self.lock.keep()
            place.stack.continue_rollback(skipping)
            wait()

        def delete() -> None:
            self.lock.keep()
            change.remove(place, self.progress, self.show)

        def redeploy() -> None:
            if last:
                there = place.stack.status() is not None
                self.bring(last.facts, f"{self.release.number}-restore", service_first=there, patient=True)

        def recreate() -> None:
            delete()
            redeploy()

        named = {"wait": wait, restore.CONTINUE: continue_rollback}
        return named | {"delete": delete, "redeploy": redeploy, "recreate": recreate}

    def remark(self, why: str) -> None:
        """Leaves in the record why nobody watches the release any more, if the record can be reached."""
        try:
            self.place.record.remark(self.release, why)
        except Exception as error:
            say(f"the release record could not be told: {said(error)}")

    def told(self) -> dict[str, Any]:
        """The release with what happened, also left in `.lastgood/releases/` for those who make pictures of it."""
        told = self.release.as_dict() | {"environment": self.place.name, "stack": self.place.stack.name}
        told |= {
            "seconds": round(time.monotonic() - self.begun, 3),
            "hops": self.progress.hops,
            "events": self.progress.events,
        }
        told |= self.story
        file = self.place.folder / f"{self.place.name}-{self.release.number:08d}.json"
        try:
            self.place.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:  # a full disk is no reason to call a release anything but what it is
            say(f"{file} could not be written: {error.strerror or error}")
        return told


def said(error: BaseException) -> str:
    """What went wrong, in one sentence."""
    return str(explained(error) or error) or type(error).__name__
