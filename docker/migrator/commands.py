"""The commands: each gathers the facts, lets `plan` decide, and does what was decided."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import manifest
from .database import check, fingerprint, lock
from .database import connection as database
from .database.ledger import Identity, Ledger
from .decision import acceptance, interruption, plan, standing
from .decision.facts import BACK, FORWARD, Facts
from .decision.steps import Decision, Phase
from .decision.world import Manifests
from .errors import MigratorError, Refused, UsageError
from .manifest import Manifest, operations
from .output import Result, progress

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from .database.executor import Executor
    from .manifest.graph import AtomLoader


def make_manifest(args: Namespace) -> int:
    """Print this project's manifest."""
    if not args.build:
        raise UsageError("the build has no name: pass --build NAME or set LASTGOOD_BUILD")
    text = manifest.compute(args.build, args.commit).dumps()
    manifest.loads(text, "this build's manifest")  # who reads it would refuse what is not as the schema says
    print(text, end="")
    return 0


def show_check(args: Namespace) -> int:
    """Print how the database stands to this build."""
    connection = database.named(args.database)
    facts, ledger = check.state(connection), Ledger(connection)
    if facts["tampered"] and facts["state"] == "in step":
        facts["state"] = "tampered"
    known = ledger.fingerprint(facts["build"]) if facts["state"] in ("in step", "tampered") else None
    found = fingerprint.of(connection) if known else None
    facts["drifted"] = fingerprint.differing(known, found) if known and found else []
    lines = [f"{facts['state']} with build {facts['build']}"]
    lines += [
        f"  {what}  {key}" for what in ("missing", "extra", "tampered", "interrupted", "drifted") for key in facts[what]
    ]
    print(json.dumps(facts) if args.json else "\n".join(lines))
    return 0


def show_history(args: Namespace) -> int:
    """Print the ledger, newest first."""
    entries = Ledger(database.named(args.database)).history()
    if args.json:
        print(json.dumps({"ledger": entries}))
        return 0
    for entry in entries:
        by = f" by {entry['actor']}" if entry["actor"] else ""
        when = (entry["finished"] or "interrupted")[:19]
        print(f"{when:19}  {entry['direction']:7}  {entry['app']}.{entry['name']}  {entry['build']}{by}")
    if not entries:
        print("the ledger is empty")
    return 0


def show_plan(args: Namespace) -> int:
    """Print the phases from here to the target. Returns the exit status of a run that would follow them."""
    connection = database.named(args.database)
    ledger = Ledger(connection)
    image, wanted = _own(args), _target(args, ledger)
    via = _via(args)
    facts = ledger.facts()
    phases, end = plan.preview(facts, image, wanted, via=via)
    stopped = end.status in ("refused", "needs")
    manifests = Manifests(facts.builds, (*via, image, wanted))
    described = []
    names = manifests.names()
    applied = names.state(facts.rows)
    for phase in phases:
        described.append(_describe_phase(connection, phase, image, manifests, facts, applied))
        moved = frozenset().union(*(names.originals(key) for key in phase.migrations))
        applied = applied - moved if phase.direction == "back" else applied | moved
    status = end.status if stopped else "done" if phases else "nothing"
    result = {
        "status": status,
        "reason": end.reason if stopped else None,
        "target": wanted.build,
        "phases": described,
        "leave_ahead": bool(phases) and standing.may_stay_ahead(facts, wanted),
    }
    print(json.dumps(result) if args.json else _plan_text(result))
    return {"needs": 3, "refused": 4}.get(status, 0)


def _describe_phase(
    connection: BaseDatabaseWrapper,
    phase: Phase,
    image: Manifest,
    manifests: Manifests,
    facts: Facts,
    applied: frozenset[str],
) -> dict[str, Any]:
    """Return what is known of `phase`, which starts from `applied`; its SQL only where this is the image that has the files."""
    from .database.explain import Explainer, broken

    build = manifests[phase.build]
    described: dict[str, Any] = {
        "build": phase.build,
        "direction": phase.direction,
        "migrations": list(phase.migrations),
        "segments": [
            {"atomic": segment.atomic, "migrations": list(segment.migrations)}
            for segment in database.segments(connection, phase.migrations, build)
        ],
        "details": [
            {
                "migration": key,
                "atomic": build[key].atomic,
                "reversible": not build[key].irreversible,
                "lossy": list(build[key].lossy if phase.direction == "forward" else build[key].holds),
                "rollback": build[key].rollback,
                "operations": None,
                "unknown": f"only build {phase.build} has the files",
            }
            for key in phase.migrations
        ],
        "predecessor": None,
    }
    if phase.build != image.build:
        return described
    explainer = Explainer(connection, manifest.load_files(), image, Identity(image.build))
    explainer.start_from(facts.rows, manifests.names(), applied)
    if phase.direction == "forward":
        state = explainer._create_project_state(with_applied_migrations=True)  # type: ignore[attr-defined]
        why = broken(explainer.loader, phase.migrations, state) if facts.rows else []
        described["predecessor"] = {"compatible": not why, "why": why}
    described["details"] = explainer.explain(phase.migrations, backwards=phase.direction == "back")
    return described


