"""Brings last good back after a failure. The decision is a table over facts; the shell below it acts until it says `done`.

    stack                              last good verified    next
    something is going on              -                     wait
    update rolled back, or complete    yes                   done
    the same                           no                    redeploy last good, once; then give up
    UPDATE_ROLLBACK_FAILED             -                     continue the rollback, once; then recreate
    absent, or only deletable          -                     recreate from last good, once; then give up
    any other                          -                     give up
    anything                           there is no last good delete what can only be deleted; done

A stack that stands is never deleted because its application does not answer: that would turn a bad night into a worse one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lastgood.deploy import verify
from lastgood.deploy.stack import BACK, DONE, ONLY_DELETABLE, settled
from lastgood.deploy.verify import Facts
from lastgood.report.terminal import say, step

PATIENCE = 60.0  # seconds for old tasks to leave and last good to answer, once the stack is back


@dataclass(frozen=True)
class Restored:
    """How it ended: whether last good is back, what was wrong if not, and what was done for it."""

    back: bool
    wrong: str = ""
    steps: list[str] = field(default_factory=list)


def next_step(stack: str | None, wrong: str, done: Sequence[str], *, last_good: bool) -> str:
    """The next of wait, done, continue rollback, redeploy, delete, recreate, give up.

    `stack` is the stack's status, `wrong` what verifying last good found (empty: nothing), `done` the steps already taken.
    """
    if not settled(stack):
        return "wait"
    if not last_good:
        if stack in ONLY_DELETABLE or stack == "REVIEW_IN_PROGRESS":
            return "give up" if "delete" in done else "delete"
        return "done" if stack is None else "give up"
    if stack == "UPDATE_ROLLBACK_FAILED" and "continue rollback" not in done:
        return "continue rollback"
    if stack in (*DONE, *BACK):
        if not wrong:
            return "done"
        return "give up" if "redeploy" in done or "recreate" in done else "redeploy"
    gone = stack is None or stack in (*ONLY_DELETABLE, "UPDATE_ROLLBACK_FAILED")
    return "recreate" if gone and "recreate" not in done else "give up"


def restore(
    look: Callable[[], Facts],
    digest: str | None,
    act: dict[str, Callable[[], None]],
    *,
    patience: float = PATIENCE,
    pause: float = 0.5,
) -> Restored:
    """Acts until last good (the build of `digest`; None: there is none) is back or nothing more can be done.

    `look` finds the facts, `act` has a function for each step that next_step() may say (but done and give up); each returns
    when its step has ended, and may raise: the next look decides about it.
    """
    done: list[str] = []
    while True:
        facts, wrong = _look(look, digest, patience, pause)
        chosen = next_step(facts.stack, wrong, done, last_good=digest is not None)
        if chosen in ("done", "give up"):
            state = wrong or f"the stack is {facts.stack or 'absent'}"
            return Restored(chosen == "done", "" if chosen == "done" else state, done)
        if chosen != "wait":
            done.append(chosen)
        try:
            with step(chosen) if chosen != "wait" else step("wait for the rollback"):
                act[chosen]()
        except Exception as error:
            say(f"{chosen}: {error}")
            if chosen == "wait":
                raise


def _look(look: Callable[[], Facts], digest: str | None, patience: float, pause: float) -> tuple[Facts, str]:
    """The facts, and what is wrong with them; a stack that stands gets `patience` seconds until last good answers."""
    deadline = time.monotonic() + patience
    while True:
        facts = look()
        wrong = verify.wrong(facts, digest) if digest else ""
        coming = facts.stack in (*DONE, *BACK) and facts.wanted == digest
        if not wrong or not coming or time.monotonic() >= deadline:
            return facts, wrong
        time.sleep(pause)
