"""The handler: whatever wakes it, it has the next action decided by what is written down and what ECS knows, and does it."""

from __future__ import annotations

import os
import time

from .answer import Unanswered, answer
from .belonging import wrong_place
from .decision import Item, hop_by, is_older, next_action, next_step, under_way, with_log
from .record import (
    address_of,
    at_rest,
    forget_address,
    is_pushed,
    load_operation,
    newest_request,
    note_task,
    now,
    open_operation,
    open_requests,
    request_of,
    write,
)
from .tasks import (
    forget_definition,
    is_fleeting,
    look_at_task,
    prepare_definition,
    read_outcome,
    service_role,
    start_task,
    stop_task,
)

STEPS = 20  # actions in one invocation; more would be a mistake of ours
PATIENCE = 15  # seconds that an invocation waits; what takes longer is left to the schedule
ABANDONED = 7200  # seconds after which the address that CloudFormation gave is no longer good


def handler(event: Item, context: object = None) -> None:
    """Takes CloudFormation's requests, ECS's events and the schedule's. Raises what may pass: Lambda delivers again."""
    if "RequestType" in event:
        try:
            on_request(event)
        except Unanswered:
            raise
        except Exception as error:
            if is_fleeting(error):
                raise
            answer(event, event["ResponseURL"], "FAILED", f"the migration could not be started: {error}")
    elif event.get("detail-type") == "ECS Task State Change":
        on_stopped(event["detail"])
    elif event.get("detail-type") == "Scheduled Event":
        for request in open_requests():
            try:
                proceed(load_operation(request), patience=0)
            except Exception as error:  # the others are not to wait for it; in a minute it is looked at again
                print(f"request {request}: {type(error).__name__}: {error}")


def on_request(event: Item) -> None:
    """Begins what CloudFormation asks for; goes on where it has asked before."""
    wanted, old = event["ResourceProperties"], event.get("OldResourceProperties")
    deletes = event["RequestType"] == "Delete"  # of the stack or of a failed Create: the database is nobody's to empty
    wrong = wrong_place(os.environ["RELEASE_RECORD"].removeprefix("lastgood-"), wanted, service_role(event["StackId"]))
    if wrong and not deletes:
        raise PermissionError(wrong)
    if wrong:  # its Create was refused, and a Delete may not reach into another environment either
        answer(event, event["ResponseURL"], "SUCCESS", "nothing was done for it")
        return
    if old and is_older(wanted.get("Release", ""), old.get("Release", "")):
        # CloudFormation's own way back to what was asked for then. Nobody lets the database follow it later.
        event = event | {"ResourceProperties": wanted | {"LeaveAhead": "no"}}
    hops = [] if deletes else [hop_by(_build(wanted), "forward")]
    proceed(open_operation(event, _build(wanted), _build(old) if old else None, hops))


def on_stopped(task: Item) -> None:
    """Looks at the operation whose task has stopped, and at the one that has waited for it."""
    operation = load_operation(task.get("startedBy", ""))
    if operation is None or operation["event"]["ResourceProperties"]["Cluster"] != task.get("clusterArn"):
        return
    if task["taskArn"] != (operation["hops"] or [{}])[-1].get("task", task["taskArn"]):
        return  # of an earlier hop, or somebody else's with our request's name on it
    proceed(operation, told=True)
    newest = newest_request(operation["event"]["ResourceProperties"]["Environment"])
    if newest != request_of(operation):
        proceed(load_operation(newest))


def proceed(operation: Item | None, patience: int = PATIENCE, told: bool = False) -> None:
    """Does what is next until there is nothing to do now. Doing it twice, or at once with another, has no effect.

    `patience`: seconds for a hop that is to wait. `told`: ECS says that the task has stopped, though it may not show yet.
    """
    for _ in range(STEPS):
        if operation is None:
            return
        facts, task = look(operation, patience, told)
        told = False
        action = next_action(operation, facts)
        if not action:
            return
        try:
            ACTIONS[action](operation, task)
        except Unanswered:
            if not operation.get("newer"):
                raise
            forget(operation, task)  # CloudFormation listens to the newer request only
        except Exception as error:
            if is_fleeting(error):
                raise
            if operation["state"] in ("answering", "answered"):
                raise
            decide(operation, "FAILED", f"build {operation['wanted']['build']}: {error}")
        if action == "stop":
            return  # ECS's event says when it has
        operation = load_operation(request_of(operation))


def look(operation: Item, patience: int, told: bool) -> tuple[Item, Item | None]:
    """The facts of an operation, as `next_action` takes them, and its task as ECS describes it."""
    seconds = int(time.time()) - int(operation["deadline"])
    facts: Item = {"late": seconds >= 0, "abandoned": seconds >= ABANDONED, "task": "none", "early": False}
    task = None
    if under_way(operation) and operation["state"] != "answering":
        facts["task"], task = look_at_task(operation, told)
        if task and "task" not in operation["hops"][-1]:
            note_task(operation, task["taskArn"])
    elif operation["state"] == "running":
        rest = int(operation["hops"][-1].get("not_before", 0)) - int(time.time())
        facts["early"] = rest > patience
        if 0 < rest <= patience:
            time.sleep(rest)
    ahead = load_operation(operation.get("ahead", ""))
    if not at_rest(ahead) and operation["state"] in ("waiting", "stopping"):
        proceed(ahead)
        ahead = load_operation(operation["ahead"])
    facts["ahead"] = not at_rest(ahead)
    return facts, task


