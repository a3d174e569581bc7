"""How each fault is made: a function takes the rig, does it to a deploy, and returns the exit status of the command that met it.

Nothing waits for a time: a call is held until the fault is there, a gate keeps a migration where it is wanted.
"""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from typing import Any

from faults.rig import AT_GATE, STACK, Held, NotMade, Rig, Tool, until

SHORT = {"lastgood.deploy.stack:PATIENCE": 3.0, "lastgood.deploy.verify:PATIENCE": 3.0}
TOOL, FUNCTION = "tool", "function"


# --- what several need


def _held(rig: Rig, operation: str, caller: str = TOOL, build: str = "new", **what: Any) -> tuple[Held, Tool]:
    """A deploy that has come to a call, which is held."""
    rule = rig.rule("hold", caller=caller, operation=operation, **what)
    tool = rig.deploy(build)
    rule.met(tool)
    return rule, tool


def _killed_at(rig: Rig, operation: str, *, after: bool = False, **what: Any) -> int:
    """The tool is killed at a call; without `after`, AWS never hears it."""
    rule = rig.rule("hold" if after else "hold and drop", caller=TOOL, operation=operation, after=after, **what)
    tool = rig.deploy()
    rule.met(tool)
    tool.kill()
    rule.release()
    return tool.wait()


def _in_the_migration(rig: Rig, gate: str = "forward", build: str = "new", **asked: Any) -> Tool:
    """A deploy whose migration waits at its gate."""
    rig.close(gate)
    tool = rig.deploy(build, **asked)
    rig.at_gate(tool)
    return tool


def _goes_on(rig: Rig, tool: Tool) -> int:
    rig.open()
    return tool.wait()


def _done(rig: Rig, **what: Any) -> int:
    """A deploy that meets a rule on its way, and ends."""
    rule = rig.rule(**what)
    tool = rig.deploy()
    rule.met(tool, what.get("times", 1))
    return tool.wait()


# --- lock


def killed_with_the_lock(rig: Rig) -> int:
    status = _killed_at(rig, "PutItem", after=True)
    until(lambda: rig.lock() is None, "the end of the dead tool's lock")
    return status


def two_at_once(rig: Rig) -> int:
    first = _in_the_migration(rig)
    second = rig.deploy("other" if rig.base == "old" else "old")
    if second.wait() != 1 or "deploy" not in second.said():
        raise NotMade(f"the second deploy was not refused: {second.said()}")
    return _goes_on(rig, first)


