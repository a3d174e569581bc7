"""Releases from their beginning to their end, over an account in memory: good, failed and back, interrupted, left by the dead."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from lastgood.config.project import Environment, Process, Shape
from lastgood.deploy import change, rollback, verify
from lastgood.deploy import deploy as deployer
from lastgood.deploy import status as reporter
from lastgood.deploy.attempt import carry_out
from lastgood.deploy.order import Order
from lastgood.deploy.place import Place
from lastgood.deploy.stack import Stack
from lastgood.errors import FailedNotRestored, FailedRestored, LastgoodError, Refused, UsageError
from lastgood.record.lock import Lock
from lastgood.record.release import BuildFacts
from lastgood.record.table import Record
from msgspec.structs import replace

Facts = Callable[[str], BuildFacts]

DECIDED = {
    "ServiceRoleArn": "arn:role",
    "PermissionsBoundary": "arn:policy",
    "LoadBalancerSecurityGroup": "sg-1",
    "TaskSecurityGroup": "sg-2",
}
Script = list[tuple[str, list[tuple[str, str, str]]]]
FORWARD: Script = [
    ("UPDATE_IN_PROGRESS", [("Migration", "UPDATE_IN_PROGRESS", ""), ("Migration", "UPDATE_COMPLETE", "")]),
    ("UPDATE_COMPLETE", [("Service", "UPDATE_COMPLETE", "")]),
]
ANSWER = "Received response status [FAILED] from custom resource. Message returned: {} (RequestId: 1)"
MIGRATION_FAILS: Script = [
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
    record.good(release, undone=[], applied=[])
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


def test_every_page_is_an_error(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    """Its tasks run, its database is in step, and nobody can use it: that is no good release."""
    account.cloudformation.plays = [FORWARD, FORWARD]
    builds = iter([facts("b"), deployed])

    def hook(status: str) -> None:
        if status == "UPDATE_COMPLETE":
            account.running = (next(builds).digest,)

    account.cloudformation.hook = hook
    account.pages = LastgoodError("the smoke test failed: https://board.example: / answered 500 Internal Server Error")
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 failed: the smoke test failed: https://board.example: / answered 500 Internal Server Error\n"
        "last good is back and verified: build a (release 1)"
    )


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [
        ("deploy", ("/today/",), ("/today/",)),
        ("rollback", ("/then/",), ("/then/",)),
        ("rollback", (), ()),
        ("rollback", None, None),
    ],
)
def test_a_rollback_asks_for_the_pages_of_its_release(
    account: Any,
    facts: Facts,
    deployed: BuildFacts,
    kind: str,
    own: tuple[str, ...] | None,
    expected: tuple[str, ...] | None,
) -> None:
    account.environment = replace(account.environment, smoke=("/today/",))
    account.cloudformation.plays = [FORWARD]
    become(account, facts("b"))
    release(account, facts("b"), kind=kind, shape=Shape((Process("web", smoke=own),)))
    assert account.declared == [expected]


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
    assert said == ["yes", "no", "yes"]


def test_without_a_stack_nobody_is_served_meanwhile(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [[("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]]
    release(account, deployed, kind="recreate")
    assert account.cloudformation.before["LeaveAhead"] == "no"


def test_after_a_failed_smoke_test_the_service_goes_back_first(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    """Reversing the database first would take minutes in which the build that runs meets a schema that it does not know."""
    account.cloudformation.plays = [FORWARD, FORWARD, FORWARD]
    said = going_back(account, (facts("b"), "behind"), (deployed, "ahead"), (deployed, "in step"))
    with pytest.raises(FailedRestored):
        release(account, facts("b"))
    assert said == ["no", "yes", "no"]
    assert account.cloudformation.before["Release"] == "2-restore"


def test_the_database_follows_also_where_it_keeps_the_service_from_answering(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.cloudformation.plays = [FORWARD, FORWARD, FORWARD]
    said = going_back(account, (facts("b"), "behind"), (deployed, "diverged"), (deployed, "in step"))
    monkeypatch.setattr(verify.wait, "__kwdefaults__", {"ahead": False, "deadline": 0.0})
    with pytest.raises(FailedRestored):
        release(account, facts("b"))
    assert said == ["no", "yes", "no"]


def test_last_good_does_not_come_back(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    account.cloudformation.plays = [MIGRATION_FAILS, FORWARD, FORWARD]
    account.cloudformation.hook = lambda status: setattr(account, "database", "behind")
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 failed: the migration failed, forward by build b: x.2: no\n"
        "last good is NOT back: the database is behind, not in step\n"
        "what runs: 1 task of sha256:616161616161 (last good); answered 200, the database is behind\n"
        "what is recorded: release 2 is failed, last good is release 1 (build a)\n"
        "what to type: `lastgood rollback --environment staging --to 1`, which releases last good again"
    )
    assert states(record) == [(2, "failed"), (1, "good")]


STUCK: Script = [
    ("UPDATE_IN_PROGRESS", [("Service", "UPDATE_FAILED", "it crashes")]),
    ("UPDATE_ROLLBACK_IN_PROGRESS", []),
    ("UPDATE_ROLLBACK_FAILED", [("Service", "UPDATE_FAILED", "did not stabilize")]),
]
STUCK_AGAIN: Script = [
    ("UPDATE_ROLLBACK_IN_PROGRESS", []),
    ("UPDATE_ROLLBACK_FAILED", [("Service", "UPDATE_FAILED", "did not stabilize")]),
]
CONTINUED: Script = [("UPDATE_ROLLBACK_IN_PROGRESS", []), ("UPDATE_ROLLBACK_COMPLETE", [])]


def test_a_rollback_that_stops_once_is_continued(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [STUCK, CONTINUED]
    with pytest.raises(FailedRestored):
        release(account, facts("b"))
    assert account.cloudformation.calls == ["change set UPDATE", "execute", "continue"]


def test_a_rollback_that_stops_twice_goes_on_without_what_is_as_last_good_had_it(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [STUCK, STUCK_AGAIN, CONTINUED]
    account.service = (deployed.digest, "COMPLETED")
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"))
    assert account.cloudformation.calls == ["change set UPDATE", "execute", "continue", "continue Service"]
    assert str(error.value).endswith("\nlast good is back and verified: build a (release 1)")


def test_a_rollback_that_stops_for_good_leaves_the_stack_and_says_what_to_do(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    """The old tasks serve: the stack, and the name of its load balancer, stay."""
    account.cloudformation.plays = [STUCK, STUCK_AGAIN]
    account.service = (facts("b").digest, "COMPLETED")
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert account.cloudformation.calls == ["change set UPDATE", "execute", "continue"]
    assert str(error.value) == (
        "release 2 failed: the service did not become stable: it crashes\n"
        "last good is NOT back: the stack is UPDATE_ROLLBACK_FAILED, and this could not be proved harmless:\n"
        "  Service (AWS::ECS::Service): its task definition is of sha256:626262626262, not of sha256:616161616161\n"
        "what runs: 1 task of sha256:616161616161 (last good); answered 200, the database is in step\n"
        "what is recorded: release 2 is failed, last good is release 1 (build a)\n"
        "what to type: mend what is named above, then `lastgood rollback --environment staging --to 1`, which goes on where this "
        "stopped; "
        "`lastgood rollback --environment staging --recreate` gives the stack up, and its load balancer's name with it"
    )
    assert states(record) == [(2, "failed"), (1, "good")]


def test_a_database_that_still_moves_is_not_skipped(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    """CloudFormation has stopped waiting for the release task; the task has not stopped."""
    failed: Script = [
        ("UPDATE_ROLLBACK_IN_PROGRESS", []),
        ("UPDATE_ROLLBACK_FAILED", [("Migration", "UPDATE_FAILED", "x")]),
    ]
    account.cloudformation.plays = [[*MIGRATION_FAILS[:1], *failed], failed]
    account.service = (deployed.digest, "COMPLETED")
    account.moving = ["arn:task/board-staging/abc"]
    with pytest.raises(
        FailedNotRestored, match=r"Migration \(Custom::Migration\): a release task is still under way \(abc\)"
    ):
        release(account, facts("b"))


# AWS can't be asked any more.


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeStacks")


def expiring(account: Any, code: str, *, at: str) -> None:
    """From that stack status on, nobody is answered any more: the credentials are one session's."""

    def hook(status: str) -> None:
        if status == at:
            account.cloudformation.refusing["describe_stacks"] = client_error(code)
            for name in ("get_item", "put_item", "update_item", "query", "delete_item", "transact_write_items"):
                setattr(account.table, name, lambda **_: (_ for _ in ()).throw(client_error(code)))

    account.cloudformation.hook = hook


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_the_session_expires_while_the_stack_is_working(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, code: str
) -> None:
    account.cloudformation.plays = [[("UPDATE_IN_PROGRESS", []), ("UPDATE_IN_PROGRESS", [])]]
    expiring(account, code, at="UPDATE_IN_PROGRESS")
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        f"release 2 is left to itself: the session with AWS has expired ({code} at DescribeStacks): get new credentials and run the "
        "command again; a workflow asks for a longer session with role-duration-seconds\n"
        "what runs: not known; the stack was UPDATE_IN_PROGRESS when it was seen last, and CloudFormation goes on by itself, forward or "
        "back\n"
        "what is recorded: release 2 is pending, last good is release 1 (build a)\n"
        "what to type: with a new session `lastgood status --environment staging`; it, or the next deploy or rollback, ends release 2 by "
        "what runs then"
    )
    assert account.cloudformation.calls == ["change set UPDATE", "execute"]


