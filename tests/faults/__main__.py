"""Runs the fault matrix and writes docs/faults.md: `make faults`, or only some with ONLY="name name"."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from faults import matrix, page


def main() -> int:
    """Notes each fault as soon as it has been made: a run that is cut off leaves the page with what it has seen."""
    known = page.results()

    def note(name: str, result: matrix.Result) -> None:
        known[name] = result
        page.write(known)

    if sys.argv[1:] == ["--page"]:
        page.write(known)
        return 0
    with tempfile.TemporaryDirectory(prefix="lastgood-faults-") as folder:
        held = matrix.run(Path(folder), sys.argv[1:], lambda text: print(text, flush=True), note)
    return 0 if held else 1


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has started us in the background
    os.environ.pop("LASTGOOD_STATE", None)
    raise SystemExit(main())
