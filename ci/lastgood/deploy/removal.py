"""Which stacks the tool may delete by itself: those that can do nothing but be deleted, and that serve nobody. A table, and no more.

With a stack goes the name of its load balancer, which a domain or a customer's firewall may point to: a stack that stands is deleted only
by a person, who says `--recreate`.
"""

from __future__ import annotations

from dataclasses import dataclass

REMOVABLE = {
    "ROLLBACK_COMPLETE": "its first creation failed, CloudFormation has deleted all that it had made, and it takes no update",
    "REVIEW_IN_PROGRESS": "it holds a change set that nobody executed, and no resource",
    "ROLLBACK_FAILED": "its first creation failed, and what could not be deleted again is left; it takes nothing but another deletion",
    "DELETE_FAILED": "somebody has deleted it already, and what could not be deleted is left; it takes nothing but another deletion",
}
LEFT_ALONE = {
    "CREATE_FAILED": "somebody has told CloudFormation to keep what a failed creation made, to look at it, and it can be continued",
    "UPDATE_FAILED": "somebody has told CloudFormation not to go back, and it can be",
    "UPDATE_ROLLBACK_FAILED": "its rollback stopped and can be continued, and what it had before the update may well serve",
    "IMPORT_ROLLBACK_FAILED": "the import that failed was not ours",
    "IMPORT_ROLLBACK_COMPLETE": "it stands as it did before an import that was not ours",
}


@dataclass(frozen=True)
class Removal:
    """Whether the tool may delete the stack, and why."""

    allowed: bool
    reason: str


def removal(status: str | None, *, serving: bool) -> Removal:
    """Decides for a stack's status (None: there is no stack). `serving` says that something of it runs or answers."""
    if status is None:
        return Removal(False, "there is no stack")
    if status not in REMOVABLE:
        return Removal(False, LEFT_ALONE.get(status, "it stands, or something is going on in it"))
    if serving:
        return Removal(False, f"{REMOVABLE[status]}; but something of it still runs or answers")
    return Removal(True, REMOVABLE[status])