def lock_taken(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.run("unlock", "--environment", "local", "--force", "--reason", "fault matrix")
    other = rig.tool("deploy", "--environment", "local", "--digest", rig.digests["new"], "--force")
    status = tool.wait()  # it finds out at its next renewal
    rig.open()
    if other.wait() != 0:
        raise NotMade(f"the deploy after it failed: {other.said()[-1500:]}")
    return status


def image_gone(rig: Rig) -> int:
    with rig.without_image("new"):
        return rig.deploy().wait()


# --- change set


def killed_before_the_change_set(rig: Rig) -> int:
    return _killed_at(rig, "CreateChangeSet")


def killed_before_the_execution(rig: Rig) -> int:
    return _killed_at(rig, "ExecuteChangeSet")


def killed_after_the_execution(rig: Rig) -> int:
    return _killed_at(rig, "ExecuteChangeSet", after=True)


def interrupted_at_the_change_set(rig: Rig) -> int:
    rule, tool = _held(rig, "DescribeChangeSet")
    tool.interrupt()
    rule.release()
    return tool.wait()


def throttled_change_set(rig: Rig) -> int:
    rules = [
        rig.rule("throttle", caller=TOOL, operation=one, times=2) for one in ("CreateChangeSet", "ExecuteChangeSet")
    ]
    tool = rig.deploy()
    for rule in rules:
        rule.met(tool, 2)
    return tool.wait()


def refused_execution(rig: Rig) -> int:
    return _done(rig, do="error", caller=TOOL, operation="ExecuteChangeSet", times=2)


def answer_lost(rig: Rig) -> int:
    rule, tool = _held(rig, "ExecuteChangeSet", after=True)
    rig.wire.cut()
    rule.release()
    rig.wire.mend()
    return tool.wait()


def stack_gone(rig: Rig) -> int:
    rig.client("cloudformation").delete_stack(StackName=STACK)
    until(lambda: rig.stack() in ("absent", "DELETE_COMPLETE"), "the deletion of the stack")
    return rig.deploy().wait()


# --- function


def function_killed_at_the_beginning(rig: Rig) -> int:
    return _done(rig, do="kill function", caller=FUNCTION, operation="TransactWriteItems")


def function_killed_at_the_task(rig: Rig) -> int:
    return _done(rig, do="kill function", caller=FUNCTION, operation="RunTask")


def function_killed_after_the_task(rig: Rig) -> int:
    return _done(rig, do="kill function", caller=FUNCTION, operation="RunTask", after=True)


def function_killed_at_the_log(rig: Rig) -> int:
    return _done(rig, do="kill function", caller=FUNCTION, operation="GetLogEvents")


def function_killed_after_the_answer(rig: Rig) -> int:
    return _done(rig, do="kill function", caller=FUNCTION, operation="Answer", after=True)


def throttled_task(rig: Rig) -> int:
    return _done(rig, do="throttle", caller=FUNCTION, operation="RunTask", times=5)


def record_refuses_the_function(rig: Rig) -> int:
    return _done(rig, do="error", caller=FUNCTION, operation="TransactWriteItems", times=3)


def event_lost(rig: Rig) -> int:
    return _done(rig, do="lose", event="release STOPPED")


def event_doubled(rig: Rig) -> int:
    return _done(rig, do="double", event="release STOPPED")


def event_late(rig: Rig) -> int:
    rule = rig.rule("hold", event="release STOPPED")
    tool = rig.deploy()
    rule.met(tool)
    status = tool.wait()
    rule.release()
    return status


def events_reordered(rig: Rig) -> int:
    # The way forward has one task, the way back two: back by the new build, forward by last good.
    rule = rig.rule("hold", event="release STOPPED", skip=1)
    tool = rig.deploy("crash")
    rule.met(tool)
    until(lambda: len(rig.exits()) > 1, "the end of the task after it", tool)
    rule.release()
    return tool.wait()


# --- release task


def task_killed(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.kill_container(rig.containers("release")[0])
    return _goes_on(rig, tool)


def task_out_of_memory(rig: Rig) -> int:
    return rig.deploy("greedy").wait()


def image_gone_late(rig: Rig) -> int:
    rule, tool = _held(rig, "ExecuteChangeSet")
    with rig.without_image("new"):
        rule.release()
        return tool.wait()


def registry_refuses(rig: Rig) -> int:
    return _done(rig, do="error", start="release", times=2)


def interrupted_while_starting(rig: Rig) -> int:
    rule = rig.rule("hold", start="release")
    tool = rig.deploy()
    rule.met(tool)
    tool.interrupt()
    until(lambda: "going back" in tool.said(), "the tool's turn", tool)
    until(lambda: rig.stack() == "UPDATE_ROLLBACK_IN_PROGRESS", "the rollback", tool)
    rule.release()
    return tool.wait()


def interrupted_in_the_migration(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    tool.interrupt()
    until(lambda: "going back" in tool.said(), "the tool's turn", tool)
    return tool.wait()  # the gate stays closed: the task has to be stopped


def cancelled_job(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    tool.interrupt()
    until(lambda: rig.stack().startswith("UPDATE_ROLLBACK"), "the rollback", tool)
    tool.interrupt(signal.SIGTERM)
    tool.kill()
    return tool.wait()


def killed_in_the_migration(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    tool.kill()
    return _goes_on(rig, tool)


def cloud_killed_in_the_migration(rig: Rig) -> int:
    return _cloud_killed(rig, _in_the_migration(rig))


def _cloud_killed(rig: Rig, tool: Tool) -> int:
    os.kill(rig.emulator(), signal.SIGKILL)
    until(lambda: not _answers(rig), "the end of the emulator")
    rig.up()
    rig.open()
    return tool.wait()


def _answers(rig: Rig) -> bool:
    try:
        with urllib.request.urlopen(f"{rig.cloud.site_url}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def session_expired(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.rule("expire", caller=TOOL, times=10_000)
    status = tool.wait()
    rig.open()
    return status


def wire_cut(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.wire.cut()
    rig.open()
    until(lambda: rig.wire.met > 10, "the tool's tries")
    until(rig.settled, "the stack's end")
    rig.wire.mend()
    return tool.wait()


def wire_cut_for_good(rig: Rig) -> int:
    tool = _in_the_migration(rig, set=SHORT)
    rig.wire.cut()
    status = tool.wait()
    rig.wire.mend()
    rig.open()
    return status


# --- database


def migration_fails(rig: Rig) -> int:
    return rig.deploy("broken").wait()


def migration_is_slow(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    for _ in range(100):
        if not _answers(rig):
            raise NotMade("the site does not answer while the migration runs")
    return _goes_on(rig, tool)


def migration_too_slow(rig: Rig) -> int:
    root = rig.root.parent / "short"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(rig.root, root, symlinks=True, ignore=shutil.ignore_patterns(".lastgood"))
    file = root / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    table = "[tool.lastgood.environments.local]\n"
    file.write_text(text.replace(table, f'{table}parameters = {{ MigrationTimeout = "60" }}\n'), encoding="utf-8")
    rig.close("forward")
    tool = rig.tool("deploy", "--environment", "local", "--digest", rig.digests["new"], root=root)
    return tool.wait()


def table_locked(rig: Rig) -> int:
    with rig.session("SELECT count(*) FROM releases_release"):
        tool = rig.deploy()
        until(lambda: 75 in rig.exits(), "the migrator's refusal", tool)
    return tool.wait()


def migration_lock_held(rig: Rig) -> int:
    key = int.from_bytes(b"lastgood", "big")
    with rig.session(f"SELECT pg_advisory_lock({key})"):
        tool = rig.deploy()
        until(lambda: 75 in rig.exits(), "the migrator's refusal", tool)
    return tool.wait()


def connection_ended(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {AT_GATE}")
    return _goes_on(rig, tool)


def database_restarted(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.restart_database()
    return _goes_on(rig, tool)


def database_cut(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    rig.cut_database()
    until(lambda: not _page(rig), "the first page without a database")
    rig.mend_database()
    until(lambda: _page(rig), "the first page with it")
    return _goes_on(rig, tool)


def _page(rig: Rig) -> bool:
    try:
        with urllib.request.urlopen(f"{rig.cloud.site_url}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def database_full(rig: Rig) -> int:
    rig.sql("CREATE OR REPLACE FUNCTION faults.full_disk() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$")  # fmt: skip
    rig.sql(
        "CREATE EVENT TRIGGER full_disk ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION faults.full_disk()"
    )
    status = rig.deploy().wait()
    rig.sql("DROP EVENT TRIGGER full_disk")
    return status


# --- service


def crash_loop(rig: Rig) -> int:
    return rig.deploy("crash").wait()


def unhealthy(rig: Rig) -> int:
    return rig.deploy("ill").wait()


def out_of_memory(rig: Rig) -> int:
    return rig.deploy("hungry").wait()


def _rolling_out(rig: Rig) -> tuple[Tool, set[str]]:
    """A deploy whose new web container runs, and can't answer: it is paused."""
    before = set(rig.containers("web"))
    tool = rig.deploy()
    fresh = until(lambda: set(rig.containers("web")) - before, "the new web container", tool)
    for one in fresh:
        rig.pause(one, on=True)
    return tool, fresh


def new_task_killed(rig: Rig) -> int:
    tool, fresh = _rolling_out(rig)
    for one in fresh:
        rig.kill_container(one)
    return tool.wait()


def old_task_killed(rig: Rig) -> int:
    tool = _in_the_migration(rig)
    before = rig.containers("web")
    rig.kill_container(before[0])
    until(lambda: set(rig.containers("web")) - set(before), "the task that replaces it")
    until(lambda: _answers(rig), "its first answer")
    return _goes_on(rig, tool)


def killed_in_the_rollout(rig: Rig) -> int:
    tool, fresh = _rolling_out(rig)
    tool.kill()
    rig.pause(*fresh, on=False)
    return tool.wait()


def interrupted_in_the_rollout(rig: Rig) -> int:
    tool, fresh = _rolling_out(rig)
    tool.interrupt()
    until(lambda: rig.stack() == "UPDATE_ROLLBACK_IN_PROGRESS", "the rollback", tool)
    rig.pause(*fresh, on=False)
    return tool.wait()


# --- smoke test


def unfit(rig: Rig) -> int:
    return rig.deploy("unfit", set={"lastgood.deploy.smoke:DEADLINE": 3.0}).wait()


def _complete(rig: Rig) -> tuple[Tool, Held]:
    """A deploy that does not know yet that its stack is complete: its questions are held."""
    tool = _in_the_migration(rig)
    rule = rig.rule("hold", caller=TOOL, operation="DescribeStacks", times=1000)
    rig.open()
    rule.met(tool)
    until(lambda: rig.stack() == "UPDATE_COMPLETE", "the stack's end", tool)
    return tool, rule


def killed_before_the_smoke_test(rig: Rig) -> int:
    tool, rule = _complete(rig)
    tool.kill()
    rule.release()
    return tool.wait()


def throttled_smoke_test(rig: Rig) -> int:
    tool, rule = _complete(rig)
    throttled = rig.rule("throttle", caller=TOOL, operation="DescribeStacks", times=5)
    rule.release()
    throttled.met(tool, 5)
    return tool.wait()


# --- record


def killed_before_good(rig: Rig) -> int:
    return _killed_at(rig, "TransactWriteItems")


def killed_after_good(rig: Rig) -> int:
    return _killed_at(rig, "TransactWriteItems", after=True)


def record_refuses_good(rig: Rig) -> int:
    rule = rig.rule("error", caller=TOOL, operation="TransactWriteItems", times=100)
    tool = rig.deploy()
    rule.met(tool)
    return tool.wait()


def disk_full(rig: Rig) -> int:
    tool = rig.deploy(full=True)
    return tool.wait()


# --- way back


def _on_the_way_back(rig: Rig, **asked: Any) -> Tool:
    """A deploy of a build that crashes, whose way back waits at its gate."""
    return _in_the_migration(rig, "back", "crash", **asked)


def killed_on_the_way_back(rig: Rig) -> int:
    tool = _on_the_way_back(rig)
    tool.kill()
    return _goes_on(rig, tool)


def task_killed_on_the_way_back(rig: Rig) -> int:
    tool = _on_the_way_back(rig)
    rig.kill_container(rig.containers("release")[0])
    return _goes_on(rig, tool)


def interrupted_on_the_way_back(rig: Rig) -> int:
    tool = _on_the_way_back(rig)
    tool.interrupt()
    status = tool.wait()
    rig.open()
    return status


def wire_cut_on_the_way_back(rig: Rig) -> int:
    tool = _on_the_way_back(rig)
    rig.wire.cut()
    rig.open()
    until(lambda: rig.wire.met > 10, "the tool's tries")
    rig.wire.mend()
    return tool.wait()


def events_lost_on_the_way_back(rig: Rig) -> int:
    rule = rig.rule("lose", event="release STOPPED", skip=1)
    tool = rig.deploy("crash")
    rule.met(tool)
    return tool.wait()


def cloud_killed_on_the_way_back(rig: Rig) -> int:
    return _cloud_killed(rig, _on_the_way_back(rig))
