"""A rollback of the stack that has stopped: what it could not send back, and whether that is as last good had it."""

from __future__ import annotations

from lastgood.deploy import skip, template, verify
from lastgood.deploy.place import Place
from lastgood.deploy.skip import Skip
from lastgood.deploy.verify import Facts


def look(place: Place, digest: str | None, facts: Facts) -> Skip:
    """Asks CloudFormation, ECS and the record what is to be known, and decides what may be skipped.

    `digest` is last good's; without one there is nothing to prove anything by.
    """
    stopped = place.stack.unreverted()
    if digest is None:
        return Skip((), tuple(f"{one.name} ({one.type}): there is no last good to compare it with" for one in stopped))
    others = {template.service(one.name): verify.service(place, one.name) for one in facts.processes}
    return skip.decide(stopped, facts, verify.service(place), digest, moving=moving(place), others=others)


def moving(place: Place) -> list[str]:
    """What moves the database, or is about to: the release tasks that have not stopped, else the request that goes from one to the next."""
    tasks = verify.release_tasks(place)
    operation = place.record.operation()
    if not tasks and operation and operation.get("state") in ("running", "answering"):
        return [f"request {str(operation['pk']).partition('#')[2]} to the migration function, which is not answered"]
    return tasks
