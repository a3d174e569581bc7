"""The way back: what comes next, as a table, and the shell that does it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lastgood.deploy import restore
from lastgood.deploy.removal import LEFT_ALONE, REMOVABLE, Removal, removal
from lastgood.deploy.restore import Eyes, next_of_a_stuck_rollback, next_step
from lastgood.deploy.skip import Skip, decide
from lastgood.deploy.smoke import Health
from lastgood.deploy.stack import Unreverted
from lastgood.deploy.verify import Facts, Service
from lastgood.record.lock import Lost

GOOD = "sha256:" + "a" * 64
BAD = "sha256:" + "b" * 64
NOTHING = Skip()

TABLE = [
    # stack, what is wrong, done so far, there is a last good, next
    ("UPDATE_ROLLBACK_IN_PROGRESS", "x", [], True, "wait"),
    ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "x", [], True, "wait"),
    ("DELETE_IN_PROGRESS", "x", ["redeploy"], False, "wait"),
    ("UPDATE_ROLLBACK_COMPLETE", "", [], True, "done"),
    ("UPDATE_ROLLBACK_COMPLETE", "x", [], True, "redeploy"),
    ("UPDATE_ROLLBACK_COMPLETE", "x", ["redeploy"], True, "give up"),
    ("UPDATE_COMPLETE", "x", [], True, "redeploy"),
    ("UPDATE_COMPLETE", "", ["redeploy"], True, "done"),
    ("CREATE_COMPLETE", "", ["recreate"], True, "done"),
    ("CREATE_COMPLETE", "x", ["recreate"], True, "give up"),
    ("UPDATE_ROLLBACK_FAILED", "x", [], True, "continue rollback"),
    ("UPDATE_ROLLBACK_FAILED", "", [], True, "continue rollback"),
    ("UPDATE_ROLLBACK_FAILED", "", [], False, "continue rollback"),
    ("UPDATE_ROLLBACK_FAILED", "x", ["continue rollback"], True, "give up"),
    ("UPDATE_ROLLBACK_FAILED", "", ["continue rollback"], True, "give up"),
    ("UPDATE_ROLLBACK_FAILED", "", ["continue rollback"], False, "give up"),
    ("ROLLBACK_COMPLETE", "x", [], True, "recreate"),
    ("DELETE_FAILED", "x", ["recreate"], True, "give up"),
    ("CREATE_FAILED", "x", [], True, "give up"),
    ("CREATE_FAILED", "", [], False, "give up"),
    ("UPDATE_FAILED", "x", [], True, "give up"),
    ("IMPORT_ROLLBACK_COMPLETE", "x", [], True, "give up"),
    (None, "x", [], True, "recreate"),
    (None, "x", ["recreate"], True, "give up"),
    (None, "", [], False, "done"),
    ("ROLLBACK_COMPLETE", "", [], False, "delete"),
    ("REVIEW_IN_PROGRESS", "", [], False, "delete"),
    ("DELETE_FAILED", "", ["delete"], False, "give up"),
    ("CREATE_COMPLETE", "", [], False, "give up"),
]


@pytest.mark.parametrize(("stack", "wrong", "done", "last_good", "expected"), TABLE)
def test_next_step(stack: str | None, wrong: str, done: list[str], last_good: bool, expected: str) -> None:
    removable = removal(stack, serving=False).allowed
    assert next_step(stack, wrong, done, last_good=last_good, removable=removable) == expected


@pytest.mark.parametrize("status", [*REMOVABLE, *LEFT_ALONE, "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
@pytest.mark.parametrize("wrong", ["", "x"])
@pytest.mark.parametrize("last_good", [True, False])
def test_a_stack_that_serves_is_never_deleted(status: str, wrong: str, last_good: bool) -> None:
    """Whatever was tried, whatever is wrong, whatever is proved."""
    done: list[str] = []
    while (step := next_step(status, wrong, done, last_good=last_good, removable=False, proved=["Service"])) not in (
        "done",
        "give up",
    ):
        assert step in ("continue rollback", "continue rollback without Service", "redeploy")
        done.append(step)


@pytest.mark.parametrize(
    ("done", "proved", "expected"),
    [
        ([], [], "continue rollback"),
        ([], ["Service"], "continue rollback"),
        (["continue rollback"], [], "give up"),
        (["continue rollback"], ["Service"], "continue rollback without Service"),
        (["continue rollback"], ["Migration", "Service"], "continue rollback without Migration, Service"),
        (["continue rollback", "continue rollback without Service"], ["Service"], "give up"),
        # What came to light only when the first was out of the way.
        (
            ["continue rollback", "continue rollback without Migration"],
            ["Service"],
            "continue rollback without Service",
        ),
    ],
)
def test_next_step_of_a_stuck_rollback(done: list[str], proved: list[str], expected: str) -> None:
    assert next_of_a_stuck_rollback(done, proved) == expected


@pytest.mark.parametrize(
    ("status", "serving", "allowed", "reason"),
    [
        (None, False, False, "there is no stack"),
        *((status, False, True, reason) for status, reason in REMOVABLE.items()),
        *(
            (status, True, False, f"{reason}; but something of it still runs or answers")
            for status, reason in REMOVABLE.items()
        ),
        *((status, False, False, reason) for status, reason in LEFT_ALONE.items()),
        ("UPDATE_COMPLETE", False, False, "it stands, or something is going on in it"),
        ("UPDATE_ROLLBACK_COMPLETE", False, False, "it stands, or something is going on in it"),
        ("CREATE_IN_PROGRESS", False, False, "it stands, or something is going on in it"),
    ],
)
def test_what_may_be_deleted(status: str | None, serving: bool, allowed: bool, reason: str) -> None:
    assert removal(status, serving=serving) == Removal(allowed, reason)


def test_the_page_for_people_has_the_same_table() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/releases.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (deleted|left)[^|]* \| (.*) \|$", page, re.MULTILINE)
    assert {status: reason for status, verdict, reason in rows if verdict == "deleted"} == REMOVABLE
    assert {status: reason for status, verdict, reason in rows if verdict == "left"} == LEFT_ALONE


def test_every_status_of_cloudformation_is_decided() -> None:
    """What botocore knows and no table does must be something that stands or goes on."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("cloudformation")
    known = set(model.shape_for("StackStatus").enum)
    assert set(REMOVABLE) | set(LEFT_ALONE) <= known
    rest = {status for status in known - set(REMOVABLE) - set(LEFT_ALONE) if not status.endswith("_IN_PROGRESS")}
    assert rest == {
        *("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "DELETE_COMPLETE"),
    }


class World:
    """Facts that change with what is done: `after` maps a step to the facts that it leads to, or to what it raises."""

    def __init__(self, begin: Facts, after: dict[str, Facts | Exception], skip: Skip = NOTHING) -> None:
        self.facts = begin
        self.after = after
        self.skip = skip
        self.did: list[str] = []

    def run(self, digest: str | None = GOOD) -> restore.Restored:
        act = {name: self.step(name) for name in ("wait", "continue rollback", "delete", "redeploy", "recreate")}
        return restore.restore(Eyes(lambda: self.facts, lambda facts: self.skip), digest, act, patience=0)

    def step(self, name: str) -> Any:
        def act(*skipping: str) -> None:
            whole = " ".join([name, *skipping])
            self.did.append(whole)
            then = self.after[whole]
            if isinstance(then, Exception):
                raise then
            self.facts = then

        return act


def found(stack: str | None, digest: str = GOOD, *, running: bool = True) -> Facts:
    if not running:
        return Facts(stack, digest, (), Health(0, detail="refused"))
    return Facts(stack, digest, (digest,) if stack else (), Health(200, digest, "in step"))


def test_cloudformation_has_done_it_already() -> None:
    world = World(found("UPDATE_ROLLBACK_IN_PROGRESS", BAD), {"wait": found("UPDATE_ROLLBACK_COMPLETE")})
    assert world.run() == restore.Restored(True, "", [], found("UPDATE_ROLLBACK_COMPLETE"))
    assert world.did == ["wait"]


def test_the_second_try_finishes_a_stuck_rollback() -> None:
    world = World(found("UPDATE_ROLLBACK_FAILED"), {"continue rollback": found("UPDATE_ROLLBACK_COMPLETE")})
    assert world.run().back
    assert world.did == ["continue rollback"]


def test_what_is_proved_harmless_is_skipped() -> None:
    again, end = found("UPDATE_ROLLBACK_FAILED"), found("UPDATE_ROLLBACK_COMPLETE")
    after: dict[str, Facts | Exception] = {"continue rollback": again, "continue rollback Service": end}
    world = World(found("UPDATE_ROLLBACK_FAILED", BAD), after, Skip(("Service",)))
    assert world.run() == restore.Restored(
        True, "", ["continue rollback", "continue rollback without Service"], found("UPDATE_ROLLBACK_COMPLETE")
    )


def test_what_is_not_proved_stops_it_and_is_named() -> None:
    stuck = found("UPDATE_ROLLBACK_FAILED")
    world = World(stuck, {"continue rollback": RuntimeError("no")}, Skip((), ("Cluster (AWS::ECS::Cluster): why",)))
    wrong = "the stack is UPDATE_ROLLBACK_FAILED, and this could not be proved harmless:\n  Cluster (AWS::ECS::Cluster): why"
    assert world.run() == restore.Restored(False, wrong, ["continue rollback"], stuck)


def test_skipping_that_fails_is_not_repeated() -> None:
    stuck = found("UPDATE_ROLLBACK_FAILED")
    after: dict[str, Facts | Exception] = {"continue rollback": stuck, "continue rollback Service": stuck}
    world = World(stuck, after, Skip(("Service",)))
    assert world.run().wrong == "the stack is UPDATE_ROLLBACK_FAILED"
    assert world.did == ["continue rollback", "continue rollback Service"]


def test_it_gives_up_and_says_what_is_wrong() -> None:
    world = World(found("UPDATE_COMPLETE", BAD), {"redeploy": found("UPDATE_ROLLBACK_COMPLETE", BAD)})
    wrong = "tasks of sha256:bbbbbbbbbbbb are running, not of sha256:aaaaaaaaaaaa alone"
    assert world.run() == restore.Restored(False, wrong, ["redeploy"], found("UPDATE_ROLLBACK_COMPLETE", BAD))


def test_the_first_release_leaves_nothing() -> None:
    world = World(found("ROLLBACK_COMPLETE", running=False), {"delete": found(None)})
    assert world.run(None) == restore.Restored(True, "", ["delete"], found(None))


def test_a_first_release_whose_remains_still_answer_is_left() -> None:
    world = World(found("ROLLBACK_FAILED"), {})
    assert world.run(None).wrong == (
        "the stack is ROLLBACK_FAILED: its first creation failed, and what could not be deleted again is left; it takes nothing but "
        "another deletion; but something of it still runs or answers"
    )
    assert world.did == []


def test_what_waiting_raises_is_not_swallowed() -> None:
    world = World(found("UPDATE_IN_PROGRESS"), {"wait": RuntimeError("no network")})
    with pytest.raises(RuntimeError, match="no network"):
        world.run()


@pytest.mark.parametrize(
    "raised",
    [Lost("taken"), ClientError({"Error": {"Code": "ExpiredToken", "Message": "x"}}, "ContinueUpdateRollback")],
)
def test_what_can_not_go_on_ends_it(raised: Exception) -> None:
    world = World(found("UPDATE_ROLLBACK_FAILED"), {"continue rollback": raised})
    with pytest.raises(type(raised)):
        world.run()


# What may be skipped.

STEADY = Service(GOOD, 1, "COMPLETED", 2, 2)
SERVICE = Unreverted("Service", "AWS::ECS::Service", "did not stabilize")
MIGRATION = Unreverted("Migration", "Custom::Migration", "it has no way back")
CLUSTER = Unreverted("Cluster", "AWS::ECS::Cluster", "no")
WELL = found("UPDATE_ROLLBACK_FAILED")
AHEAD = Facts("UPDATE_ROLLBACK_FAILED", GOOD, (GOOD,), Health(200, GOOD, "ahead"))


@pytest.mark.parametrize(
    ("stopped", "facts", "service", "moving", "resources", "unproved"),
    [
        ([SERVICE], WELL, STEADY, [], ("Service",), ()),
        ([SERVICE], AHEAD, STEADY, [], ("Service",), ()),
        ([MIGRATION], WELL, STEADY, [], ("Migration",), ()),
        ([MIGRATION, SERVICE], WELL, STEADY, [], ("Migration", "Service"), ()),
        ([], WELL, STEADY, [], (), ()),
        (
            [SERVICE],
            WELL,
            Service(BAD, 1, "COMPLETED", 2, 2),
            [],
            (),
            ("Service (AWS::ECS::Service): its task definition is of sha256:bbbbbbbbbbbb, not of sha256:aaaaaaaaaaaa",),
        ),
        (
            [SERVICE],
            WELL,
            Service(GOOD, 2, "IN_PROGRESS", 2, 2),
            [],
            (),
            ("Service (AWS::ECS::Service): its deployment is IN_PROGRESS, with 2 at once",),
        ),
        (
            [SERVICE],
            WELL,
            Service(GOOD, 1, "COMPLETED", 2, 1),
            [],
            (),
            ("Service (AWS::ECS::Service): 1 of 2 tasks run",),
        ),
        (
            [SERVICE],
            WELL,
            Service(GOOD, 1, "COMPLETED", 0, 0),
            [],
            (),
            ("Service (AWS::ECS::Service): 0 of 0 tasks run",),
        ),
        ([SERVICE], WELL, Service(), [], (), ("Service (AWS::ECS::Service): ECS knows of no such service",)),
        # ECS is content, and the load balancer's health check still asks another port (copilot-cli#4838).
        (
            [SERVICE],
            found("UPDATE_ROLLBACK_FAILED", running=False),
            STEADY,
            [],
            (),
            ("Service (AWS::ECS::Service): no task is running",),
        ),
        (
            [MIGRATION],
            AHEAD,
            STEADY,
            [],
            (),
            ("Migration (Custom::Migration): the database is ahead, not in step",),
        ),
        (
            [MIGRATION],
            WELL,
            STEADY,
            ["abc"],
            (),
            ("Migration (Custom::Migration): a release task is still under way (abc)",),
        ),
        (
            [MIGRATION, CLUSTER],
            WELL,
            STEADY,
            [],
            (),
            ("Cluster (AWS::ECS::Cluster): nothing proves that it is as last good had it",),
        ),
    ],
)
def test_what_may_be_skipped(
    stopped: list[Unreverted],
    facts: Facts,
    service: Service,
    moving: list[str],
    resources: tuple[str, ...],
    unproved: tuple[str, ...],
) -> None:
    assert decide(stopped, facts, service, GOOD, moving=moving) == Skip(resources, unproved)
