"""Runs a command with LASTGOOD_TEST_DATABASE_URL: the PostgreSQL of the one-machine cloud, in a container of its own, for the tests.

    python tests/with_postgres.py COMMAND …

A server that LASTGOOD_TEST_DATABASE_URL names already is used as it is.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

from lastgood import project
from lastgood.errors import LastgoodError
from lastgood.local import engine, postgres
from lastgood.report.terminal import step


def main(command: list[str]) -> int:
    """Returns the command's exit status, or 2 where the server can't be had."""
    if os.environ.get("LASTGOOD_TEST_DATABASE_URL"):
        return subprocess.run(command, check=False).returncode
    name = f"test-{os.getpid()}"
    password = secrets.token_hex(16)
    client = engine.ensure()
    image = postgres.image(client, project.load(Path(__file__).parent))
    network = client.networks.create(f"lastgood-{name}", labels={"lastgood.instance": name})
    server = postgres.Server(client, f"lastgood-{name}", name)
    try:
        with step("PostgreSQL for the tests") as shown:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            container = server.start(image, network.name, port)
            server.prepare(container, "tests", password)
            # Nothing here is to survive a power failure; the tests write a lot.
            faster = "".join(
                f"ALTER SYSTEM SET {name} = off;" for name in ("fsync", "synchronous_commit", "full_page_writes")
            )
            status, output = server._sql(container, f"ALTER ROLE tests SUPERUSER; {faster} SELECT pg_reload_conf()")
            assert status == 0, output
            shown.note(f"127.0.0.1:{port}")
        address = f"postgresql://tests:{password}@127.0.0.1:{port}/tests"
        return subprocess.run(command, env=os.environ | {"LASTGOOD_TEST_DATABASE_URL": address}, check=False).returncode
    finally:
        server.forget()
        network.remove()
        client.close()


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)  # so that a cancelled run removes the server, too
    try:
        raise SystemExit(main(sys.argv[1:]))
    except LastgoodError as error:
        print(f"tests/with_postgres.py: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
