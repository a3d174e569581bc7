"""Takes a database to exactly what a build wants, or refuses before it touches anything.

This package is the only code of ours inside every image. It needs Django and the standard library, nothing in
INSTALLED_APPS and no migration of its own. `python -m migrator COMMAND`, with DJANGO_SETTINGS_MODULE set:

    manifest  --build NAME    what this build knows of migrations, as JSON; needs no database
    plan      --to TARGET     the phases from here to TARGET, each with the build that must run it
    back      --to TARGET     undo, with this image, what TARGET does not want
    forward  [--to TARGET]    apply what this build (or TARGET) wants
    check                     in step, ahead, behind or diverged
    history                   the ledger, newest first

TARGET is the path of a manifest, or `build:NAME` for a build that the database has met before. This image's own
manifest is the file that LASTGOOD_MANIFEST names, else it is computed from the files. Who writes the ledger is said by
`--build`, `--digest`, `--commit`, `--actor` or LASTGOOD_BUILD, LASTGOOD_DIGEST, LASTGOOD_COMMIT, LASTGOOD_ACTOR.

The rule: the image that applied a migration is the one that undoes it. An image whose file has the same sha256 as the
ledger noted is as good; an image without that file never undoes anything, it names the build that can.

`back` and `forward` print their progress, and as the last line of standard output always one JSON object:

    {"status": "done", "needs": null, "needs_digest": null, "reason": null,
     "undone": [], "applied": ["shop.0002_price"], "build": "…", "target": "…"}

    exit  status             meaning
    0     done, nothing      the database is what the target wants (of back: has nothing more than it wants)
    2     refused            usage or configuration; nothing was touched
    3     needs              the build named in `needs` must run `back` first (null: the ledger does not know it)
    4     refused            nothing was touched; `reason` says why and what would help
    5     failed             `reason` says at which migration; what `applied` and `undone` list is done, the rest is not
    75    busy               another migrator, or a lock on a table, was in the way for too long; try again

On PostgreSQL consecutive atomic migrations run in one transaction with their rows in django_migrations and in the
ledger, under a session's advisory lock (so not through a transaction pooler): what fails or is killed leaves
nothing behind. A migration with `atomic = False` runs alone. On SQLite, which is for development, every migration is a
transaction of its own and nothing stops two migrators at once. Other databases are refused, and so are, for now,
squashed migrations (`replaces`).

A health check asks `migrator.state(connection)`, which compares this build with django_migrations in one query.

A migration that can't be undone is refused by `forward` unless the database is empty, the migration says
`rollback = "why this is acceptable"`, or the caller passes --accept-loss.
"""

from __future__ import annotations

from .check import state

__all__ = ["state"]
