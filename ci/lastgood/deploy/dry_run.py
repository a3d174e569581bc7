"""What a deploy or a rollback would do, without doing it: the change set is made, shown and deleted, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lastgood.deploy import change, leftovers, verify
from lastgood.deploy.admission import admit
from lastgood.deploy.change import Wanted
from lastgood.deploy.order import Order
from lastgood.deploy.place import Place
from lastgood.deploy.removal import removal
from lastgood.deploy.stack import BACK, DONE, STUCK, settled
from lastgood.record.forecast import Forecast, between
from lastgood.record.lock import holder
from lastgood.record.release import BuildFacts, Release
from lastgood.record.table import Record
from lastgood.report.terminal import counted, mapping_lines, table

_TASK = (
    "which tables it locks, and how long, only the database tells: that takes a release task in the cluster, of the environment's Cpu and "
    "Memory for about a minute"
)
_NOTHING = Forecast().as_dict()


def dry_run(place: Place, order: Order) -> dict[str, Any]:
    """The facts of a release that is not made. Raises Refused and UsageError as the release would before it begins.

    It takes no lock: what it says is true until somebody else deploys.
    """
    signed = admit(place, order.build)
    record = place.record
    last, newest, held = record.last_good(), next(iter(record.releases(limit=1)), None), holder(record)
    number = newest.number + 1 if newest else 1
    status = place.stack.status()
    first = before(place, status, order, left=newest if leftovers.is_left(newest, held) else None)
    changes, unknown = changes_of(place, order, number, status)
    facts = {
        "dry_run": True,
        "environment": place.name,
        "stack": place.stack.name,
        "status": status,
        "release": number,
        "kind": order.kind,
        "build": order.build.as_dict(),
        "signed": signed,
        "nothing": order.is_done(last),
        "lock": held,
        "first": first,
        "changes": changes,
        "changes_unknown": unknown,
        "database": database(record, order.build, last),
        "service_first": order.service_first and not order.anew and status is not None,
        "undoes": list(order.undoes),
        "last_good": last.as_dict() if last else None,
        "url": verify.url(place.session, place.stack.outputs()),
    }
    return facts | {"asked": asked(facts)}


def before(place: Place, status: str | None, order: Order, *, left: Release | None) -> list[str]:
    """What would happen before the release begins: to what a dead command left, and to the stack as it stands."""
    found = []
    if not settled(status):
        found.append(f"the stack is {status}: its end is waited for")
    if left:
        found.append(f"release {left.number} is pending, and its command is gone: it is ended by what runs")
    if order.anew and status is not None:
        found.append(
            "the stack is deleted, and its load balancer's name with it; the database, the record and the log stay"
        )
    elif status == STUCK:
        found.append(
            f"the stack is {STUCK}: its rollback is continued, without what is proved to be as last good had it"
        )
    elif settled(status) and status not in (None, "REVIEW_IN_PROGRESS", *DONE, *BACK):
        decided = removal(status, serving=verify.facts(place).serving)
        done = "it is deleted" if decided.allowed else "the release is refused"
        found.append(f"the stack is {status}: {done}: {decided.reason}")
    return found


def changes_of(place: Place, order: Order, number: int, status: str | None) -> tuple[list[dict[str, str]], str]:
    """The changes that CloudFormation would make to the stack, and why they are not known, empty where they are."""
    if order.anew or status not in (None, "REVIEW_IN_PROGRESS", *DONE, *BACK):
        state = "is to be deleted first" if order.anew else f"is {status}"
        return [], f"CloudFormation makes no change set for a stack that {state}"
    service_first = order.service_first and status is not None
    wanted = Wanted(order.build, str(number), order.accept_loss, service_first)
    made = change.prepare(place, wanted)
    if made is None:
        return [], ""
    place.stack.discard(made)
    return made.changes, ""


def database(record: Record, wanted: BuildFacts, last: Release | None) -> dict[str, Any]:
    """What the release task would find to do in a database that is in step with last good: {known, why, back, forward, losses, breaks}."""
    if last is None:
        return {"known": False, "why": "there is no last good, so that what the database holds is not known"} | _NOTHING
    if last.facts.manifest_sha == wanted.manifest_sha:
        return {"known": True, "why": "both builds know the same migrations: it stays as it is"} | _NOTHING
    before, after = (record.build(one.digest) or one for one in (last.facts, wanted))
    try:
        return {"known": True, "why": _TASK} | between(before, after).as_dict()
    except ValueError as error:
        return {"known": False, "why": str(error)} | _NOTHING


def asked(facts: Mapping[str, Any]) -> list[str]:
    """What would be asked of whom, in order."""
    found, build = facts["database"], facts["build"]["build"]
    moves = f"a release task of build {build}"
    if found["back"] or not found["known"]:
        moves += ", after one of the build that applied what must go, where something must"
    return [
        f"CloudFormation: {_changes(facts)}",
        f"the migration function: {moves}",
        f"ECS: tasks of build {build}, and that the old ones leave when those are well; the old ones again where they are not",
        f"the application: to answer as build {build}, in step with its database{' at ' + facts['url'] if facts['url'] else ''}",
    ]


def render(facts: dict[str, Any]) -> str:
    """The facts for a terminal."""
    build, last, held = facts["build"], facts["last_good"], facts["lock"]
    lines = {
        "dry run": f"release {facts['release']}, {facts['kind']} of build {build['build']} (version {build['version']}) to "
        f"{facts['environment']}; nothing was touched",
        "last good": f"release {last['number']}, build {last['build']}" if last else "none",
    }
    if facts["nothing"]:
        lines["outcome"] = "it is last good already: nothing to do without --force"
    if held:
        lines["lock"] = f"refused as long as {held['who']} has it, since {held['since']} ({held['what']})"
    if facts["first"]:
        lines["first"] = "; ".join(facts["first"])
    lines["stack"] = f"{facts['stack']}: {facts['status'] or 'none yet'}"
    lines["database"] = _database(facts["database"])
    if facts["undoes"]:
        lines["undone"] = ", ".join(f"release {number}" for number in facts["undoes"])
    text = mapping_lines(lines) + "\n\nwhat would be asked of whom\n" + "\n".join(f"  {one}" for one in facts["asked"])
    if facts["changes"]:
        rows = [(one["action"], one["resource"], one["type"], one["replacement"]) for one in facts["changes"]]
        text += "\n\n" + table(("change", "resource", "type", "replaced"), rows)
    for name, title in (("losses", "lost for good"), ("breaks", "the build that is left can't live with")):
        if facts["database"][name]:
            text += f"\n\n{title}\n" + "\n".join(f"  {one}" for one in facts["database"][name])
    return text


def _changes(facts: Mapping[str, Any]) -> str:
    if facts["changes_unknown"]:
        return str(facts["changes_unknown"])
    updates = "one update"
    if facts["service_first"]:
        updates = (
            "one update, or two where the build can live with the newer schema: the service first, then the database"
        )
    return f"{counted(len(facts['changes']), 'change')} in {updates}"


def _database(found: dict[str, Any]) -> str:
    if not found["back"] and not found["forward"]:
        return (
            found["why"] if not found["known"] or found["why"] != _TASK else "nothing to move, by the builds' manifests"
        )
    steps = [f"undo {', '.join(found['back'])}"] if found["back"] else []
    steps += [f"apply {', '.join(found['forward'])}"] if found["forward"] else []
    return f"{'; '.join(steps)} (by the builds' manifests; {found['why']})"
