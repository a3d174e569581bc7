"""How a failed release is told, and what becomes of one whose command died."""

from __future__ import annotations

from typing import Any

import pytest
from lastgood.deploy import leftovers, outcome
from lastgood.deploy.order import Order
from lastgood.deploy.outcome import Ending
from lastgood.deploy.restore import Restored
from lastgood.deploy.smoke import Health
from lastgood.deploy.verify import Facts
from lastgood.errors import FailedNotRestored, FailedRestored
from lastgood.record.release import Release

CAUSE = "the service did not become stable: its container ended with exit status 1\nlast log lines:\nboom"


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        ("x.2: no", "failed, going back: x.2: no"),
        (CAUSE, "failed, going back: the service did not become stable: its container ended with exit status 1"),
        ("long " * 30, f"failed, going back: {('long ' * 24)[:119].rstrip()}…"),
        (outcome.INTERRUPTED, "failed, going back: interrupted by hand; interrupt again to stop waiting for it"),
    ],
)
def test_the_turn_is_one_line(cause: str, line: str) -> None:
    assert outcome.turn(cause) == line


def ending(facts: Any, *, there: bool) -> Ending:
    last = Release(1, "good", "deploy", facts("a"), "ada", "2026-01-01T00:00:00.000Z") if there else None
    return Ending(2, "staging", last)


@pytest.mark.parametrize(
    ("restored", "there", "kind", "said"),
    [
        (Restored(True), True, FailedRestored, "last good is back and verified: build a (release 1)"),
        (Restored(True), False, FailedRestored, "there was no good release before: the environment is empty again"),
        (
            Restored(False, "no task is running", [], Facts("UPDATE_COMPLETE", "", (), Health(0, detail="refused"))),
            True,
            FailedNotRestored,
            (
                "last good is NOT back: no task is running\n"
                "what runs: nothing\n"
                "what is recorded: release 2 is failed, last good is release 1 (build a)\n"
                "what to type: `lastgood rollback --environment staging --to 1`, which releases last good again"
            ),
        ),
        (
            Restored(False, outcome.NOT_WAITED),
            True,
            FailedNotRestored,
            (
                f"last good is NOT back: {outcome.NOT_WAITED}\n"
                "what runs: not known\n"
                "what is recorded: release 2 is failed, last good is release 1 (build a)\n"
                "what to type: `lastgood status --environment staging`; the next deploy or rollback waits for the stack's end, and goes "
                "on from "
                "there"
            ),
        ),
    ],
)
def test_the_end_has_the_whole_cause_and_what_runs(
    facts: Any, restored: Restored, there: bool, kind: type[Exception], said: str
) -> None:
    failure = outcome.failure(ending(facts, there=there), CAUSE, restored)
    assert (type(failure), str(failure)) == (kind, f"release 2 failed: {CAUSE}\n{said}")


@pytest.mark.parametrize(
    ("stack", "serving", "there", "expected"),
    [
        (
            "UPDATE_ROLLBACK_IN_PROGRESS",
            True,
            True,
            "`lastgood status --environment staging`; the next deploy or rollback waits for the stack's end, and goes on from there",
        ),
        (
            "CREATE_COMPLETE",
            True,
            False,
            "`lastgood deploy --environment staging` once the cause is mended: it goes on from the stack as it is",
        ),
        (
            None,
            False,
            True,
            "`lastgood rollback --environment staging --recreate`, which makes the stack again from last good",
        ),
        (
            "ROLLBACK_COMPLETE",
            False,
            True,
            "`lastgood rollback --environment staging --recreate`, which makes the stack again from last good",
        ),
        (
            "DELETE_FAILED",
            True,
            True,
            (
                "look at the stack's events in CloudFormation; `lastgood rollback --environment staging --recreate` "
                "deletes it, and its load "
                "balancer's name with it, and makes it again from last good"
            ),
        ),
    ],
)
def test_what_to_type(facts: Any, stack: str | None, serving: bool, there: bool, expected: str) -> None:
    assert outcome.advice(ending(facts, there=there), stack, serving=serving) == expected


@pytest.mark.parametrize(
    ("running", "health", "expected"),
    [
        ((), Health(0, detail="refused"), "nothing"),
        ("aa", Health(200, "", "in step"), "2 tasks of {a} (last good); answered 200, the database is in step"),
        ("ab", Health(0, detail="refused"), "2 tasks of {a} (last good), {b}; no answer (refused)"),
    ],
)
def test_what_runs(facts: Any, running: str, health: Health, expected: str) -> None:
    digests = {name: facts(name).digest for name in "ab"}
    found = Facts("UPDATE_COMPLETE", "", tuple(digests[name] for name in running), health)
    named = {name: digest[:19] for name, digest in digests.items()}
    assert outcome.running(found, ending(facts, there=True).last) == expected.format(**named)


@pytest.mark.parametrize(
    ("kind", "anew", "service_first"), [("deploy", False, False), ("rollback", False, True), ("recreate", True, True)]
)
def test_the_kind_says_how(facts: Any, kind: str, anew: bool, service_first: bool) -> None:
    order = Order(kind, facts("a"), "ada", "why")
    assert (order.anew, order.service_first) == (anew, service_first)


@pytest.mark.parametrize(("last", "again", "done"), [("a", False, True), ("a", True, False), ("b", False, False)])
def test_what_is_last_good_already_is_done(facts: Any, last: str, again: bool, done: bool) -> None:
    release = Release(1, "good", "deploy", facts(last), "ada", "2026-01-01T00:00:00.000Z")
    order = Order("deploy", facts("a"), "ada", "why", again=again)
    assert order.is_done(release) is done
    assert order.is_done(None) is False


@pytest.mark.parametrize(
    ("stack", "database", "newest", "good"),
    [
        ("UPDATE_COMPLETE", "in step", True, True),
        ("UPDATE_COMPLETE", "in step", False, False),
        ("UPDATE_ROLLBACK_COMPLETE", "in step", True, False),
        ("UPDATE_COMPLETE", "behind", True, False),
    ],
)
def test_a_release_that_was_left(facts: Any, stack: str, database: str, newest: bool, good: bool) -> None:
    digest = facts("a").digest
    release = Release(1, "pending", "deploy", facts("a"), "ada", "2026-01-01T00:00:00.000Z")
    found = Facts(stack, digest, (digest,), Health(200, digest, database))
    assert leftovers.runs(release, found, newest=newest) is good


def test_the_migrations_of_a_release_that_was_left() -> None:
    hops = [
        {"build": "b", "direction": "back", "exit": 0, "ended": "t", "undone": ["x.2"]},
        {"build": "a", "direction": "forward", "exit": 0, "ended": "t", "applied": ["x.1"]},
        {"build": "a", "direction": "forward", "applied": ["x.3"]},
    ]
    operation = {"wanted": {"digest": "sha256:a"}, "hops": hops}
    assert leftovers.moved(operation, "sha256:a") == (["x.2"], ["x.1"])
    assert leftovers.moved(operation, "sha256:b") == ([], [])
    assert leftovers.moved(None, "sha256:a") == ([], [])
