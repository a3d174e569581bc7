"""Takes a database to exactly what a build wants, or refuses before it touches anything.

This package is in every image, beside lastgood_inside. It needs Django (4.2 to 6.1) and the standard library, nothing in
INSTALLED_APPS and no migration of its own. `python -m migrator COMMAND`, with DJANGO_SETTINGS_MODULE set:

    manifest  --build NAME    what this build knows of migrations, as JSON (manifest.schema.json); needs no database
    plan      --to TARGET     the phases from here to TARGET, each with the build that must run it, and what each does
    back      --to TARGET     undo, with this image, what TARGET does not want
    forward  [--to TARGET]    apply what this build (or TARGET) wants
    check                     in step, ahead, behind, diverged or tampered
    history                   the ledger, newest first

TARGET is the path of a manifest, or `build:NAME` for a build that the database has met before. This image's own
manifest is the file that LASTGOOD_MANIFEST names, else it is computed from the files. Who writes the ledger is said by
`--build`, `--digest`, `--commit`, `--actor` or LASTGOOD_BUILD, LASTGOOD_DIGEST, LASTGOOD_COMMIT, LASTGOOD_ACTOR.
`--via FILE...` passes manifests of further builds, which may serve as stepping stones.

The rule: the image that applied a migration is the one that undoes it. An image whose file has the same sha256 as the
ledger noted is as good; where there is none, one that has the originals of a squashed migration, or the other way round. An image
without that file never undoes anything, it names the build that can.

`back` and `forward` print their progress, and as the last line of standard output always one JSON object:

    {"status": "done", "needs": null, "needs_digest": null, "needs_direction": null, "reason": null,
     "undone": [], "applied": ["shop.0002_price"], "build": "…", "target": "…"}

    exit  status             meaning
    0     done, nothing      the database is what the target wants (of back: has nothing more than it wants)
    2     refused            usage or configuration; nothing was touched
    3     needs              the build named in `needs` (null: the ledger does not know it) must run next: `back --to TARGET`, or
                             `forward --to TARGET` where `needs_direction` is "forward"; what `undone` and `applied` list is done
    4     refused            nothing was touched; `reason` says why and what would help
    5     failed             `reason` says at which migration; what `applied` and `undone` list is done, the rest is not
    75    busy               another migrator, or a lock on a table, was in the way for too long; try again (what an index that was made
                             outside a transaction has left is dropped first)

Where MIGRATION_DATABASE_URL is set, the settings see it as DATABASE_URL. What a project has that would be passed over (several schemas,
a `migrate` of its own, models elsewhere, models without migrations) is refused, unless LASTGOOD_PASSES_OVER in the settings says why not.

On PostgreSQL consecutive atomic migrations run in one transaction with their rows in django_migrations and in the
ledger, under a session's advisory lock (so not through a transaction pooler, which is refused): what fails or is killed leaves
nothing behind, and what was there before a migration stays when it is undone.
What a lock was in the way of (--lock-timeout) is tried again for a while (--retry), and what needs more locks
than the server has room for in one transaction (max_locks_per_transaction) goes in halves. A migration with
`atomic = False` runs alone, and the ledger notes its start: one that was interrupted is named by the next run, and by
`check`, and is run again only where it only makes or drops indexes, or with --resume. On SQLite, which is for
development, every migration is a transaction of its own and nothing stops two migrators at once. MySQL and MariaDB undo
no change of a schema: there every migration runs as one that is not atomic, and one that changes data and schema at
once is refused. Other databases are refused.

Squashed migrations stand for their originals, whatever build says so: see decision/names.py. docs/migrations.md says what counts as a loss.

A health check asks `migrator.state(connection)`, which compares this build with django_migrations and with what is new in the ledger.

A migration that can't be undone, or takes data that undoing does not bring back, is refused by `forward` unless the database is empty, the
migration says `rollback = "why this is acceptable"`, or the caller passes --accept-loss (or --no-gate, which does not ask).

For a service that can go back before its database: `forward --leave-ahead` (or LASTGOOD_LEAVE_AHEAD=yes, which older migrators pass over)
leaves a database that has more than the target wants, where the target's code can live with all of that (docs/migrations.md says what
breaks it): `nothing`, and `reason` says so. Call it again without, once the service is back.

Where things are: `commands` talks to who calls, `database` to the database, `decision` decides, without either, and `manifest` is what a
build knows. They import one another in this order alone, from left to right.
"""

from __future__ import annotations

from .database.check import state

__all__ = ["state"]
