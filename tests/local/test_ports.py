from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from lastgood.errors import UsageError
from lastgood.local import ports

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0
   1: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0 0 10 0
   2: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0 100 0 0 10 0
"""


def test_listening_reads_only_listeners_of_the_port() -> None:
    assert ports.listening(TABLE, 8000) == {"4242"}
    assert ports.listening(TABLE, 8001) == {"4244"}
    assert ports.listening(TABLE, 8002) == set()


def test_holder_is_found_by_its_socket(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TABLE)
    (tmp_path / "77" / "fd").mkdir(parents=True)
    (tmp_path / "77" / "fd" / "3").symlink_to("socket:[4242]")
    (tmp_path / "77" / "comm").write_text("gunicorn\n")
    assert ports.holder(8000, tmp_path) == ports.Process(77, "gunicorn")
    assert ports.holder(8001, tmp_path) is None


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_taken_port_names_process_and_both_ways_to_choose_another(address: str) -> None:
    with socket.socket() as taken:
        taken.bind((address, 0))
        taken.listen()
        number = taken.getsockname()[1]
        port = ports.Port(number, "the site", "site_port", "LASTGOOD_SITE_PORT")
        name = Path("/proc/self/comm").read_text().strip()
        expected = (
            f"port {number} (the site) is taken by {name} (process {os.getpid()}): stop that, or choose another port with "
            "[tool.lastgood.local] site_port or LASTGOOD_SITE_PORT"
        )
        with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
            ports.check([port], lambda _number: None)
    ports.check([port], lambda _number: None)


def test_taken_port_names_the_container() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        port = ports.Port(number, "PostgreSQL", "database_port", "LASTGOOD_DATABASE_PORT")
        with pytest.raises(
            UsageError, match=rf"^port {number} \(PostgreSQL\) is taken by the container other-db: stop that"
        ):
            ports.check([port], lambda _number: "other-db")