def _plan_text(result: dict[str, Any]) -> str:
    lines = [f"to build {result['target']}:" if result["phases"] else f"nothing to do for build {result['target']}"]
    for number, phase in enumerate(result["phases"], 1):
        lines.append(f"{number}. {phase['direction']}, by build {phase['build']}")
        details = {each["migration"]: each for each in phase["details"]}
        for segment in phase["segments"]:
            kind = "in one transaction" if segment["atomic"] else "outside a transaction"
            for key in segment["migrations"]:
                lines += [f"     {key}  ({kind})", *_migration_text(details[key], phase["direction"])]
        lines += _predecessor_text(phase["predecessor"])
    if result["leave_ahead"]:
        lines.append(
            f"   the code of build {result['target']} can live with what is there: its service can go back first (--leave-ahead)"
        )
    if result["reason"]:
        lines = [line for line in lines if not line.startswith("nothing")] + [f"{result['status']}: {result['reason']}"]
    return "\n".join(lines)


def _migration_text(details: dict[str, Any], direction: str) -> list[str]:
    lines = []
    for operation in details["operations"] or ():
        lines.append(f"       - {operation['description']}" + ("" if operation["is_sql"] else "  (Python)"))
        for sql in operation["sql"]:
            lock = f"  [{sql['lock']}]" if sql["lock"] else ""
            lines += [f"           {sql['statement']}{lock}"]
    if not details["reversible"]:
        lines.append("       can't be undone" + (f" (accepted: {details['rollback']})" if details["rollback"] else ""))
    lines += [
        f"       {'loses the data of' if direction == 'back' else 'loses data'}: {one}" for one in details["lossy"]
    ]
    lines += [f"       {details['unknown']}"] if details["unknown"] else []
    return lines


def _predecessor_text(predecessor: dict[str, Any] | None) -> list[str]:
    if predecessor is None:
        return []
    if predecessor["compatible"]:
        return ["   the build before can run on the new schema"]
    return ["   the build before can't run on the new schema:", *(f"     {why}" for why in predecessor["why"])]


def forward(args: Namespace, result: Result) -> None:
    """Apply what the target wants."""
    connection = database.named(args.database)
    with _locked(connection, args):
        executor, image, facts = _prepare(connection, args)
        wanted, via = _target(args, executor.ledger, image) if args.to else image, _via(args)
        facts = _mend(executor, args, facts)
        result.build, result.target = image.build, wanted.build
        accept = args.accept_loss or args.no_gate
        reason = None if accept else acceptance.refusal(facts, wanted)
        if reason:
            raise Refused(reason)
        _note_builds(executor, facts, image, wanted, via)
        taken_up = _taken_up(args, facts, (*via, wanted, image), wanted)
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
        _conclude(result, decision)


def back(args: Namespace, result: Result) -> None:
    """Undo, with this image, what the target does not want."""
    connection = database.named(args.database)
    with _locked(connection, args):
        executor, image, facts = _prepare(connection, args)
        wanted, via = _target(args, executor.ledger, image), _via(args)
        facts = _mend(executor, args, facts)
        result.build, result.target = image.build, wanted.build
        # Being written down as the target must not count as having been here. Of a build that was here, its own forward decides.
        reason = None if wanted.build in facts.builds else acceptance.edited(facts, wanted)
        if reason:
            raise Refused(reason)
        _note_builds(executor, facts, image, wanted, via)
        taken_up = _taken_up(args, facts, (*via, wanted, image), wanted)
        decision = interruption.hand_over(taken_up, image) or plan.back(taken_up, image, wanted, via=via)
        if decision.status == "run":
            _preflight(executor, taken_up, decision, BACK)
            _run(executor, args, facts, taken_up, (*via, wanted, image), decision, BACK, result.undone)
        _conclude(result, decision)


