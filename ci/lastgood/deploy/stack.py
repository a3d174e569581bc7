"""One CloudFormation stack: change sets in, events out as they happen, and the ways back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import takewhile
from typing import Any

from lastgood.aws.errors import code, message, passing
from lastgood.aws.session import Session
from lastgood.errors import UsageError

DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
BACK = ("UPDATE_ROLLBACK_COMPLETE",)
STACK = "AWS::CloudFormation::Stack"
STUCK = "UPDATE_ROLLBACK_FAILED"
POLL = 0.5  # seconds between looks at the emulator; AWS is asked less often
BEGIN = 60.0  # seconds until an operation that was asked for shows in the stack's status or events
PATIENCE = 300.0  # seconds without an answer until `watch` gives up: CloudFormation goes on meanwhile
_NOTHING = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True)
class Event:
    """What happened to one resource. `seconds` is how long it took, where its beginning was seen."""

    id: str
    at: datetime
    resource: str
    type: str
    status: str
    reason: str
    physical: str
    seconds: float | None = None

    @property
    def failed(self) -> bool:
        """Whether this is a failure of its own, not one that another failure brought with it."""
        return self.status.endswith("_FAILED") and "ancelled" not in self.reason

    @property
    def turns_back(self) -> bool:
        """Whether a rollback of the stack begins here, or goes on here after it had stopped."""
        return self.type == STACK and self.status == "UPDATE_ROLLBACK_IN_PROGRESS"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        named = {"at": at, "resource": self.resource, "type": self.type, "status": self.status}
        return named | {"reason": self.reason, "seconds": self.seconds}


@dataclass(frozen=True)
class ChangeSet:
    """A change set that can be executed. `kind` is CREATE or UPDATE; `changes` are {action, resource, type, replacement}.

    `fresh`: there was no stack before, and the change set made an empty one to lie in.
    """

    name: str
    kind: str
    fresh: bool = False
    changes: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Unreverted:
    """A resource that a rollback could not send back, with the reason that CloudFormation gives."""

    name: str
    type: str
    reason: str


def settled(status: str | None) -> bool:
    """Whether nothing is going on in a stack of that status (None: no stack)."""
    return status is None or not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS"


class Stack:
    """A stack by its name; it need not exist. CloudFormation changes it by the service role that the `access` stack made for it."""

    def __init__(self, session: Session, name: str, access: Stack | None = None) -> None:
        self.cloudformation = session.client("cloudformation")
        self.name = name
        self.access = access
        self.pause = POLL if session.cloud else 2.0
        self.seen: str | None = None  # the status at the last look
        self._asked: tuple[str | None, float] | None = (
            None  # the status before what was asked for last, and when it was
        )
        self._seen: set[str] = set()
        self._begun: dict[str, datetime] = {}

    @classmethod
    def of_account(cls, session: Session) -> Stack:
        """The project's stack of what an account needs once, which `lastgood bootstrap` makes."""
        return cls(session, f"lastgood-{session.project}")

    @classmethod
    def of_environment(cls, session: Session) -> Stack:
        """The stack of what an administrator decides for the environment: its roles, its boundary, its security groups."""
        return cls(session, f"lastgood-{session.project}-{session.environment.name}")

    @cached_property
    def decided(self) -> dict[str, str]:
        """The access stack's outputs, asked once; empty where there is none."""
        return self.access.outputs() if self.access else {}

    def _by(self) -> dict[str, str]:
        role = self.decided.get("ServiceRoleArn")
        return {"RoleARN": role} if role else {}

    def describe(self) -> dict[str, Any] | None:
        """CloudFormation's description, or None where there is no such stack."""
        try:
            found: dict[str, Any] = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except Exception as error:
            if code(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return None if found["StackStatus"] == "DELETE_COMPLETE" else found

    def status(self) -> str | None:
        """The stack's status, or None where there is no such stack."""
        found = self.describe()
        self.seen = str(found["StackStatus"]) if found else None
        return self.seen

    def outputs(self) -> dict[str, str]:
        """The stack's outputs; empty where there is no such stack."""
        return outputs_of(self.describe() or {})

    def parameters(self) -> dict[str, str]:
        """The values that the stack was last made or updated with; empty where there is no such stack."""
        return parameters_of(self.describe() or {})

    def known(self, template: str) -> set[str]:
        """The names of a template's parameters."""
        found = self.cloudformation.get_template_summary(TemplateBody=template)
        return {one["ParameterKey"] for one in found["Parameters"]}

    def prepare(
        self, template: str, parameters: Mapping[str, str], tags: Mapping[str, str], *, take_over: bool = False
    ) -> ChangeSet | None:
        """Makes a change set and waits until it can be executed. None: there is nothing to change.

        With `take_over`, resources that are there by their names and belong to no stack become this stack's. Raises UsageError with
        CloudFormation's words where the template or a parameter is wrong.
        """
        status = self.status()
        kind = "CREATE" if status in (None, "REVIEW_IN_PROGRESS") else "UPDATE"
        name = f"lastgood-{uuid.uuid4().hex[:12]}"
        try:
            made = self.cloudformation.create_change_set(
                StackName=self.name,
                ChangeSetName=name,
                ChangeSetType=kind,
                TemplateBody=template,
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                Capabilities=["CAPABILITY_IAM"],
                **({"ImportExistingResources": True} if take_over else {}),
                **self._by(),
            )
        except Exception as error:
            if any(text in str(error) for text in _NOTHING):
                return None
            if code(error) == "ValidationError":
                raise UsageError(
                    f"CloudFormation refused the change to {self.name}: {message(error)}; mend the environment's parameters in "
                    "pyproject.toml"
                ) from None
            raise
        while True:
            found = self.cloudformation.describe_change_set(StackName=self.name, ChangeSetName=name)
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                break
            time.sleep(self.pause)
        if found["Status"] == "CREATE_COMPLETE":
            return ChangeSet(name, kind, status is None, self._changes(name))
        reason = found.get("StatusReason", "no reason given")
        nothing = any(text in reason for text in _NOTHING)
        causes = [] if nothing else self._causes((made or {}).get("Id", name))
        self.discard(ChangeSet(name, kind, status is None))
        if nothing:
            return None
        listed = "".join(f"\n  {cause}" for cause in causes)
        raise UsageError(
            f"CloudFormation made no change set for {self.name}: {reason}; mend the environment's parameters{listed}"
        )

    def _causes(self, change: str) -> list[str]:
        """What CloudFormation's early validation found wrong with a change set: its own reason only names the validation.

        `change` is the change set's ARN: DescribeEvents takes a bare name only together with nothing that says whose it is.
        """
        try:
            pages = self.cloudformation.get_paginator("describe_events").paginate(
                ChangeSetName=change, Filters={"FailedEvents": True}
            )
            return causes([event for page in pages for event in page.get("OperationEvents", [])])
        except Exception as error:  # the reason stands; why it has no more to say must not hide it
            return [f"(no more is known: DescribeEvents answered {code(error) or error})"]

    def _changes(self, name: str) -> list[dict[str, str]]:
        pages = self.cloudformation.get_paginator("describe_change_set").paginate(
            StackName=self.name, ChangeSetName=name
        )
        changes = [one["ResourceChange"] for page in pages for one in page.get("Changes", [])]
        return [
            {
                "action": one.get("Action", ""),
                "resource": one.get("LogicalResourceId", ""),
                "type": one.get("ResourceType", ""),
                "replacement": one.get("Replacement", ""),
            }
            for one in changes
        ]

    def discard(self, change: ChangeSet) -> None:
        """Deletes a change set that is not wanted, and the empty stack that it made; not one in which somebody else's change sets lie."""
        self.cloudformation.delete_change_set(StackName=self.name, ChangeSetName=change.name)
        if change.fresh and self.status() == "REVIEW_IN_PROGRESS":
            self.cloudformation.delete_stack(StackName=self.name, **self._by())

    def execute(self, change: ChangeSet) -> None:
        """Starts the change; `watch` follows it."""
        self._begin("REVIEW_IN_PROGRESS" if change.kind == "CREATE" else self.seen)
        self.cloudformation.execute_change_set(
            StackName=self.name, ChangeSetName=change.name, ClientRequestToken=change.name
        )

    def _begin(self, before: str | None) -> None:
        """Remembers the stack's status before something is asked for: CloudFormation answers first, and begins a moment later."""
        self.mark()
        self._asked = (before, time.monotonic())

    def _has_begun(self, status: str | None, events: Iterable[Event]) -> bool:
        """Whether what was asked for last shows: else `watch` would take the end of the operation before for the end of this one."""
        if self._asked is None:
            return True
        before, since = self._asked
        told = any(event.type == STACK for event in events)
        if status != before or told or time.monotonic() - since >= BEGIN:
            self._asked = None
        return self._asked is None

    def mark(self) -> None:
        """Remembers the newest event, so that `watch` shows what comes after it. One question, however old the stack is."""
        newest = next(self._newest_first(), None)
        if newest:
            self._seen.add(newest.id)
        self._begun = {}

    def _newest_first(self) -> Iterator[Event]:
        """The stack's events; asks for a further page only when somebody wants to see it."""
        try:
            for page in self.cloudformation.get_paginator("describe_stack_events").paginate(StackName=self.name):
                yield from (_event(one) for one in page["StackEvents"])
        except Exception as error:
            if code(error) != "ValidationError":  # the stack is gone: so are its events
                raise

    def _events(self) -> list[Event]:
        """Events that were not seen yet, oldest first. Pages back no further than to the first one that was."""
        return list(takewhile(lambda event: event.id not in self._seen, self._newest_first()))[::-1]

    def unreverted(self) -> list[Unreverted]:
        """The resources that made the newest rollback stop, in the order in which they failed."""
        since = takewhile(lambda event: not event.turns_back, self._newest_first())
        return unreverted(list(since)[::-1])

    def fresh(self) -> list[Event]:
        """The events since the last call, or since `mark`, with durations."""
        events = []
        for event in self._events():
            self._seen.add(event.id)
            if event.status.endswith("_IN_PROGRESS"):
                self._begun.setdefault(event.resource, event.at)
                events.append(event)
            else:
                begun = self._begun.pop(event.resource, None)
                seconds = round((event.at - begun).total_seconds(), 3) if begun else None
                events.append(Event(**{**event.__dict__, "seconds": seconds}))
        return events

    def watch(self, show: Callable[[list[Event]], None]) -> str | None:
        """Hands events to `show` as they come, until nothing goes on any more; returns the status then.

        A network that is gone for less than PATIENCE seconds is waited for.
        """
        heard = time.monotonic()
        untold: list[Event] = []  # what `show` could not take, for it asks somebody, too
        while True:
            try:
                status = self.status()
                untold += self.fresh()
                begun = self._has_begun(status, untold)
                show(untold)
                untold = []
            except Exception as error:
                if not passing(error) or time.monotonic() - heard >= PATIENCE:
                    raise
            else:
                if settled(status) and begun:
                    return status
                heard = time.monotonic()
            time.sleep(self.pause)

    def cancel(self) -> None:
        """Stops what is going on: an update goes back, a creation is deleted. Without effect when it has just ended."""
        status = self.status()
        try:
            if status == "UPDATE_IN_PROGRESS":
                self.cloudformation.cancel_update_stack(StackName=self.name)
            elif status == "CREATE_IN_PROGRESS":
                self.cloudformation.delete_stack(StackName=self.name, **self._by())
        except Exception as error:
            if code(error) != "ValidationError":
                raise

    def continue_rollback(self, skipping: Sequence[str] = ()) -> None:
        """Goes on with a rollback that stopped; `watch` follows it. The resources named in `skipping` are left as they are."""
        self._begin(self.seen)
        skipped = {"ResourcesToSkip": list(skipping)} if skipping else {}
        self.cloudformation.continue_update_rollback(StackName=self.name, **skipped, **self._by())

    def delete(self) -> None:
        """Deletes the stack, in whatever state; `watch` follows it. Retained resources and the database stay."""
        self._begin(self.seen)
        self.cloudformation.delete_stack(StackName=self.name, **self._by())


def unreverted(events: Iterable[Event]) -> list[Unreverted]:
    """Of a rollback's events, oldest first: the resources whose last word is that they could not be sent back.

    Only these may be skipped. CloudFormation refuses to skip what failed on the way forward or was cancelled, which shows the same status.
    """
    last: dict[str, Event] = {}
    for event in events:
        if event.type != STACK:
            last[event.resource] = event
    return [
        Unreverted(event.resource, event.type, event.reason)
        for event in last.values()
        if event.status == "UPDATE_FAILED" and event.failed
    ]


def causes(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What CloudFormation's DescribeEvents tells of a change set that failed: a line for each cause, each once."""
    found: dict[str, None] = {}
    for event in events:
        reason = (
            event.get("ValidationStatusReason") or event.get("HookStatusReason") or event.get("ResourceStatusReason")
        )
        if not reason:
            continue
        what = event.get("LogicalResourceId") or event.get("ValidationName") or event.get("HookType") or "the template"
        kind = f" ({event['ResourceType']})" if event.get("ResourceType") else ""
        where = f" (at {event['ValidationPath']})" if event.get("ValidationPath") else ""
        found[f"{what}{kind}: {reason}{where}"] = None
    return list(found)


def outputs_of(described: Mapping[str, Any]) -> dict[str, str]:
    """The outputs in CloudFormation's description of a stack."""
    return {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", [])}


def parameters_of(described: Mapping[str, Any]) -> dict[str, str]:
    """The parameters in CloudFormation's description of a stack."""
    return {one["ParameterKey"]: one.get("ParameterValue", "") for one in described.get("Parameters", [])}


def _event(one: Mapping[str, Any]) -> Event:
    return Event(
        id=one["EventId"],
        at=one["Timestamp"],
        resource=one["LogicalResourceId"],
        type=one.get("ResourceType", ""),
        status=one["ResourceStatus"],
        reason=one.get("ResourceStatusReason", ""),
        physical=one.get("PhysicalResourceId", ""),
    )
