"""Brings last good back after a failure. The decision is a table over facts; the shell below it acts until it says `done`.

    stack                              last good verified    next
    something is going on              -                     wait
    update rolled back, or complete    yes                   done
    the same                           no                    redeploy last good, once; then give up
    UPDATE_ROLLBACK_FAILED             -                     continue the rollback, once; then once more without what is proved to be
                                                             as last good had it (skip.py); else give up
    absent, or may be removed          -                     recreate from last good, once; then give up
    any other                          -                     give up
    anything                           there is no last good delete what may be removed (removal.py); done

A stack that stands is never deleted, whatever its application answers: that would turn a bad night into a worse one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lastgood.aws.errors import unheard
from lastgood.deploy import template, verify
from lastgood.deploy.removal import removal
from lastgood.deploy.skip import Skip
from lastgood.deploy.stack import BACK, DONE, STUCK, settled
from lastgood.deploy.verify import Facts
from lastgood.record.lock import Lost
from lastgood.report.terminal import say, step

PATIENCE = 60.0  # seconds for old tasks to leave and last good to answer, once the stack is back
CONTINUE = "continue rollback"
WITHOUT = f"{CONTINUE} without "


@dataclass(frozen=True)
class Restored:
    """How it ended: whether last good is back, what was wrong if not, what was done for it, and what was found last."""

    back: bool
    wrong: str = ""
    steps: list[str] = field(default_factory=list)
    facts: Facts | None = None


def next_step(
    stack: str | None,
    wrong: str,
    done: Sequence[str],
    *,
    last_good: bool,
    removable: bool = False,
    proved: Sequence[str] = (),
) -> str:
    """The next of wait, done, continue rollback (without …), redeploy, delete, recreate, give up.

    `stack` is the stack's status, `wrong` what verifying last good found (empty: nothing), `done` the steps already taken, `removable`
    what removal() says of it, and `proved` the resources that may be skipped where its rollback has stopped.
    """
    if not settled(stack):
        return "wait"
    if stack == STUCK:
        return next_of_a_stuck_rollback(done, proved)
    if not last_good:
        if removable:
            return "give up" if "delete" in done else "delete"
        return "done" if stack is None else "give up"
    if stack in (*DONE, *BACK):
        if not wrong:
            return "done"
        return "give up" if "redeploy" in done or "recreate" in done else "redeploy"
    return "recreate" if (stack is None or removable) and "recreate" not in done else "give up"


def next_of_a_stuck_rollback(done: Sequence[str], proved: Sequence[str]) -> str:
    """The next step where a rollback has stopped: continue, continue without what is proved, or give up. Nothing is tried twice."""
    if CONTINUE not in done:
        return CONTINUE
    without = WITHOUT + ", ".join(proved)
    return without if proved and without not in done else "give up"


@dataclass(frozen=True)
class Eyes:
    """How the facts are found: `facts` of the stack and what runs in it, `skip` of a rollback that has stopped."""

    facts: Callable[[], Facts]
    skip: Callable[[Facts], Skip]


def restore(
    eyes: Eyes,
    digest: str | None,
    act: dict[str, Callable[..., None]],
    *,
    shape: str = "",
    patience: float = PATIENCE,
    pause: float = 0.5,
) -> Restored:
    """Acts until last good (the build of `digest` in its `shape`; None: there is none) is back or nothing more can be done.

    `act` has a function for each step that next_step() may say (but done and give up); the one to continue a rollback takes the names of
    the resources to skip. Each returns when its step has ended, and may raise: the next look decides about it. What AWS raises when it can
    not be asked, and the loss of the lock, end the restoring.
    """
    done: list[str] = []
    while True:
        facts, wrong = _look(eyes.facts, digest, shape, patience, pause)
        # A rollback that has not been continued yet is, whatever is proved: the next try needs no proof.
        skip = eyes.skip(facts) if facts.stack == STUCK and CONTINUE in done else Skip()
        removable = removal(facts.stack, serving=facts.serving).allowed
        chosen = next_step(
            facts.stack, wrong, done, last_good=digest is not None, removable=removable, proved=skip.resources
        )
        if chosen == "done":
            return Restored(True, "", done, facts)
        if chosen == "give up":
            return Restored(False, _why(facts, wrong, skip), done, facts)
        if chosen != "wait":
            done.append(chosen)
        try:
            with step(chosen) if chosen != "wait" else step("wait for the rollback"):
                if chosen.startswith(WITHOUT):
                    act[CONTINUE](*skip.resources)
                else:
                    act[chosen]()
        except Exception as error:
            if chosen == "wait" or isinstance(error, Lost) or unheard(error):
                raise
            say(f"{chosen}: {error}")


def _why(facts: Facts, wrong: str, skip: Skip) -> str:
    """What keeps last good from being back, in one paragraph."""
    if facts.stack == STUCK:
        named = "".join(f"\n  {one}" for one in skip.unproved)
        return f"the stack is {STUCK}" + (f", and this could not be proved harmless:{named}" if named else "")
    standing = removal(facts.stack, serving=facts.serving)
    if wrong or facts.stack is None:
        return wrong or "there is no stack"
    return f"the stack is {facts.stack}: {standing.reason}"


def _look(
    look: Callable[[], Facts], digest: str | None, shape: str, patience: float, pause: float
) -> tuple[Facts, str]:
    """The facts, and what is wrong with them; a stack that stands gets `patience` seconds until last good answers."""
    deadline = time.monotonic() + patience
    while True:
        facts = look()
        wrong = verify.wrong(facts, digest, shape=shape) if digest else ""
        coming = facts.stack in (*DONE, *BACK) and (facts.wanted, facts.shape) == (digest, template.mark(shape))
        if not wrong or not coming or time.monotonic() >= deadline:
            return facts, wrong
        time.sleep(pause)
