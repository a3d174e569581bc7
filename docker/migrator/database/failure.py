"""What the failure of a migration means: whether it may be tried again, and by whom."""

from __future__ import annotations

from ..errors import TRY_AGAIN, Busy, LeftBehind, MigratorError, TooMuchAtOnce, cause, sqlstate
from ..manifest import Migration
from ..output import progress

OUT_OF_MEMORY = "53200"  # of the table that all locks share, for the most part


def failure(migration: Migration, error: Exception, *, stayed: bool) -> MigratorError:
    """Return what to raise for `error`; `stayed`: a part of the migration may be there, for no transaction has undone it."""
    text = f"{migration.key}: {cause(error)}"
    if stayed:
        mended = "the next run clears that away first" if migration.again else "clear that away, then pass --resume"
        text += f"; it is not atomic, so a part of it may have stayed: {mended}"
    again = TRY_AGAIN.get(sqlstate(error) or "")
    progress(f"failed   {text}")
    if sqlstate(error) == OUT_OF_MEMORY and not stayed:
        return TooMuchAtOnce(f"{text} (the server's max_locks_per_transaction bounds what one transaction can lock)")
    if again and (not stayed or migration.again):
        return (LeftBehind if stayed else Busy)(f"{text} ({again}: try again)")
    return MigratorError(text)
