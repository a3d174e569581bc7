"""`back` and `forward`: take the database to what the target wants, with what this image's build can do of it."""

from __future__ import annotations

from argparse import Namespace
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..database import connection as database
from ..database import fingerprint, lock, tables
from ..decision import acceptance, interruption, plan, standing
from ..decision.facts import BACK, FORWARD, Facts
from ..decision.steps import Decision
from ..decision.world import Manifests
from ..errors import MigratorError, Refused
from ..manifest import Manifest, operations
from ..output import Result, progress
from . import arguments, preparation

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from ..database.executor import Executor


def forward(args: Namespace, result: Result) -> None:
    """Apply what the target wants."""
    connection = database.named(args.database)
    with _locked(connection, args):
        executor, image, facts = preparation.load(connection, args)
        wanted, via = arguments.target(args, executor.ledger, image) if args.to else image, arguments.via(args)
        facts = preparation.mend(executor, args, facts)
        result.build, result.target = image.build, wanted.build
        accept = args.accept_loss or args.no_gate
        reason = None if accept else acceptance.refusal(facts, wanted)
        if reason:
            raise Refused(reason)
        preparation.note_builds(executor, facts, image, wanted, via)
        taken_up = preparation.taken_up(args, facts, (*via, wanted, image), wanted)
        decision = interruption.hand_over(taken_up, image) or plan.forward(
            taken_up, image, wanted, accept_loss=accept, via=via
        )
        if args.leave_ahead and decision.status == "needs" and standing.may_stay_ahead(taken_up, wanted):
            reason = "the database has more than this build wants, and its code can live with that: left as it is"
            progress(reason)
            _conclude(result, Decision("nothing", reason=reason))
            return
        for key in standing.changed(facts, wanted):
            progress(f"note: the file of {key} has changed since build {facts.ledger[key].build} applied it")
        if decision.status in ("run", "nothing"):
            _preflight(executor, taken_up, decision, FORWARD)
            _run(executor, args, facts, taken_up, (*via, wanted, image), decision, FORWARD, result.applied)
            if not decision.rest:
                _verify(executor, wanted)
                _note_schema(executor, wanted, moved=decision.status == "run")
                others = tables.elsewhere(connection)
                if others:
                    progress(
                        f"note: migrations are recorded in other schemas, too, which stay as they are: {', '.join(others)}"
                    )
        _conclude(result, decision)


def back(args: Namespace, result: Result) -> None:
    """Undo, with this image, what the target does not want."""
    connection = database.named(args.database)
    with _locked(connection, args):
        executor, image, facts = preparation.load(connection, args)
        wanted, via = arguments.target(args, executor.ledger, image), arguments.via(args)
        facts = preparation.mend(executor, args, facts)
        result.build, result.target = image.build, wanted.build
        # Being written down as the target must not count as having been here. Of a build that was here, its own forward decides.
        reason = None if wanted.build in facts.builds else acceptance.edited(facts, wanted)
        if reason:
            raise Refused(reason)
        preparation.note_builds(executor, facts, image, wanted, via)
        taken_up = preparation.taken_up(args, facts, (*via, wanted, image), wanted)
        decision = interruption.hand_over(taken_up, image) or plan.back(taken_up, image, wanted, via=via)
        if decision.status == "run":
            _preflight(executor, taken_up, decision, BACK)
            _run(executor, args, facts, taken_up, (*via, wanted, image), decision, BACK, result.undone)
        _conclude(result, decision)


def _locked(connection: BaseDatabaseWrapper, args: Namespace) -> AbstractContextManager[None]:
    what = f"{args.command} {args.build or ''}".strip()
    return lock.held(
        connection,
        what=what,
        wait=args.wait,
        lock_timeout=args.lock_timeout,
        statement_timeout=args.statement_timeout,
    )


def _preflight(executor: Executor, facts: Facts, decision: Decision, direction: str) -> None:
    """Ask the operations themselves once more: what stops half way must be found before the first statement."""
    for key in decision.migrations:
        app, name = key.split(".", 1)
        migration = executor.loader.disk_migrations[app, name]
        stuck = list(operations.irreversible(migration)) if direction == BACK else []
        if stuck:
            raise Refused(f"{key} can't be undone: {', '.join(stuck)} has no reverse")
        if facts.rows and not executor.connection.features.can_rollback_ddl and operations.mixed(migration):
            what = executor.connection.display_name
            raise Refused(
                f"{key} changes data and schema at once, which needs transactional DDL, so that neither stays without the other; "
                f"{what} has none: make two migrations of it"
            )


def _run(
    executor: Executor,
    args: Namespace,
    facts: Facts,
    taken_up: Facts,
    manifests: tuple[Manifest, ...],
    decision: Decision,
    direction: str,
    done: list[str],
) -> None:
    from ..database.run import run

    names = Manifests(facts.builds, manifests).names()
    executor.start_from(facts.rows, names, names.state(taken_up.rows))
    segments = database.segments(executor.connection, decision.migrations, executor.manifest)
    run(executor, segments, direction, done, retry=args.retry)


def _verify(executor: Executor, wanted: Manifest) -> None:
    name, missing, extra = standing.compare(executor.ledger.rows(), wanted, [executor.names])
    if name != "in step":
        # Only something that writes django_migrations behind our back gets us here.
        raise MigratorError(
            f"after the run the database is {name} of build {wanted.build}: {', '.join(missing + extra)}"
        )


def _note_schema(executor: Executor, wanted: Manifest, *, moved: bool) -> None:
    """Note the schema with the build that it is right for; say what is not as it was when it was noted."""
    known = executor.ledger.fingerprint(wanted.build)
    if known is not None and not moved:
        return
    found = fingerprint.of(executor.connection)
    if found is None:
        return
    if known is None:
        executor.ledger.note_fingerprint(wanted.build, found)
        return
    for table in fingerprint.differing(known, found):
        progress(f"note: the table {table} has drifted: it is not what it was when build {wanted.build} was here last")


def _conclude(result: Result, decision: Decision) -> None:
    result.status = decision.status
    if decision.status == "run":
        result.status = "needs" if decision.rest else "done"
    result.needs, result.needs_digest, result.reason = decision.needs, decision.needs_digest, decision.reason
    result.needs_direction = decision.needs_direction