def begin(operation: Item, task: Item | None) -> None:
    """No task of the request before is under way."""
    if operation["hops"]:
        write(operation, state="running", ahead="")
    else:
        decide(operation, "SUCCESS", "the database stays as it is")


def start(operation: Item, task: Item | None) -> None:
    """Starts the last hop: written down first, and from what is written down, so that a second time is the same task."""
    hops = operation["hops"]
    hop = hops[-1]
    if "started" not in hop:
        hop |= {"started": now(), "since": int(time.time()), "definition": prepare_definition(operation)}
        if not write(operation, hops=hops):
            forget_definition(operation, hop)
            return
    name, refusal = start_task(operation)
    if name:
        note_task(operation, name)
    else:
        ended: Item = {"exit": None, "code": "TaskFailedToStart", "stopped": refusal, "log": [], "result": None}
        _decide_next(load_operation(request_of(operation)) or operation, ended)


def advance(operation: Item, task: Item | None) -> None:
    """Writes down how the last hop ended, decides, and does it. Of two deliveries at once, one wins."""
    _decide_next(operation, read_outcome(operation, task or {}))


def _decide_next(operation: Item, outcome: Item) -> None:
    hop = _ended(operation, outcome)
    result = outcome["result"] or {}
    outcome["pushed"] = bool(result.get("needs_digest")) and is_pushed(result["needs_digest"])
    step = next_step(operation, outcome)
    if operation["state"] != "running":  # a newer request has come
        write(operation, hops=operation["hops"])
    elif "run" in step:
        wait = step["run"].pop("wait")
        step["run"] |= {"not_before": int(time.time()) + wait} if wait else {}
        write(operation, hops=[*operation["hops"], step["run"]])
    else:
        write(operation, hops=operation["hops"], state="answering", status=step["answer"], reason=step["reason"])
    forget_definition(operation, hop)


def stop(operation: Item, task: Item | None) -> None:
    """Has the task stopped; ECS's event says when it has."""
    if operation["state"] == "running":
        limit = f"{operation['limit']} s after the request: make the migration shorter, or MigrationTimeout longer"
        if not write(operation, state="stopping", why=f"not at its end {limit}"):
            return
    stop_task(operation, task or {})


def finish(operation: Item, task: Item | None) -> None:
    """Nothing of it is under way any more: it has failed, if it had not just come to its end."""
    why = operation["why"]
    if not under_way(operation):
        decide(operation, "FAILED", why)
        return
    outcome = read_outcome(operation, task or {})
    hop = _ended(operation, outcome)
    step = next_step(operation, outcome | {"pushed": False})
    if step.get("answer") != "SUCCESS":
        said = (outcome["result"] or {}).get("reason") or outcome["stopped"]
        cause = f"{hop['direction']} by build {hop['build']}: stopped, {why}" + (f" ({said})" if said else "")
        step = {"answer": "FAILED", "reason": with_log(cause, outcome["log"])}
    write(operation, hops=operation["hops"], state="answering", status=step["answer"], reason=step["reason"])
    forget_definition(operation, hop)


def note_end(operation: Item, task: Item | None) -> None:
    """It was answered while a task was under way, which is over now."""
    _ended(operation, read_outcome(operation, task or {}))
    write(operation, hops=operation["hops"])


def give_up(operation: Item, task: Item | None) -> None:
    """No time is left, or nobody knows how the task ended."""
    if operation["state"] == "waiting":
        decide(operation, "FAILED", f"a release task of request {operation['ahead']} did not stop: look at it in ECS")
        return
    hop = operation["hops"][-1]
    why = "there was no time left to start it"
    if under_way(operation):
        hop |= {"ended": now(), "exit": None}
        why = "ECS does not know its task any more, so nobody knows how it ended: deploy again, which looks at the database"
    reason = f"{hop['direction']} by build {hop['build']}: {why}"
    write(operation, hops=operation["hops"], state="answering", status="FAILED", reason=reason)


def tell(operation: Item, task: Item | None) -> None:
    """Answers CloudFormation, and remembers that it was answered."""
    address = address_of(operation)
    if address:
        answer(operation["event"], address, operation["status"], operation["reason"])
    forget(operation, task)


def forget(operation: Item, task: Item | None) -> None:
    """It is at its end: the address goes, which lets anyone answer."""
    write(operation, state="answered", ended=now())
    forget_address(request_of(operation))


def decide(operation: Item, status: str, reason: str) -> None:
    """Fixes the answer."""
    write(operation, state="answering", status=status, reason=reason)


ACTIONS = {
    "begin": begin,
    "start": start,
    "advance": advance,
    "stop": stop,
    "finish": finish,
    "note_end": note_end,
    "give_up": give_up,
    "tell": tell,
    "forget": forget,
}


def _ended(operation: Item, outcome: Item) -> Item:
    """The last hop with how it ended."""
    hop: Item = operation["hops"][-1]
    result = outcome["result"] or {}
    hop |= {"exit": outcome["exit"], "ended": now()}
    hop |= {name: result[name] for name in ("status", "undone", "applied") if result.get(name)}
    if outcome["exit"] == 0 and result.get("reason"):
        hop["reason"] = result["reason"]
    elif outcome["exit"] is None and outcome["stopped"]:
        hop["reason"] = outcome["stopped"]
    return hop


def _build(properties: Item) -> Item:
    return {"build": properties["Build"], "digest": properties["ImageDigest"]}
