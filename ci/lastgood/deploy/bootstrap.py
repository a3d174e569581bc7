"""What an account needs once for a project: registry, release record, migration function, roles."""

from __future__ import annotations

from typing import Any

from lastgood import bundle
from lastgood.aws.session import Session
from lastgood.deploy.progress import line_of
from lastgood.deploy.removal import removal
from lastgood.deploy.stack import BACK, DONE, Event, Stack, settled
from lastgood.errors import FailedNotRestored, FailedRestored
from lastgood.report.terminal import counted, say, step


def bootstrap(session: Session) -> dict[str, Any]:
    """Creates or updates the stack `lastgood-<project>` in the environment's account. Returns its name, status and outputs.

    Parameters that a person has set in the stack are kept. Raises FailedRestored where the update went back.
    """
    stack = Stack.of_account(session)
    template = bundle.path("cloudformation/bootstrap.yml").read_text(encoding="utf-8")
    failures: list[str] = []
    with step(f"stack {stack.name}") as shown:
        status = stack.status()
        if not settled(status):
            status = stack.watch(lambda _events: None)
        if removal(status, serving=False).allowed and status != "REVIEW_IN_PROGRESS":
            stack.delete()
            stack.watch(lambda _events: None)
        given = {"Project": session.project} | ({"DeletionProtection": "false"} if session.cloud else {})
        known = stack.known(template)
        kept = {key: value for key, value in stack.parameters().items() if key in known}
        change = stack.prepare(template, kept | given, {"lastgood:project": session.project})
        if change is None:
            shown.note("as it should be")
        else:
            names = {one["resource"] for one in change.changes}

            def show(events: list[Event]) -> None:
                failures.extend(f"{event.resource}: {event.reason}" for event in events if event.failed)
                for line in filter(None, (line_of(event, names) for event in events)):
                    say(line)

            stack.execute(change)
            status = stack.watch(show)
            cause = failures[0] if failures else f"the stack ended as {status or 'deleted'}"
            if status in BACK:
                raise FailedRestored(f"{stack.name} was not updated: {cause}\nit is as it was before")
            if status not in DONE:
                raise FailedNotRestored(f"{stack.name} is {status or 'absent'}: {cause}")
            shown.note(counted(len(change.changes), "change"))
    return {"stack": stack.name, "status": str(stack.status()), **stack.outputs()}
