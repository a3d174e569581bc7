from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from board import health
from board.build import Build
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext

CLOSED = "postgresql://board:hunter2@127.0.0.1:1/board"


@pytest.fixture(autouse=True)
def _running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "RUNNING", Build("0123456789ab", "0123456789abcdef", "1.2.0", "sha256:fedc"))


def body(**changes: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "build": "0123456789ab",
        "commit": "0123456789abcdef",
        "version": "1.2.0",
        "digest": "sha256:fedc",
        "database": "in step",
        "missing": [],
        "extra": [],
        "tampered": [],
        "interrupted": [],
        **changes,
    }


@pytest.mark.django_db
def test_in_step(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, body())
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_ahead_is_healthy(client: Client) -> None:
    MigrationRecorder.Migration.objects.create(app="releases", name="0002_note")
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, body(database="ahead", extra=["releases.0002_note"]))


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["behind", "diverged"])
def test_what_lacks_a_migration_is_not(client: Client, state: str) -> None:
    MigrationRecorder.Migration.objects.filter(app="releases").delete()
    extra = ["releases.0001_other"] if state == "diverged" else []
    if extra:
        MigrationRecorder.Migration.objects.create(app="releases", name="0001_other")
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (
        503,
        body(
            status="unavailable",
            reason=f"the database is {state}: it lacks releases.0001_initial",
            database=state,
            missing=["releases.0001_initial"],
            extra=extra,
        ),
    )


@pytest.mark.django_db(transaction=True)
def test_costs_two_queries(client: Client) -> None:
    from django.db import connection

    client.get("/healthz")  # the manifest is read once
    with CaptureQueriesContext(connection) as queries:
        client.get("/healthz")
    assert len(queries) == 2


def test_liveness_knows_nothing_of_the_database(client: Client) -> None:
    """Without the mark django_db, a query would fail the test."""
    answer = client.get("/livez", headers={"host": "10.0.3.7:8000"})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "digest": "sha256:fedc"})
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_any_host_and_plain_http(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["board.example.com"]
    strict = Client()  # the middlewares read their settings when they are made
    assert strict.get("/healthz", headers={"host": "10.0.3.7:8000"}).status_code == 200
    assert strict.get("/", headers={"host": "board.example.com"}).status_code == 301
    assert strict.get("/", headers={"host": "10.0.3.7:8000"}).status_code == 400


def test_unknown_without_the_migrator(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "migrator", None)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, body(database="unknown"))


ASK = """
import django
django.setup()
from django.test import Client
answer = Client().get("/healthz", headers={"host": "10.0.3.7"})
print(answer.status_code, answer.content.decode())
print(Client(headers={"host": "127.0.0.1"}).get("/nothing").status_code)
print(Client().get("/livez", headers={"host": "10.0.3.7"}).status_code)
"""


def test_a_database_that_does_not_answer(python: Any) -> None:
    done = python("-c", ASK, ENVIRONMENT="local", DATABASE_URL=CLOSED, LASTGOOD_DIGEST="sha256:fedc")
    status, text = done.stdout.splitlines()[0].split(" ", 1)
    assert (status, json.loads(text)) == (
        "503",
        body(
            status="unavailable",
            build="",
            commit="",
            version="",
            database="unreachable",
            reason="the database does not answer (OperationalError)",
        ),
    )
    # Nothing is logged of it; of other bad answers it is.
    assert done.stdout.splitlines()[1:] == ["404", "200"]
    assert done.stderr == "WARNING django.request: Not Found: /nothing\n"


def test_a_manifest_that_is_none(python: Any, tmp_path: Any) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"schema": 0}')
    done = python("-c", ASK, ENVIRONMENT="local", LASTGOOD_MANIFEST=str(manifest))
    status, text = done.stdout.splitlines()[0].split(" ", 1)
    answer = json.loads(text)
    assert (status, answer["database"], answer["reason"]) == (
        "503",
        "unknown",
        f"the manifest {manifest} has schema 0, this migrator reads schema 1 and 2",
    )
