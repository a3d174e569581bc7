"""The faults of a deploy, as data: where, what, how it is made, and what must come out. `ways` has the making of each.

`old` and `new` are builds (builds.py): the last good one before the fault, and the one that is deployed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faults import ways

if TYPE_CHECKING:
    from faults.rig import Rig

LOCK, CHANGE, FUNCTION, TASK, DATABASE, SERVICE, SMOKE, RECORD, BACK, AWS = (
    "lock", "change set", "function", "release task", "database", "service", "smoke test", "record", "way back", "AWS",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault. `exits` are the statuses that the command may end with (-9: killed), `ends` says which build is last good afterwards.

    `release` is the state of the newest release then. `unanswered` says why answers may fail; empty: none may.
    """

    station: str
    what: str
    how: str
    make: Callable[[Rig], int]
    exits: tuple[int, ...]
    ends: str
    release: str
    unanswered: str = ""

    @property
    def name(self) -> str:
        """What it is called on the command line: the name of the function that makes it."""
        return self.make.__name__.replace("_", "-")


@dataclass(frozen=True)
class Missing:
    """A fault that can't be made here, and why."""

    what: str
    why: str


KILLED = (-9,)
GOOD, RESTORED, NOT = (0,), (3,), (4,)
FRONT = "the emulator is the load balancer, too: while it is gone, nobody answers"

