"""Releases from their beginning to their end, over an account in memory: good, failed and back, interrupted, left by the dead."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from lastgood.config.project import Environment
from lastgood.deploy import change
from lastgood.deploy import deploy as deployer
from lastgood.deploy.attempt import carry_out
from lastgood.deploy.order import Order
from lastgood.deploy.place import Place
from lastgood.deploy.stack import Stack
from lastgood.errors import FailedNotRestored, FailedRestored, LastgoodError, Refused, UsageError
from lastgood.record.lock import Lock
from lastgood.record.release import BuildFacts
from lastgood.record.table import Record

Facts = Callable[[str], BuildFacts]

DECIDED = {
    "ServiceRoleArn": "arn:role",
    "PermissionsBoundary": "arn:policy",
    "LoadBalancerSecurityGroup": "sg-1",
    "TaskSecurityGroup": "sg-2",
}
FORWARD: list[tuple[str, list[tuple[str, str, str]]]] = [
    ("UPDATE_IN_PROGRESS", [("Migration", "UPDATE_IN_PROGRESS", ""), ("Migration", "UPDATE_COMPLETE", "")]),
    ("UPDATE_COMPLETE", [("Service", "UPDATE_COMPLETE", "")]),
]
ANSWER = "Received response status [FAILED] from custom resource. Message returned: {} (RequestId: 1)"
MIGRATION_FAILS: list[tuple[str, list[tuple[str, str, str]]]] = [
    ("UPDATE_IN_PROGRESS", [("Migration", "UPDATE_FAILED", ANSWER.format("forward by build b: x.2: no"))]),
    ("UPDATE_ROLLBACK_IN_PROGRESS", [("Migration", "UPDATE_FAILED", "later")]),
    ("UPDATE_ROLLBACK_COMPLETE", []),
]


def release(account: Any, build: BuildFacts, kind: str = "deploy", **more: Any) -> dict[str, Any]:
    return carry_out(Place(account, account.folder / "releases"), Order(kind, build, "ada", "why", **more))


@pytest.fixture
def deployed(account: Any, record: Record, facts: Facts) -> BuildFacts:
    """Build `a`, released and good."""
    build = facts("a")
    account.cloudformation.add("board-staging", "UPDATE_COMPLETE", {"ImageDigest": build.digest})
    account.running = (build.digest,)
    release = record.begin("deploy", build, who="ada", reason="first")
    record.good(release, undoes=[], undone=[], applied=[])
    return build


def become(account: Any, build: BuildFacts, *, at: str = "UPDATE_COMPLETE") -> None:
    """From that stack status on, tasks of the build run."""

    def hook(status: str) -> None:
        if status == at:
            account.running = (build.digest,)

    account.cloudformation.hook = hook


def states(record: Record) -> list[tuple[int, str]]:
    return [(one.number, one.state) for one in record.releases()]


def test_good(account: Any, record: Record, facts: Facts, deployed: BuildFacts, capsys: Any) -> None:
    account.cloudformation.plays = [FORWARD]
    become(account, facts("b"))
    done = release(account, facts("b"))
    assert (done["number"], done["state"], done["build"], done["environment"]) == (2, "good", "b", "staging")
    assert [one["resource"] for one in done["events"]] == ["Migration", "Migration", "Service"]
    assert states(record) == [(2, "good"), (1, "good")]
    given = account.cloudformation.before
    assert (given["Release"], given["ImageDigest"], given["ServiceToken"]) == ("2", facts("b").digest, "arn:function")
    assert ("environment#staging", "lock") not in account.table.items
    left = json.loads((account.folder / "releases" / "staging-00000002.json").read_text(encoding="utf-8"))
    assert left == done
    assert "✓ Migration  update complete  1.0 s" in capsys.readouterr().err


def test_a_build_that_is_last_good_already(account: Any, record: Record, deployed: BuildFacts) -> None:
    done = release(account, deployed, again=False)
    assert (done["nothing"], done["number"]) == (True, 1)
    assert states(record) == [(1, "good")]
    assert account.cloudformation.calls == []


def test_it_can_be_forced(account: Any, record: Record, deployed: BuildFacts) -> None:
    account.cloudformation.plays = [FORWARD]
    assert release(account, deployed)["number"] == 2


def test_the_migration_fails(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    account.cloudformation.plays = [MIGRATION_FAILS]
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"))
    # CloudFormation has taken the parameters back, too.
    assert str(error.value) == (
        "release 2 failed: the migration failed, forward by build b: x.2: no\n"
        "last good is back and verified: build a (release 1)"
    )
    assert states(record) == [(2, "failed"), (1, "good")]
    newest = record.releases()[0]
    assert newest.cause == "the migration failed, forward by build b: x.2: no"
    said = capsys.readouterr().err
    # The command ends with the sentence; before it, the way back is progress.
    assert "failed, going back: the migration failed, forward by build b: x.2: no\n" in said
    assert "release 2 failed" not in said


def test_an_accepted_loss_needs_a_reason(account: Any, facts: Facts) -> None:
    with pytest.raises(UsageError) as error:
        deployer.deploy(Place(account, account.folder), facts("a"), who="ada", reason=" ", accept_loss=True)
    assert str(error.value) == "--accept-loss needs a --reason: the release record keeps why the loss is acceptable"


def test_it_answers_but_is_not_well(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    """CloudFormation brings nothing back where the stack is complete: lastgood does, releasing last good again, no loss accepted."""
    account.cloudformation.plays = [FORWARD, FORWARD]
    builds = iter([facts("b"), deployed])
    losses = []

    def hook(status: str) -> None:
        if status == "UPDATE_COMPLETE":
            losses.append(account.cloudformation.before["AcceptLoss"])
            account.running = (next(builds).digest,)
            account.database = "in step" if account.running == (deployed.digest,) else "behind"

    account.cloudformation.hook = hook
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"), accept_loss=True)
    assert str(error.value) == (
        "release 2 failed: the smoke test failed: after 0 s https://board.example/healthz: the database is behind, not in "
        "step\nlast good is back and verified: build a (release 1)"
    )
    assert account.cloudformation.before["Release"] == "2-restore"
    assert account.cloudformation.before["ImageDigest"] == deployed.digest
    assert losses == ["yes", "no"]


def going_back(account: Any, *after: tuple[BuildFacts, str]) -> list[str]:
    """From each update on, what runs and what it says of its database. Returns a list that fills with what LeaveAhead was."""
    said: list[str] = []
    ends = iter(after)

    def hook(status: str) -> None:
        if status in ("UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
            said.append(account.cloudformation.before["LeaveAhead"])
            build, account.database = next(ends)
            account.running = (build.digest,)

    account.cloudformation.hook = hook
    return said


def test_on_the_way_back_the_service_goes_first(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [FORWARD, FORWARD]
    said = going_back(account, (facts("b"), "ahead"), (facts("b"), "in step"))
    done = release(account, facts("b"), kind="rollback")
    assert (done["state"], done["smoke"]["database"], said) == ("good", "in step", ["yes", "no"])
    assert [one["resource"] for one in done["events"]] == ["Migration", "Migration", "Service"] * 2


def test_a_database_that_went_back_with_the_service_needs_no_second_update(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [FORWARD]
    said = going_back(account, (facts("b"), "in step"))
    assert release(account, facts("b"), kind="rollback")["state"] == "good"
    assert said == ["yes"]


def test_the_service_is_back_and_the_database_does_not_follow(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [FORWARD, MIGRATION_FAILS, FORWARD]
    said = going_back(account, (facts("b"), "ahead"), (facts("b"), "ahead"), (deployed, "in step"))
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"), kind="rollback")
    assert str(error.value).endswith("\nlast good is back and verified: build a (release 1)")
    assert said == ["yes", "no", "no"]


def test_without_a_stack_nobody_is_served_meanwhile(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [[("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]]
    release(account, deployed, kind="recreate")
    assert account.cloudformation.before["LeaveAhead"] == "no"


def test_last_good_does_not_come_back(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    account.cloudformation.plays = [MIGRATION_FAILS, FORWARD]
    account.cloudformation.hook = lambda status: setattr(account, "database", "behind")
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert str(error.value).endswith("\nlast good is NOT back: the database is behind, not in step")
    assert states(record) == [(2, "failed"), (1, "good")]


def test_a_rollback_that_gets_stuck_ends_in_a_new_stack(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    stuck = [*MIGRATION_FAILS[:2], ("UPDATE_ROLLBACK_FAILED", [])]
    again: Any = [("UPDATE_ROLLBACK_IN_PROGRESS", []), ("UPDATE_ROLLBACK_FAILED", [])]
    new: Any = [("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]
    account.cloudformation.plays = [stuck, again, new]
    with pytest.raises(FailedRestored):
        release(account, facts("b"))
    assert account.cloudformation.calls == [
        "change set UPDATE",
        "execute",
        "continue",
        "delete",
        "change set CREATE",
        "execute",
    ]


def test_the_first_release_fails_and_leaves_nothing(account: Any, record: Record, facts: Facts) -> None:
    account.cloudformation.plays = [
        [("CREATE_IN_PROGRESS", [("Migration", "CREATE_FAILED", "timed out")]), ("ROLLBACK_COMPLETE", [])]
    ]
    with pytest.raises(FailedRestored) as error:
        release(account, facts("a"))
    assert str(error.value) == (
        "release 1 failed: the migration failed, timed out\n"
        "there was no good release before: the environment is empty again"
    )
    assert "board-staging" not in account.cloudformation.stacks


def interrupting(account: Any, *, at: str) -> None:
    def hook(status: str) -> None:
        if status == at:
            account.cloudformation.hook = lambda status: None
            raise KeyboardInterrupt

    account.cloudformation.hook = hook


def test_interrupted(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    account.cloudformation.plays = [
        [
            ("UPDATE_IN_PROGRESS", [("Migration", "UPDATE_IN_PROGRESS", "")]),
            ("UPDATE_IN_PROGRESS", []),
            ("UPDATE_ROLLBACK_IN_PROGRESS", []),
            ("UPDATE_ROLLBACK_COMPLETE", []),
        ]
    ]
    interrupting(account, at="UPDATE_IN_PROGRESS")
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 failed: interrupted by hand\nlast good is back and verified: build a (release 1)"
    )
    assert account.cloudformation.calls == ["change set UPDATE", "execute", "cancel"]
    said = capsys.readouterr().err
    assert "failed, going back: interrupted by hand; interrupt again to stop waiting for it\n" in said
    assert said.count("interrupted by hand") == 1
    assert states(record) == [(2, "failed"), (1, "good")]
    assert ("environment#staging", "lock") not in account.table.items


def test_interrupted_twice(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    account.cloudformation.plays = [[("UPDATE_IN_PROGRESS", []), ("UPDATE_IN_PROGRESS", []), ("X_IN_PROGRESS", [])]]

    def hook(status: str) -> None:
        if status == "X_IN_PROGRESS" or len(account.cloudformation.playing) == 2:
            raise KeyboardInterrupt

    account.cloudformation.hook = hook
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 failed: interrupted by hand\nlast good is NOT back: the command was interrupted again while the stack was "
        "going back: `lastgood status` says where it ended"
    )
    assert states(record) == [(2, "failed"), (1, "good")]
    assert ("environment#staging", "lock") not in account.table.items


def test_a_dead_command_left_an_update_that_went_well(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    record.begin("deploy", facts("b"), who="grace", reason="")
    account.cloudformation.add("board-staging", "UPDATE_IN_PROGRESS", {"ImageDigest": facts("b").digest})
    account.cloudformation.playing = [("UPDATE_IN_PROGRESS", []), ("UPDATE_COMPLETE", [])]
    become(account, facts("b"))
    done = release(account, facts("b"), again=False)
    assert (done["nothing"], done["number"]) == (True, 2)
    assert states(record) == [(2, "good"), (1, "good")]


def test_a_dead_command_left_an_update_that_went_back(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    record.begin("deploy", facts("b"), who="grace", reason="")
    account.cloudformation.add("board-staging", "UPDATE_ROLLBACK_COMPLETE", {"ImageDigest": deployed.digest})
    account.cloudformation.plays = [FORWARD]
    become(account, facts("c"))
    release(account, facts("c"))
    assert states(record) == [(3, "good"), (2, "failed"), (1, "good")]
    dangling = record.release(2)
    assert dangling
    assert dangling.cause == "its command ended without an answer"


def test_a_stack_that_can_only_be_deleted_is(account: Any, record: Record, facts: Facts) -> None:
    account.cloudformation.add("board-staging", "ROLLBACK_COMPLETE", {})
    account.cloudformation.plays = [[("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]]
    become(account, facts("a"), at="CREATE_COMPLETE")
    assert release(account, facts("a"))["state"] == "good"
    assert account.cloudformation.calls == ["delete", "change set CREATE", "execute"]


def test_a_stack_that_is_stuck(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    account.cloudformation.add("board-staging", "UPDATE_ROLLBACK_FAILED", {})
    account.cloudformation.plays = [[("UPDATE_ROLLBACK_FAILED", [])]]
    with pytest.raises(Refused) as error:
        release(account, facts("b"))
    assert str(error.value) == ("the stack board-staging can't finish its rollback: run `lastgood rollback --recreate`")
    assert states(record) == [(1, "good")]


def test_recreate(account: Any, record: Record, deployed: BuildFacts) -> None:
    account.cloudformation.plays = [[("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]]
    done = release(account, deployed, kind="recreate")
    assert (done["state"], done["kind"]) == ("good", "recreate")
    assert account.cloudformation.calls == ["delete", "change set CREATE", "execute"]


def test_somebody_else_deploys(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    with (
        Lock(record, who="grace", what="release 9"),
        pytest.raises(Refused, match="by grace since"),
    ):
        release(account, facts("b"))
    assert states(record) == [(1, "good")]


def test_an_image_that_was_not_pushed(account: Any, facts: Facts) -> None:
    place = Place(account, account.folder)
    with pytest.raises(Refused) as error:
        deployer.deploy(place, facts("a"), who="ada", reason="")
    assert str(error.value) == (
        f"the registry of staging does not hold {facts('a').digest} (build a): run `lastgood push` first"
    )
    assert account.cloudformation.calls == []
    account.registry.add(facts("a").digest)
    account.cloudformation.plays = [[("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]]
    become(account, facts("a"), at="CREATE_COMPLETE")
    assert deployer.deploy(place, facts("a"), who="ada", reason="")["state"] == "good"


def test_an_account_without_bootstrap(account: Any, facts: Facts) -> None:
    account.cloudformation.stacks.clear()
    with pytest.raises(UsageError) as error:
        change.parameters(account, facts("a"), "1", {})
    assert str(error.value) == (
        "there is no stack lastgood-board in this account: run `lastgood bootstrap --environment staging`"
    )


def test_an_environment_that_nobody_has_decided_about(account: Any, facts: Facts) -> None:
    """As a branch's `scratch` is, whatever stack and secrets it names."""
    with pytest.raises(UsageError) as error:
        change.parameters(account, facts("a"), "1", {})
    assert str(error.value) == (
        "nobody has decided about environment staging in this account (LoadBalancerSecurityGroup is unknown): run `lastgood bootstrap "
        "--environment staging` as an administrator"
    )


def test_what_the_access_stack_decides_goes_into_the_change_set(account: Any, facts: Facts) -> None:
    given = {"AllowedCidr": "10.0.0.0/8", "TaskSecurityGroup": "sg-mine"}
    account.environment = Environment("staging", "board-staging", parameters=given)
    found = change.parameters(account, facts("a"), "1", DECIDED)
    assert {name: found[name] for name in change.DECIDED} == {name: DECIDED[name] for name in change.DECIDED}
    assert "AllowedCidr" not in found  # which environment.yml has


def test_a_change_set_that_is_refused_changes_nothing(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UsageError("CloudFormation refused the change: Parameters: [VpcId] must have values")

    monkeypatch.setattr(Stack, "prepare", refuse)
    with pytest.raises(LastgoodError) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 failed: CloudFormation refused the change: Parameters: [VpcId] must have values\n"
        "last good is back and verified: build a (release 1)"
    )
    assert account.running == (deployed.digest,)
