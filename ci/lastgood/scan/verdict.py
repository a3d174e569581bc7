"""What a scan decided about one image, for those who come after it: a push takes no image that no scan has let pass, and a deploy none
whose verdict nobody has signed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lastgood.attest import statement
from lastgood.cache import store
from lastgood.errors import Refused
from lastgood.image.built import Image
from lastgood.scan.findings import RULES

FILE = "verdict.json"  # in the folder of the image, as the machine that scanned it keeps it; a layout brings none


def of(image: Image, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of a scan's document, in the form in which it is signed."""
    found = [f"{one['rule']}: {one['subject']}" for one in facts["findings"]]
    accepted = [f"{one['rule']}: {one['subject']}" for one in facts["accepted"]]
    return statement.verdict({name: getattr(image, name) for name in statement.SAME}, tuple(RULES), found, accepted)


def keep(image: Image, verdict: Mapping[str, Any], file: Path | None = None) -> None:
    """Leaves the verdict in the image's folder, for the push; and in `file`, for whoever signs it."""
    body = (json.dumps(verdict, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    store.write(image.folder / FILE, body)
    if file:
        store.write(file, body)


def demand(image: Image) -> None:
    """Raises Refused where this machine has not scanned this very image, or where the scan has refused it."""
    try:
        known = json.loads((image.folder / FILE).read_text(encoding="utf-8"))
        own = known[statement.OWN]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        own = known = {}
    if own.get("digest") != image.digest:
        raise Refused(
            f"nothing was pushed: {image.digest} (build {image.build}) was not scanned on this machine; run `lastgood scan` first, with "
            "the same --layout"
        )
    wrong = statement.refused(known)
    if wrong:
        raise Refused(
            f"nothing was pushed: {image.digest} (build {image.build}) is not to run, {wrong}; mend that, build and scan it again"
        )
