"""`plan`: the phases from here to the target, and what each does."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..database import connection as database
from ..database.ledger import Identity, Ledger
from ..decision import plan, standing
from ..decision.facts import Facts
from ..decision.steps import Phase
from ..decision.world import Manifests
from ..manifest import Manifest, load_files
from ..output import shown
from . import arguments

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def show_plan(args: Namespace) -> int:
    """Print the phases from here to the target. Returns the exit status of a run that would follow them."""
    connection = database.named(args.database)
    ledger = Ledger(connection)
    image, wanted = arguments.own(args), arguments.target(args, ledger)
    via = arguments.via(args)
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
    print(json.dumps(result) if args.json else shown(_plan_text(result)))
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
    from ..database.explain import Explainer, broken

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
                "stays": [],
                "unknown": f"only build {phase.build} has the files",
            }
            for key in phase.migrations
        ],
        "predecessor": None,
    }
    if phase.build != image.build:
        return described
    explainer = Explainer(connection, load_files(), image, Identity(image.build))
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
    lines += [f"       stays: {one}" for one in details["stays"]]
    lines += [f"       {details['unknown']}"] if details["unknown"] else []
    return lines


def _predecessor_text(predecessor: dict[str, Any] | None) -> list[str]:
    if predecessor is None:
        return []
    if predecessor["compatible"]:
        return ["   the build before can run on the new schema"]
    return ["   the build before can't run on the new schema:", *(f"     {why}" for why in predecessor["why"])]