def _taken_up(args: Namespace, facts: Facts, manifests: tuple[Manifest, ...], wanted: Manifest) -> Facts:
    """Return the facts to decide by, what was interrupted included. Raise Refused unless the caller says that it may be run again."""
    if args.resume:
        return interruption.resumed(facts, wanted, Manifests(facts.builds, manifests).names())
    reason = interruption.interrupted(facts)
    if reason:
        raise Refused(reason)
    return facts


def _mend(executor: Executor, args: Namespace, facts: Facts) -> Facts:
    """Run again what was interrupted here, in a direction that it bears whatever had happened of it; then it is known what is applied."""
    from .database.run import run

    names = Manifests(facts.builds, [executor.manifest]).names()
    for key, started in facts.started.items():
        known = executor.manifest.by_key.get(key)
        if args.resume or known is None or known.sha256 != started.by.sha256 or not known.again:
            continue
        progress(f"{key} was interrupted, and bears to be run again: {known.again[0]}")
        applied = names.state(facts.rows)
        originals = names.originals(key)
        applied = applied | originals if known.again[0] == BACK else applied - originals
        executor.start_from(facts.rows, names, applied)
        run(
            executor,
            database.segments(executor.connection, (key,), executor.manifest),
            known.again[0],
            [],
            retry=args.retry,
        )
        facts = executor.ledger.facts()
    return facts


def _locked(connection: BaseDatabaseWrapper, args: Namespace) -> Any:
    what = f"{args.command} {args.build or ''}".strip()
    return lock.held(
        connection,
        what=what,
        wait=args.wait,
        lock_timeout=args.lock_timeout,
        statement_timeout=args.statement_timeout,
    )


def _prepare(connection: BaseDatabaseWrapper, args: Namespace) -> tuple[Executor, Manifest, Facts]:
    """Load this image's files, now that nobody else can change what is applied, and compare them with its manifest."""
    from .database.executor import Executor
    from .database.signals import register_receivers

    loader = manifest.load_files()
    image = _own(args, loader)
    register_receivers()
    connection.prepare_database()
    hashes, promised = manifest.hashes(loader), {entry.key: entry.sha256 for entry in image.migrations}
    differing = sorted(key for key in {*hashes, *promised} if hashes.get(key) != promised.get(key))
    if differing:
        raise Refused(f"the files of this image are not those of its manifest: {', '.join(differing)}")
    commit = args.commit or image.commit or ""
    executor = Executor(connection, loader, image, Identity(image.build, args.digest or "", commit, args.actor or ""))
    return executor, image, executor.ledger.facts()


def _own(args: Namespace, loader: AtomLoader | None = None) -> Manifest:
    if args.manifest:
        own = manifest.load(Path(args.manifest))
        if args.build and args.build != own.build:
            raise UsageError(f"the manifest {args.manifest} is of build {own.build}, but --build says {args.build}")
        return own
    if not args.build:
        raise UsageError("this build has no name: pass --build NAME, or set LASTGOOD_BUILD or LASTGOOD_MANIFEST")
    return manifest.from_loader(loader or manifest.load_files(), args.build, args.commit)


def _target(args: Namespace, ledger: Ledger, image: Manifest | None = None) -> Manifest:
    if not args.to.startswith("build:"):
        return manifest.load(Path(args.to))
    name = args.to[len("build:") :]
    if image and name == image.build:
        return image
    known = ledger.facts().builds.get(name)
    if known is None:
        raise UsageError(f"the database has never met build {name}: run its `forward`, or pass its manifest's path")
    return known.manifest


def _via(args: Namespace) -> tuple[Manifest, ...]:
    return tuple(manifest.load(Path(path)) for path in args.via)


def _note_builds(
    executor: Executor, facts: Facts, image: Manifest, wanted: Manifest, via: tuple[Manifest, ...]
) -> None:
    from django.db import transaction

    if wanted.build == image.build and not wanted.same_files(image):
        raise Refused(f"the target is another build {wanted.build} with other migrations: a name is one build's")
    executor.ledger.ensure()
    with transaction.atomic(using=executor.connection.alias):
        executor.ledger.record_build(image, facts, executor.identity)
        for other in {each.build: each for each in (*via, wanted)}.values():
            if other.build != image.build:
                executor.ledger.record_build(other, facts)


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
    from .database.run import run

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
