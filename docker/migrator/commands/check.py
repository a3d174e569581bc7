"""`check`: how the database stands to this build."""

from __future__ import annotations

import json
from argparse import Namespace

from ..database import check, connection, fingerprint, tables
from ..database.ledger import Ledger
from ..output import shown
from . import arguments


def show_check(args: Namespace) -> int:
    """Print how the database stands to this build."""
    there = connection.named(args.database)
    facts, ledger = check.state(there, arguments.own(args, unnamed="unnamed")), Ledger(there)
    if facts["tampered"] and facts["state"] == "in step":
        facts["state"] = "tampered"
    known = ledger.fingerprint(facts["build"]) if facts["state"] in ("in step", "tampered") else None
    found = fingerprint.of(there) if known else None
    facts["drifted"] = fingerprint.differing(known, found) if known and found else []
    facts["elsewhere"] = tables.elsewhere(there)
    lines = [f"{facts['state']} with build {facts['build']}"]
    lines += [
        f"  {what}  {key}"
        for what in ("missing", "extra", "tampered", "interrupted", "drifted", "elsewhere")
        for key in facts[what]
    ]
    print(json.dumps(facts) if args.json else shown("\n".join(lines)))
    return 0
