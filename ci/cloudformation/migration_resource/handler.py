"""The handler: takes a request or an event, has the next step decided, and does it."""

from __future__ import annotations

import os

from .answer import Unanswered, answer
from .belonging import wrong_place
from .decision import Item, hop_by, next_step
from .record import load_operation, note_answer, note_task, now, open_operation, save_operation
from .tasks import forget_definition, hop_number, read_outcome, service_role, start_task, stopped_task


def handler(event: Item, context: object = None) -> None:
    """Takes CloudFormation's requests and ECS's events. CloudFormation gets an answer whatever happens here."""
    if "RequestType" in event:
        try:
            on_request(event)
        except Unanswered:
            raise
        except Exception as error:
            answer(event, "FAILED", f"the migration could not be started: {error}")
    elif event.get("detail-type") == "ECS Task State Change":
        on_stopped(event["detail"])


def on_request(event: Item) -> None:
    """Begins what CloudFormation asks for; goes on where it has asked before."""
    if event["RequestType"] == "Delete":  # of the stack or of a failed Create: the database is nobody's to empty
        answer(event, "SUCCESS", "the database stays as it is")
        return
    wanted, old = event["ResourceProperties"], event.get("OldResourceProperties")
    project = os.environ["RELEASE_RECORD"].removeprefix("lastgood-")
    wrong = wrong_place(project, wanted, service_role(event["StackId"]))
    if wrong:
        raise PermissionError(wrong)
    operation = open_operation(event, _build(wanted), _build(old) if old else None, hop_by(_build(wanted), "forward"))
    proceed(operation or load_operation(event["RequestId"]))


def on_stopped(task: Item) -> None:
    """Goes on where a task has stopped, if it is one of ours."""
    operation = load_operation(task.get("startedBy", ""))
    if operation is None or operation["state"] == "answered":
        return
    if operation["state"] == "running" and hop_number(task) == len(operation["hops"]) - 1:
        try:
            advance(operation, task)
        except Unanswered:
            raise
        except Exception as error:
            close(operation, "FAILED", f"the release task's end could not be handled: {error}")
    else:  # an earlier hop's event, delivered again: perhaps the first delivery died before it had started the next
        proceed(operation)


def proceed(operation: Item | None) -> None:
    """Does what the item says is next. Doing it twice has no effect."""
    if operation is None or operation["state"] == "answered":
        return
    if operation["state"] == "answering":
        close(operation, operation["status"], operation["reason"])
        return
    hop = operation["hops"][-1]
    if "task" not in hop:
        try:
            note_task(operation, start_task(operation))
        except Exception as error:
            close(operation, "FAILED", f"{hop['direction']} by build {hop['build']} was not started: {error}")
        return
    task = stopped_task(operation)
    if task is not None:
        advance(operation, task)


def advance(operation: Item, task: Item) -> None:
    """Writes down how the last hop ended, decides, and does it. Of two deliveries at once, one wins."""
    hop = operation["hops"][-1]
    outcome = read_outcome(operation, task)
    result = outcome["result"] or {}
    hop |= {"task": task["taskArn"], "exit": outcome["exit"], "ended": now()}
    hop |= {name: result[name] for name in ("status", "undone", "applied") if result.get(name)}
    if outcome["exit"] == 0 and result.get("reason"):
        hop["reason"] = result["reason"]
    step = next_step(operation, outcome)
    if "run" in step:
        operation["hops"].append(step["run"])
    else:
        operation |= {"state": "answering", "status": step["answer"], "reason": step["reason"]}
    if not save_operation(operation):
        return
    if hop["digest"] != operation["wanted"]["digest"]:
        forget_definition(task["taskDefinitionArn"])
    proceed(operation)


def close(operation: Item, status: str, reason: str) -> None:
    """Answers CloudFormation, and remembers that it was answered."""
    answer(operation["event"], status, reason)
    note_answer(operation, status, reason)


def _build(properties: Item) -> Item:
    return {"build": properties["Build"], "digest": properties["ImageDigest"]}
