"""The way back: what comes next, as a table, and the shell that does it."""

from __future__ import annotations

from typing import Any

import pytest
from lastgood.deploy import restore
from lastgood.deploy.restore import next_step
from lastgood.deploy.smoke import Health
from lastgood.deploy.verify import Facts

GOOD = "sha256:" + "a" * 64
BAD = "sha256:" + "b" * 64

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
    ("UPDATE_ROLLBACK_FAILED", "x", ["continue rollback"], True, "recreate"),
    ("UPDATE_ROLLBACK_FAILED", "", ["continue rollback"], True, "recreate"),
    ("UPDATE_ROLLBACK_FAILED", "x", ["continue rollback", "recreate"], True, "give up"),
    ("ROLLBACK_COMPLETE", "x", [], True, "recreate"),
    ("DELETE_FAILED", "x", ["recreate"], True, "give up"),
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
    assert next_step(stack, wrong, done, last_good=last_good) == expected


class World:
    """Facts that change with what is done: `after` maps a step to the facts that it leads to."""

    def __init__(self, begin: Facts, after: dict[str, Facts | Exception]) -> None:
        self.facts = begin
        self.after = after
        self.did: list[str] = []

    def run(self, digest: str | None = GOOD) -> restore.Restored:
        act = {name: self.step(name) for name in ("wait", "continue rollback", "delete", "redeploy", "recreate")}
        return restore.restore(lambda: self.facts, digest, act, patience=0)

    def step(self, name: str) -> Any:
        def act() -> None:
            self.did.append(name)
            then = self.after[name]
            if isinstance(then, Exception):
                raise then
            self.facts = then

        return act


def found(stack: str | None, digest: str = GOOD) -> Facts:
    return Facts(stack, digest, (digest,) if stack else (), Health(200, digest, "in step"))


def test_cloudformation_has_done_it_already() -> None:
    world = World(found("UPDATE_ROLLBACK_IN_PROGRESS", BAD), {"wait": found("UPDATE_ROLLBACK_COMPLETE")})
    assert world.run() == restore.Restored(True)
    assert world.did == ["wait"]


def test_from_a_stuck_rollback_to_a_new_stack() -> None:
    world = World(
        found("UPDATE_ROLLBACK_FAILED", BAD),
        {"continue rollback": RuntimeError("the migration failed again"), "recreate": found("CREATE_COMPLETE")},
    )
    assert world.run() == restore.Restored(True, "", ["continue rollback", "recreate"])


def test_it_gives_up_and_says_what_is_wrong() -> None:
    world = World(found("UPDATE_COMPLETE", BAD), {"redeploy": found("UPDATE_ROLLBACK_COMPLETE", BAD)})
    wrong = "tasks of sha256:bbbbbbbbbbbb are running, not of sha256:aaaaaaaaaaaa alone"
    assert world.run() == restore.Restored(False, wrong, ["redeploy"])


def test_the_first_release_leaves_nothing() -> None:
    world = World(found("ROLLBACK_COMPLETE"), {"delete": found(None)})
    assert world.run(None) == restore.Restored(True, "", ["delete"])


def test_what_waiting_raises_is_not_swallowed() -> None:
    world = World(found("UPDATE_IN_PROGRESS"), {"wait": RuntimeError("no network")})
    with pytest.raises(RuntimeError, match="no network"):
        world.run()
