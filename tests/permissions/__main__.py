"""Writes docs/permissions.md: `make permissions`. With a file of noted calls (LASTGOOD_CALLS) as argument, calls.json anew first."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from permissions import calls, page


def main() -> None:
    if len(sys.argv) > 1:
        found = calls.note(Path(sys.argv[1]).read_text(encoding="utf-8"))
        lines = ",\n".join(f"  {json.dumps(one)}" for one in found)
        calls.FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    page.FILE.write_text(page.render(), encoding="utf-8")


if __name__ == "__main__":
    main()
