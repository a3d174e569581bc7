"""MariaDB, which undoes no change of a schema: one migration at a time, what could stay half done is refused, what did is named."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from .conftest import Database

pytestmark = [pytest.mark.slow, pytest.mark.long]

PACKAGES = ("mariadb-server-core", "mariadb-client-core")
DRIVER = "\nimport pymysql\npymysql.install_as_MySQLdb()\n"
ONE, TWO = (
    "migrations.AddField('item', 'one', models.IntegerField(default=0)),",
    "migrations.AddField('item', 'two', models.TextField(null=True)),",
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give the port of a MariaDB of this machine's own; as root on Debian its package is installed where it is missing."""
    if not shutil.which("my_print_defaults") and os.geteuid() == 0 and shutil.which("apt-get"):
        for arguments in (["update", "-qq"], ["install", "-yqq", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *arguments], check=True, capture_output=True)
    if not shutil.which("mariadbd") or not shutil.which("my_print_defaults"):
        pytest.fail(f"these tests need MariaDB: install it (Debian: apt-get install {' '.join(PACKAGES)})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="lastgood-mariadb-"))
    data = folder / "data"
    other: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        shutil.chown(folder, "nobody", "nogroup")
    make = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, **other)
    command = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={folder}/socket", f"--port={number}"]
    command += [
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        f"--pid-file={folder}/pid",
        "--innodb-flush-log-at-trx-commit=0",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **other)
    try:
        end = time.monotonic() + 30
        while True:
            try:
                connect(number).close()
                break
            except pymysql.OperationalError:
                if time.monotonic() > end or process.poll() is not None:
                    pytest.fail(f"MariaDB did not start: {(folder / 'log').read_text()[-500:]}")
                time.sleep(0.1)
        yield number
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        shutil.rmtree(folder)


def connect(port: int, name: str | None = None) -> Any:
    return pymysql.connect(host="127.0.0.1", port=port, user="root", database=name, autocommit=True)


@pytest.fixture
def maria(port: int) -> Iterator[Database]:
    name = f"test_{time.monotonic_ns()}"
    with closing(connect(port)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        yield Database(
            {"ENGINE": "django.db.backends.mysql", "NAME": name, "HOST": "127.0.0.1", "PORT": port, "USER": "root"}
        )
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture
def build(maria: Database, make: Any) -> Any:
    """Give a function that writes a build for MariaDB."""

    def write(name: str, apps: Any) -> Any:
        project = make(maria, name, apps)
        settings = project.folder / "settings.py"
        settings.write_text(settings.read_text() + DRIVER)
        return project

    return write


def ask(maria: Database, statement: str) -> list[Any]:
    with closing(connect(maria.django["PORT"], maria.django["NAME"])) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def columns(maria: Database) -> set[str]:
    return {row[0] for row in ask(maria, "SHOW COLUMNS FROM shop_item")}


def test_there_and_back(maria: Database, build: Any, history: Any) -> None:
    v1, v2 = (build(name, history[name]) for name in ("v1", "v2"))
    assert v1.run("forward").exit_status == 0
    before = ask(maria, "SHOW CREATE TABLE shop_item")
    assert v2.run("forward").moved == (0, "done", [], ["shop.0002_price", "billing.0001_initial"])
    assert v2.run("check").stdout == "in step with build v2\n"
    assert v2.run("back", "--to", "build:v1").moved == (0, "done", ["billing.0001_initial", "shop.0002_price"], [])
    assert v1.run("forward").moved == (0, "nothing", [], [])
    assert ask(maria, "SHOW CREATE TABLE shop_item") == before


def test_data_and_schema_at_once_is_refused(maria: Database, build: Any, history: Any) -> None:
    v2, v3 = (build(name, history[name]) for name in ("v2", "v3"))
    v2.run("forward")
    run = v3.run("forward")
    assert run.exit_status == 4
    assert run.result["reason"] == (
        "shop.0003_slug changes data and schema at once, which needs transactional DDL, so that neither stays without the other; MariaDB "
        "has none: make two migrations of it"
    )
    assert columns(maria) == {"id", "name", "price"}


def test_what_failed_half_way_is_named(maria: Database, build: Any, history: Any, migration: Any) -> None:
    shop = {**history["v1"]["shop"], "0002_both": migration(ONE + TWO, ("shop", "0001_initial"))}
    v1, v2 = build("v1", history["v1"]), build("v2", {"shop": shop})
    v1.run("forward")
    ask(maria, "ALTER TABLE shop_item ADD COLUMN two int")  # somebody was here
    failed = v2.run("forward")
    assert failed.moved == (5, "failed", [], [])
    assert "it is not atomic, so a part of it may have stayed" in failed.result["reason"]
    assert columns(maria) == {"id", "name", "one", "two"}
    assert v2.run("check").stdout.splitlines()[-1] == "  interrupted  shop.0002_both"
    refused = v2.run("forward")
    assert refused.exit_status == 4
    assert refused.result["reason"].startswith("shop.0002_both: build v2 began to apply it at ")
    ask(maria, "ALTER TABLE shop_item DROP COLUMN one, DROP COLUMN two")
    assert v2.run("forward", "--resume").moved == (0, "done", [], ["shop.0002_both"])
    assert columns(maria) == {"id", "name", "one", "two"}
    assert v2.run("check").stdout == "in step with build v2\n"


def test_one_at_a_time(maria: Database, build: Any, history: Any) -> None:
    v1 = build("v1", history["v1"])
    with closing(connect(maria.django["PORT"], maria.django["NAME"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(CONCAT('lastgood ', DATABASE()), 1)")
        busy = v1.run("forward", "--wait", "1")
    assert (busy.exit_status, busy.result["reason"]) == (
        75,
        "another migrator is at work on this database: try again later",
    )
    assert v1.run("forward").exit_status == 0
