"""The migrator's tests with builds of other versions: Django, Python, PostgreSQL.

    python -m tests.migrator.matrix [ROW …]        (make matrix ROWS="…")

A row is Django/Python/PostgreSQL, as 4.2/here/14. Python is `here` (the one that runs the tests) or `image` (the one of the image); the
server is that of tests/servers. The tests themselves run here. Without a row: ROWS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.errors import LastgoodError, UsageError
from lastgood.platform import native
from lastgood.python import fetch
from lastgood.python.interpreter import Python
from lastgood.report.terminal import step

ROWS = ("4.2/here/14", "5.2/here/15", "5.2/here/16", "5.2/image/17", "6.0/image/18", "6.1/image/18")
REPOSITORY = Path(__file__).resolve().parents[2]
FILES = (
    *("test_back_and_forward", "test_squashed", "test_not_atomic", "test_refusals", "test_interruptions", "test_check"),
    *("test_neighbours", "test_concurrency", "test_faults", "test_leave_ahead"),
)


def main(rows: list[str]) -> int:
    """Returns 0 where every row passed; each has a line of its own at the end."""
    failed = [row for row in rows or ROWS if run(row)]
    for row in rows or ROWS:
        print(f"{'✗' if row in failed else '✓'} Django/Python/PostgreSQL {row}")
    return bool(failed)


def run(row: str) -> int:
    """Runs the tests for one row; returns pytest's exit status."""
    try:
        django, interpreter, postgres = row.split("/")
        assert interpreter in ("here", "image")
    except (ValueError, AssertionError):
        raise UsageError(
            f"{row!r} is not Django/Python/PostgreSQL with `here` or `image` as Python: as {ROWS[0]}"
        ) from None
    with tempfile.TemporaryDirectory(prefix="lastgood-matrix-") as name:
        folder = Path(name)
        environment = {"LASTGOOD_TEST_PACKAGES": str(folder / "packages"), "LASTGOOD_TEST_DJANGO": django}
        wanted, target = [f"Django=={django}.*"], []
        if interpreter == "image":
            environment["LASTGOOD_TEST_PYTHON"] = str(Python(Stages(chosen.bundled()).wheels()).wrapped(folder / "bin"))
            wanted, target = [*wanted, "psycopg[binary]"], list(fetch.target(native()))
        with step(f"Django {django}, Python {interpreter}"):
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--target",
                str(folder / "packages"),
                *target,
                *wanted,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UsageError(f"pip can't install {', '.join(wanted)}: {done.stderr.strip().splitlines()[-1]}")
        server = [sys.executable, "tests/with_postgres.py", "--version", postgres]
        files = [f"tests/migrator/{one}.py" for one in FILES]
        tests = [sys.executable, "-m", "pytest", "-q", "-m", "postgres and not long", *files]
        return subprocess.run([*server, *tests], cwd=REPOSITORY, env=os.environ | environment, check=False).returncode


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except LastgoodError as error:
        print(f"matrix: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
