"""Which calls are made, for the proof that no role may do more than is called: with LASTGOOD_CALLS=FILE each is noted there, one JSON line.

What is noted are the service, the operation and its parameters as AWS gets them; tests/permissions makes of them what IAM is asked.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

VARIABLE = "LASTGOOD_CALLS"
_LARGE = ("TemplateBody",)  # parameters that nobody is asked about


def note(session: Any) -> None:
    """Notes the calls of a boto3 session, where the variable names a file."""
    file = os.environ.get(VARIABLE)
    if not file:
        return
    verb = next((one for one in sys.argv[1:] if not one.startswith("-")), "")

    def write(params: dict[str, Any], model: Any, **_: Any) -> None:
        shown = {key: value for key, value in params.items() if key not in _LARGE}
        line = {"verb": verb, "service": model.service_model.service_name, "operation": model.name, "params": shown}
        with Path(file).open("a", encoding="utf-8") as noted:
            noted.write(json.dumps(line, default=str) + "\n")

    # Last, after boto3's resources have made plain values of what they are given.
    session.events.register_last("before-parameter-build", write, unique_id="lastgood-calls")