def test_a_session_that_expires_on_the_way_back_hides_no_cause(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [[*MIGRATION_FAILS[:1], ("UPDATE_ROLLBACK_FAILED", []), ("X", [])]]
    expiring(account, "ExpiredToken", at="UPDATE_ROLLBACK_FAILED")
    with pytest.raises(
        FailedNotRestored,
        match=r"role-duration-seconds; what had failed before: the migration failed, forward by build b: x.2: no\n",
    ):
        release(account, facts("b"))


def test_a_question_that_was_not_heard_is_asked_again(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    """ECS does not answer in the middle of the smoke test: that is no reason to leave the release to itself."""
    account.cloudformation.plays = [FORWARD]
    become(account, facts("b"))
    listed, answers = (
        account.list_tasks,
        [EndpointConnectionError(endpoint_url="https://ecs.eu-central-1.amazonaws.com/")],
    )

    def list_tasks(**which: Any) -> Any:
        if answers:
            raise answers.pop()
        return listed(**which)

    account.list_tasks = list_tasks
    assert release(account, facts("b"))["state"] == "good"
    assert answers == []


def test_a_network_that_is_gone_leaves_the_reason_where_the_record_answers(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lastgood.deploy.stack.PATIENCE", 0.0)
    monkeypatch.setattr("lastgood.deploy.verify.PATIENCE", 0.0)
    gone = EndpointConnectionError(endpoint_url="https://cloudformation.eu-central-1.amazonaws.com/")
    account.cloudformation.plays = [[("UPDATE_IN_PROGRESS", [])]]
    account.cloudformation.hook = lambda status: account.cloudformation.refusing.update(describe_stacks=gone)
    with pytest.raises(
        FailedNotRestored, match=r"^release 2 is left to itself: AWS could not be asked: Could not connect"
    ):
        release(account, facts("b"))
    left = record.release(2)
    assert left
    assert (left.state, left.cause) == (
        "pending",
        f"AWS could not be asked: {gone}; check the credentials and the region",
    )


def test_any_other_refusal_in_the_middle_is_a_failure_that_goes_back(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise client_error("AccessDenied")

    monkeypatch.setattr(Stack, "prepare", refuse)
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 failed: AWS refused: An error occurred (AccessDenied) when calling the DescribeStacks operation: no; check the "
        "credentials, the region and the role's permissions\nlast good is back and verified: build a (release 1)"
    )


def test_a_good_release_that_can_not_be_recorded_is_not_taken_back(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [FORWARD]
    become(account, facts("b"))
    write = account.table.transact_write_items
    account.table.transact_write_items = lambda **_: (_ for _ in ()).throw(client_error("InternalServerError"))
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert str(error.value).splitlines()[1:] == [
        "what runs: build b, in step with its database",
        "what is recorded: release 2 is pending, last good is release 1 (build a)",
        (
            "what to type: `lastgood status --environment staging`, once the record answers; it, or the next deploy or rollback, ends "
            "release "
            "2 by what runs then"
        ),
    ]
    assert account.cloudformation.calls == ["change set UPDATE", "execute"]
    account.table.transact_write_items = write
    found = reporter.status(Place(account, account.folder))
    assert (found["verdict"], found["newest"]["state"], found["last_good"]["number"]) == ("as last good", "good", 2)


def test_a_failed_release_that_can_not_be_recorded_says_so(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.plays = [MIGRATION_FAILS]

    def hook(status: str) -> None:
        if status == "UPDATE_ROLLBACK_COMPLETE":
            account.table.update_item = lambda **_: (_ for _ in ()).throw(client_error("AccessDeniedException"))

    account.cloudformation.hook = hook
    with pytest.raises(FailedRestored) as error:
        release(account, facts("b"))
    assert str(error.value).splitlines()[1:] == [
        "last good is back and verified: build a (release 1)",
        (
            "release 2 is still pending, for the record could not be told (AWS refused: An error occurred (AccessDeniedException) when "
            "calling the DescribeStacks operation: no; check the credentials, the region and the role's permissions); the next "
            "command ends "
            "it by what runs then"
        ),
    ]


def test_a_full_disk_does_not_spoil_a_release(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    account.cloudformation.plays = [FORWARD]
    become(account, facts("b"))
    (account.folder / "releases").write_text("no folder", encoding="utf-8")
    assert release(account, facts("b"))["state"] == "good"
    assert "staging-00000002.json could not be written: File exists" in capsys.readouterr().err


# The lock is somebody else's.


def losing(account: Any, *, at: str) -> None:
    """At that stack status somebody else takes the lock over, as one may when its lease was not renewed."""

    def hook(status: str) -> None:
        if status == at:
            account.table.items["environment#staging", "lock"] |= {
                "who": "grace",
                "what": "release 3",
                "since": "then",
                "token": "other",
            }
            held[0].lost = True

    account.cloudformation.hook = hook
    held: list[Lock] = []
    take = Lock.__enter__

    def enter(self: Lock) -> Lock:
        held.append(self)
        return take(self)

    account.patch.setattr(Lock, "__enter__", enter)


@pytest.mark.parametrize("at", ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"])
def test_a_lost_lock_stops_the_command_before_its_next_act(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, at: str
) -> None:
    account.cloudformation.plays = [STUCK]
    losing(account, at=at)
    with pytest.raises(FailedNotRestored) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "release 2 stops: the deploy lock of environment staging is no longer ours, grace has it since then (release 3): nothing more "
        "was "
        "touched from there on\n"
        f"what runs: not known; the stack was {at} when it was seen last\n"
        "what is recorded: whoever has the lock ends release 2, else the next deploy or rollback does; last good is release 1 (build a)\n"
        "what to type: `lastgood lock-status --environment staging`, and `lastgood status --environment staging` when that command "
        "has ended"
    )
    assert account.cloudformation.calls == ["change set UPDATE", "execute"]
    assert states(record) == [(2, "pending"), (1, "good")]
    assert account.table.items["environment#staging", "lock"]["who"] == "grace"


def test_a_lock_that_is_lost_before_the_execution_discards_the_change_set(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Stack.prepare

    def prepared(self: Stack, *arguments: Any) -> Any:
        made = prepare(self, *arguments)
        account.table.items["environment#staging", "lock"]["token"] = "other"
        monkeypatch.setattr("lastgood.record.lock.BEAT", 1000.0)  # no renewal was answered for so long
        return made

    monkeypatch.setattr(Stack, "prepare", prepared)
    with pytest.raises(
        FailedNotRestored, match=r"^release 2 stops: the deploy lock of environment staging is no longer ours"
    ):
        release(account, facts("b"))
    assert account.cloudformation.calls == ["change set UPDATE", "discard"]


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
        "going back: `lastgood status` says where it ended\n"
        "what runs: not known\n"
        "what is recorded: release 2 is failed, last good is release 1 (build a)\n"
        "what to type: `lastgood status --environment staging`; the next deploy or rollback waits for the stack's end, and goes on from "
        "there"
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


@pytest.mark.parametrize("status", ["CREATE_FAILED", "UPDATE_FAILED"])
def test_a_stack_that_somebody_looks_at_is_left(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, status: str
) -> None:
    account.cloudformation.add("board-staging", status, {})
    with pytest.raises(
        Refused, match=f"^the stack board-staging is {status}, and lastgood does not delete it by itself: "
    ):
        release(account, facts("b"))
    assert account.cloudformation.calls == []


def test_remains_that_still_serve_are_left(account: Any, record: Record, facts: Facts) -> None:
    account.cloudformation.add("board-staging", "DELETE_FAILED", {})
    account.running = (facts("a").digest,)
    with pytest.raises(Refused) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "the stack board-staging is DELETE_FAILED, and lastgood does not delete it by itself: somebody has deleted it already, and "
        "what could "
        "not be deleted is left; it takes nothing but another deletion; but something of it still runs or answers; mend it in "
        "CloudFormation, "
        "or give it up with `lastgood rollback --environment staging --recreate`"
    )
    assert account.cloudformation.calls == []


def test_a_stack_that_is_stuck_is_continued_first(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    account.cloudformation.add("board-staging", "UPDATE_ROLLBACK_FAILED", {"ImageDigest": deployed.digest})
    account.cloudformation.plays = [STUCK_AGAIN, CONTINUED, FORWARD]
    account.service = (deployed.digest, "COMPLETED")
    become(account, facts("b"))
    assert release(account, facts("b"))["state"] == "good"
    assert account.cloudformation.calls == ["continue", "continue Service", "change set UPDATE", "execute"]


def test_a_stack_that_stays_stuck(account: Any, record: Record, facts: Facts, deployed: BuildFacts) -> None:
    account.cloudformation.add("board-staging", "UPDATE_ROLLBACK_FAILED", {})
    failed: Script = [
        ("UPDATE_ROLLBACK_IN_PROGRESS", []),
        ("UPDATE_ROLLBACK_FAILED", [("Cluster", "UPDATE_FAILED", "no")]),
    ]
    account.cloudformation.plays = [failed]
    with pytest.raises(Refused) as error:
        release(account, facts("b"))
    assert str(error.value) == (
        "the stack board-staging can't finish its rollback, and this could not be proved harmless:\n"
        "  Cluster (AWS::ECS::Cluster): nothing proves that it is as last good had it\n"
        "what to type: mend what is named above, then `lastgood rollback --environment staging --to 1`, which goes on where this "
        "stopped; "
        "`lastgood rollback --environment staging --recreate` gives the stack up, and its load balancer's name with it"
    )
    assert account.cloudformation.calls == ["continue"]
    assert states(record) == [(1, "good")]


def test_recreate_gives_a_stuck_stack_up(account: Any, record: Record, deployed: BuildFacts) -> None:
    account.cloudformation.add("board-staging", "UPDATE_ROLLBACK_FAILED", {})
    account.cloudformation.plays = [[("CREATE_IN_PROGRESS", []), ("CREATE_COMPLETE", [])]]
    assert release(account, deployed, kind="recreate")["state"] == "good"
    assert account.cloudformation.calls == ["delete", "change set CREATE", "execute"]


def test_a_rollback_goes_back_from_what_really_runs(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    """A dead command has left build c, which runs: the good release before it is build b's, not build a's."""
    second = record.begin("deploy", facts("b"), who="ada", reason="")
    record.good(second, undone=[], applied=[])
    record.begin("deploy", facts("c"), who="grace", reason="")
    account.cloudformation.add("board-staging", "UPDATE_COMPLETE", {"ImageDigest": facts("c").digest})
    account.running = (facts("c").digest,)
    account.registry |= {facts("a").digest, facts("b").digest}
    account.cloudformation.plays = [FORWARD]
    become(account, facts("b"))
    done = rollback.rollback(Place(account, account.folder), who="ada", reason="")
    assert (done["build"], done["undoes"]) == ("b", [3])
    assert states(record) == [(4, "good"), (3, "undone"), (2, "good"), (1, "good")]


def test_a_dead_rollback_that_went_well_undoes_what_it_was_to(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    second = record.begin("deploy", facts("b"), who="ada", reason="")
    record.good(second, undone=[], applied=[])
    record.begin("rollback", deployed, who="grace", reason="", undoes=[2])
    found = reporter.status(Place(account, account.folder), "ada")
    assert (found["verdict"], found["left"], found["lock"]) == ("as last good", "", None)
    assert states(record) == [(3, "good"), (2, "undone"), (1, "good")]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            "UPDATE_IN_PROGRESS",
            "the stack is still UPDATE_IN_PROGRESS; when it has ended, this command or the next deploy or rollback ends the release",
        ),
        (
            "UPDATE_ROLLBACK_FAILED",
            "the stack is UPDATE_ROLLBACK_FAILED; the next deploy or rollback continues it, and ends the release",
        ),
    ],
)
def test_status_says_why_a_left_release_is_not_ended_yet(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, status: str, expected: str
) -> None:
    record.begin("deploy", facts("b"), who="grace", reason="")
    account.cloudformation.add("board-staging", status, {"ImageDigest": facts("b").digest})
    found = reporter.status(Place(account, account.folder))
    assert (found["left"], found["newest"]["state"]) == (expected, "pending")
    assert f"left         release 2 is pending, and its command is gone: {expected}" in reporter.render_status(found)


def test_a_left_release_waits_for_old_tasks_to_leave(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack is complete, and a task of last good finishes what it had begun: the release that was left has not failed for that."""
    record.begin("deploy", facts("b"), who="grace", reason="")
    account.cloudformation.add("board-staging", "UPDATE_COMPLETE", {"ImageDigest": facts("b").digest})
    account.running = (facts("b").digest, deployed.digest)
    found = reporter.status(Place(account, account.folder))
    problem = f"tasks of {deployed.digest[:19]} are running, not of {facts('b').digest[:19]} alone"
    assert (found["left"], found["newest"]["state"], found["lock"]) == (
        f"the stack is UPDATE_COMPLETE, but {problem}; this command later, or the next deploy or rollback, ends the release",
        "pending",
        None,
    )
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            account.running = (facts("b").digest,)

    monkeypatch.setattr("time.sleep", sleep)
    account.cloudformation.plays = [FORWARD]
    become(account, facts("c"))
    assert release(account, facts("c"))["state"] == "good"
    assert slept
    assert states(record) == [(3, "good"), (2, "good"), (1, "good")]


def test_a_left_release_that_never_answers_has_failed(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lastgood.deploy.leftovers.PATIENCE", 0.0)
    record.begin("deploy", facts("b"), who="grace", reason="")
    account.cloudformation.add("board-staging", "UPDATE_COMPLETE", {"ImageDigest": facts("b").digest})
    account.running, account.status = (facts("b").digest,), 503
    account.cloudformation.plays = [FORWARD]
    account.cloudformation.hook = lambda _status: account.__dict__.update(running=(facts("c").digest,), status=200)
    assert release(account, facts("c"))["state"] == "good"
    assert states(record) == [(3, "good"), (2, "failed"), (1, "good")]


def test_status_leaves_a_release_whose_command_is_alive(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    with Lock(record, who="grace", what="release 2"):
        record.begin("deploy", facts("b"), who="grace", reason="")
        found = reporter.status(Place(account, account.folder))
    assert (found["left"], found["newest"]["state"]) == ("", "pending")


def test_status_with_credentials_that_may_only_look(
    account: Any, record: Record, facts: Facts, deployed: BuildFacts
) -> None:
    record.begin("deploy", facts("b"), who="grace", reason="")
    account.table.put_item = lambda **_: (_ for _ in ()).throw(client_error("AccessDeniedException"))
    found = reporter.status(Place(account, account.folder))
    assert found["left"] == "these credentials may only look; the next deploy or rollback ends the release"


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
    account.environment = Environment("staging", "board-staging", url="https://board.internal", parameters=given)
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
