"""One release from its beginning to its end: lock, `pending`, change set, smoke test, `good`; and back to last good when anything fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from lastgood.deploy import change, leftovers, outcome, restore, smoke, verify
from lastgood.deploy.order import Order
from lastgood.deploy.place import Place
from lastgood.deploy.progress import Progress
from lastgood.record.lock import Lock
from lastgood.record.release import Release
from lastgood.report.terminal import say, step

FIRST_ANSWER = 300.0  # seconds for a new load balancer's name to be known everywhere


def carry_out(place: Place, order: Order) -> dict[str, Any]:
    """Makes the release that is ordered, under the environment's lock. Returns the release, with what happened.

    Raises Refused (somebody else is deploying, or the stack is stuck), FailedRestored or FailedNotRestored.
    """
    record, build = place.record, order.build
    with Lock(record, who=order.who, what=f"build {build.build}") as lock:
        leftovers.tidy(place, anew=order.anew)
        last = record.last_good()
        if last and order.is_done(last):
            say(f"build {last.facts.build} is last good already (release {last.number}): nothing to do without --force")
            return last.as_dict() | {"environment": place.name, "nothing": True}
        progress = Progress(place.session, record, build.digest)
        release = record.begin(order.kind, build, who=order.who, reason=order.reason)
        lock.rename(f"release {release.number}, build {build.build}")
        return Attempt(place, order, release, progress).run()


class Attempt:
    """A release that has begun: an order in its place, `pending` in the record."""

    def __init__(self, place: Place, order: Order, release: Release, progress: Progress) -> None:
        self.place = place
        self.order = order
        self.release = release
        self.progress = progress
        self.begun = time.monotonic()
        self.story: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Does it. Returns and raises what `carry_out` does."""
        number, build = self.release.number, self.order.build
        try:
            with step(f"release {number}: {self.order.kind} of build {build.build} to {self.place.name}"):
                self.go()
        except KeyboardInterrupt:
            return self.fail(outcome.INTERRUPTED)
        except Exception as error:
            return self.fail(self.progress.cause or str(error) or type(error).__name__)
        return self.told()

    def go(self) -> None:
        """The way forward."""
        place, order, build = self.place, self.order, self.order.build
        if order.anew:
            change.remove(place, self.progress)
        number, there = str(self.release.number), place.stack.status() is not None
        service_first = order.service_first and there
        change.apply(place, build, number, self.progress, accept_loss=order.accept_loss, leave_ahead=service_first)
        if service_first and self.left_ahead():
            change.apply(place, build, number, self.progress)
        address = verify.url(place.session, place.stack.outputs())
        with step("smoke test") as shown:
            tested = smoke.wait(address, build.digest, deadline=smoke.DEADLINE if there else FIRST_ANSWER)
            verify.wait(place, build.digest)
            shown.note(f"{address} answers as {build.digest[:19]}, {tested['database']}")
        self.story |= {"smoke": tested, "url": address}
        self.release = place.record.good(
            self.release,
            undoes=list(order.undoes),
            undone=self.progress.names("undone"),
            applied=self.progress.names("applied"),
        )

    def left_ahead(self) -> bool:
        """Whether the service is back and the database is to follow. Raises LastgoodError where the service is not."""
        digest = self.order.build.digest
        with step("service") as shown:
            ahead = verify.wait(self.place, digest, ahead=True).health.database == "ahead"
            shown.note(f"back as {digest[:19]}" + (", its database follows" if ahead else ""))
        return ahead

    def fail(self, cause: str) -> dict[str, Any]:
        """The way back; always raises. A second interruption stops the waiting, and says so."""
        say(outcome.turn(cause))
        last = self.place.record.last_good()
        restored = self.restore(cause, last)
        progress = self.progress
        self.release = self.place.record.failed(
            self.release, cause, undone=progress.names("undone"), applied=progress.names("applied")
        )
        self.story["restored"] = {"back": restored.back, "wrong": restored.wrong, "steps": restored.steps}
        self.told()
        raise outcome.failure(self.release.number, cause, restored, last)

    def restore(self, cause: str, last: Release | None) -> restore.Restored:
        """Brings last good back, and says whether it is."""
        digest = last.facts.digest if last else None
        try:
            if cause == outcome.INTERRUPTED:
                self.place.stack.cancel()
            return restore.restore(lambda: verify.facts(self.place), digest, self.ways(last))
        except KeyboardInterrupt:
            return restore.Restored(False, outcome.NOT_WAITED)
        except Exception as error:
            return restore.Restored(False, str(error))

    def ways(self, last: Release | None) -> dict[str, Callable[[], None]]:
        """What restore() may ask for."""
        place, progress = self.place, self.progress

        def wait() -> None:
            place.stack.watch(progress.show)

        def continue_rollback() -> None:
            place.stack.continue_rollback()
            wait()

        def delete() -> None:
            change.remove(place, progress)

        def redeploy() -> None:
            if last:
                change.apply(place, last.facts, f"{self.release.number}-restore", progress)

        def recreate() -> None:
            delete()
            redeploy()

        named = {"wait": wait, "continue rollback": continue_rollback}
        return named | {"delete": delete, "redeploy": redeploy, "recreate": recreate}

    def told(self) -> dict[str, Any]:
        """The release with what happened, also left in `.lastgood/releases/` for those who make pictures of it."""
        told = self.release.as_dict() | {"environment": self.place.name, "stack": self.place.stack.name}
        told |= {
            "seconds": round(time.monotonic() - self.begun, 3),
            "hops": self.progress.hops,
            "events": self.progress.events,
        }
        told |= self.story
        self.place.folder.mkdir(parents=True, exist_ok=True)
        file = self.place.folder / f"{self.place.name}-{self.release.number:08d}.json"
        file.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return told
