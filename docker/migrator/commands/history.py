"""`history`: the ledger."""

from __future__ import annotations

import json
from argparse import Namespace

from ..database import connection
from ..database.ledger import Ledger
from ..output import shown


def show_history(args: Namespace) -> int:
    """Print the ledger, newest first."""
    entries = Ledger(connection.named(args.database)).history()
    if args.json:
        print(json.dumps({"ledger": entries}))
        return 0
    for entry in entries:
        by = f" by {entry['actor']}" if entry["actor"] else ""
        when = (entry["finished"] or "interrupted")[:19]
        text = f"{when:19}  {entry['direction']:7}  {entry['app']}.{entry['name']}  {entry['build']}{by}"
        print(shown(text.replace("\n", "\\n")))
    if not entries:
        print("the ledger is empty")
    return 0