FAULTS: tuple[Fault, ...] = (
    # --- lock
    Fault(LOCK, "tool killed", "SIGKILL once the lock is written; nobody gives the lock back, it ends by itself",
          ways.killed_with_the_lock, KILLED, "old", "good"),
    Fault(LOCK, "two deploys at once", "a second deploy while the first one's migration runs",
          ways.two_at_once, GOOD, "new", "good"),
    Fault(LOCK, "lock taken away from a living tool", "`unlock --force` while the migration runs, and another deploy of the same build",
          ways.lock_taken, NOT, "new", "good"),
    Fault(LOCK, "image gone from the registry", "the image is deleted before the deploy", ways.image_gone, (1,), "old", "good"),
    # --- change set
    Fault(CHANGE, "tool killed before it", "SIGKILL at CreateChangeSet, the release is pending",
          ways.killed_before_the_change_set, KILLED, "old", "failed"),
    Fault(CHANGE, "tool killed after it", "SIGKILL at ExecuteChangeSet, which is not heard",
          ways.killed_before_the_execution, KILLED, "old", "failed"),
    Fault(CHANGE, "Ctrl-C", "SIGINT at DescribeChangeSet", ways.interrupted_at_the_change_set, RESTORED, "old", "failed"),
    Fault(CHANGE, "throttling", "CreateChangeSet and ExecuteChangeSet are throttled twice each",
          ways.throttled_change_set, GOOD, "new", "good"),
    Fault(CHANGE, "AWS answers 500", "ExecuteChangeSet, twice", ways.refused_execution, GOOD, "new", "good"),
    Fault(CHANGE, "answer lost", "ExecuteChangeSet is done, and the connection is cut before its answer",
          ways.answer_lost, GOOD, "new", "good"),
    Fault(CHANGE, "stack gone", "somebody has deleted the stack", ways.stack_gone, GOOD, "new", "good",
          "there is no stack until the deploy has made one"),
    Fault(CHANGE, "tool killed once it is executed", "SIGKILL when ExecuteChangeSet has its answer",
          ways.killed_after_the_execution, KILLED, "new", "good"),
    # --- function
    Fault(FUNCTION, "function killed before it has written anything", "SIGKILL at its TransactWriteItems",
          ways.function_killed_at_the_beginning, GOOD, "new", "good"),
    Fault(FUNCTION, "function killed before it starts the task", "SIGKILL at its RunTask, which is heard all the same",
          ways.function_killed_at_the_task, GOOD, "new", "good"),
    Fault(FUNCTION, "function killed after it has started the task", "SIGKILL once RunTask is done, before its answer",
          ways.function_killed_after_the_task, GOOD, "new", "good"),
    Fault(FUNCTION, "function killed when the task has stopped", "SIGKILL at its GetLogEvents",
          ways.function_killed_at_the_log, GOOD, "new", "good"),
    Fault(FUNCTION, "function killed once it has answered", "SIGKILL when CloudFormation has the answer",
          ways.function_killed_after_the_answer, GOOD, "new", "good"),
    Fault(FUNCTION, "throttling", "RunTask is throttled five times", ways.throttled_task, GOOD, "new", "good"),
    Fault(FUNCTION, "record answers 500", "its TransactWriteItems fails three times", ways.record_refuses_the_function,
          GOOD, "new", "good"),
    Fault(FUNCTION, "event lost", "the release task's STOPPED is never delivered", ways.event_lost, GOOD, "new", "good"),
    Fault(FUNCTION, "event doubled", "STOPPED is delivered twice at once", ways.event_doubled, GOOD, "new", "good"),
    Fault(FUNCTION, "event late", "STOPPED is delivered after the deploy has ended", ways.event_late, GOOD, "new", "good"),
    Fault(FUNCTION, "events reordered", "on the way back, the first task's STOPPED is delivered after the second's",
          ways.events_reordered, RESTORED, "old", "failed"),
    # --- release task
    Fault(TASK, "container killed", "SIGKILL while its migration runs", ways.task_killed, RESTORED, "old", "failed"),
    Fault(TASK, "out of memory", "a migration that takes more than the task has", ways.task_out_of_memory, RESTORED,
          "old", "failed"),
    Fault(TASK, "image gone", "deleted from the registry once the deploy has looked", ways.image_gone_late, RESTORED, "old", "failed"),
    Fault(TASK, "image can't be pulled", "the first two starts of the task fail at the registry",
          ways.registry_refuses, GOOD, "new", "good"),
    Fault(TASK, "Ctrl-C while it starts", "SIGINT while its container is still to be started (PROVISIONING)",
          ways.interrupted_while_starting,
          RESTORED, "old", "failed"),
    Fault(TASK, "Ctrl-C while it runs", "SIGINT while its migration runs", ways.interrupted_in_the_migration, RESTORED, "old", "failed"),
    Fault(TASK, "cancelled job", "SIGINT while the migration runs, then SIGTERM, then SIGKILL, as a runner does it",
          ways.cancelled_job, KILLED, "old", "failed"),
    Fault(TASK, "tool killed while it runs", "SIGKILL while its migration runs", ways.killed_in_the_migration, KILLED, "new", "good"),
    Fault(TASK, "emulator killed", "SIGKILL to the whole cloud's process while the migration runs; `local up` brings it back",
          ways.cloud_killed_in_the_migration, (3, 4), "old", "failed", FRONT),
    Fault(TASK, "session expired", "every call of the tool is refused as expired while the migration runs",
          ways.session_expired, NOT, "new", "good"),
    Fault(TASK, "network to AWS cut", "the tool's wire is cut while the migration runs, and mended",
          ways.wire_cut, GOOD, "new", "good"),
    Fault(TASK, "network to AWS cut for good", "cut and not mended while the tool lives; its patience is made 3 s",
          ways.wire_cut_for_good, NOT, "new", "good"),
    # --- database
    Fault(DATABASE, "migration fails", "a constraint that the rows contradict", ways.migration_fails, RESTORED, "old", "failed"),
    Fault(DATABASE, "migration is slow", "it waits until a hundred answers have been given", ways.migration_is_slow, GOOD, "new", "good"),
    Fault(DATABASE, "migration slower than MigrationTimeout", "it waits until it is stopped; the limit is made 60 s",
          ways.migration_too_slow, RESTORED, "old", "failed"),
    Fault(DATABASE, "table locked", "a session reads the table and keeps its lock until the migrator has been refused once",
          ways.table_locked, GOOD, "new", "good", "whoever comes after a migration that waits for the table waits with it"),
    Fault(DATABASE, "migration lock held", "another migrator's lock, until the first try has found it",
          ways.migration_lock_held, GOOD, "new", "good"),
    Fault(DATABASE, "connection ended", "pg_terminate_backend while the migration runs",
          ways.connection_ended, RESTORED, "old", "failed"),
    Fault(DATABASE, "database restarted", "killed and started again while the migration runs", ways.database_restarted, RESTORED,
          "old", "failed", "pages need the database"),
    Fault(DATABASE, "network cut", "the database leaves the tasks' network while the migration runs, and comes back",
          ways.database_cut, (0, 3), "either", "either", "pages need the database"),
    Fault(DATABASE, "disk full", "the database answers a migration's statements with 53100, disk full",
          ways.database_full, RESTORED, "old", "failed"),
    # --- service
    Fault(SERVICE, "crash loop", "a build that ends while it starts", ways.crash_loop, RESTORED, "old", "failed"),
    Fault(SERVICE, "unhealthy but running", "a build that tells the load balancer 500", ways.unhealthy, RESTORED, "old", "failed"),
    Fault(SERVICE, "out of memory", "a build that takes more memory than its task has", ways.out_of_memory, RESTORED, "old", "failed"),
    Fault(SERVICE, "new task killed", "SIGKILL to the new build's container as soon as it runs",
          ways.new_task_killed, GOOD, "new", "good"),
    Fault(SERVICE, "last good's task killed", "SIGKILL to its container while the migration runs", ways.old_task_killed, GOOD, "new",
          "good", "there is one task only (DesiredCount), and ECS needs a moment to replace it"),
    Fault(SERVICE, "tool killed", "SIGKILL while the service waits for its tasks", ways.killed_in_the_rollout, KILLED, "new", "good"),
    Fault(SERVICE, "Ctrl-C", "SIGINT while the service waits for its tasks", ways.interrupted_in_the_rollout, RESTORED, "old", "failed"),
    # --- smoke test
    Fault(SMOKE, "build is not fit", "a build whose /healthz answers 503; the test's patience is made 3 s",
          ways.unfit, RESTORED, "old", "failed"),
    Fault(SMOKE, "tool killed", "SIGKILL once the stack is complete", ways.killed_before_the_smoke_test, KILLED, "new", "good"),
    Fault(SMOKE, "throttling", "DescribeStacks is throttled five times", ways.throttled_smoke_test, GOOD, "new", "good"),
    # --- record
    Fault(RECORD, "tool killed before it is written", "SIGKILL at TransactWriteItems, which is not heard",
          ways.killed_before_good, KILLED, "new", "good"),
    Fault(RECORD, "tool killed after it is written", "SIGKILL once TransactWriteItems is done",
          ways.killed_after_good, KILLED, "new", "good"),
    Fault(RECORD, "record answers 500", "to every TransactWriteItems of the tool", ways.record_refuses_good, NOT, "new", "good"),
    Fault(RECORD, "disk of the tool is full", "no file takes a byte", ways.disk_full, GOOD, "new", "good"),
    # --- way back
    Fault(BACK, "tool killed", "SIGKILL while the way back's migration runs", ways.killed_on_the_way_back, KILLED, "old", "failed"),
    Fault(BACK, "container killed", "SIGKILL to the way back's release task",
          ways.task_killed_on_the_way_back, RESTORED, "old", "failed"),
    Fault(BACK, "Ctrl-C", "SIGINT while the way back's migration runs", ways.interrupted_on_the_way_back, NOT, "old", "failed"),
    Fault(BACK, "network to AWS cut", "cut while the way back's migration runs, and mended", ways.wire_cut_on_the_way_back, RESTORED,
          "old", "failed"),
    Fault(BACK, "event lost", "the first STOPPED of the way back is never delivered", ways.events_lost_on_the_way_back, RESTORED,
          "old", "failed"),
    Fault(BACK, "emulator killed", "SIGKILL to the whole cloud's process while the way back's migration runs; `local up` brings it back",
          ways.cloud_killed_on_the_way_back, (3, 4), "old", "failed", FRONT),
)  # fmt: skip

MISSING: tuple[Missing, ...] = (
    Missing("the engine is killed, or its disk is full", "other work of the same machine runs in it"),
    Missing(
        "a zone fails, or Fargate has no capacity",
        "the engine starts every task; the decision is tested with events alone",
    ),
    Missing(
        "the database fails over to its standby", "there is one PostgreSQL; a restart stands for what its clients see"
    ),
    Missing(
        "the database's own disk is full", "it shares the engine's disk; its answer, SQLSTATE 53100, is what is tried"
    ),
    Missing("clocks that differ", "one machine has one clock"),
    Missing("CloudFormation itself stops for hours", "only an account can tell what it does with what is under way"),
    Missing(
        "the load balancer fails",
        "it is the emulator's own process, and falls with it: see the rows where that is killed",
    ),
)
