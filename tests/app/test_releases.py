from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from board.build import Build
from board.deployment import Deployment
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from releases import views
from releases.models import Release
from releases.templatetags.board import span

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _address() -> Iterator[None]:
    with Deployment.override(url="http://board.example"):
        yield


def release(environment: str = "staging", number: int = 1, **fields: Any) -> Release:
    started = START + timedelta(minutes=number)
    return Release.objects.create(
        **{"environment": environment, "number": number, "build": "0123456789ab", "started": started, **fields}
    )


def test_a_number_is_taken_once_in_an_environment() -> None:
    release(number=7)
    release("production", 7)
    with pytest.raises(IntegrityError), transaction.atomic():
        release(number=7)


def test_newest_first(client: Client) -> None:
    for number in (2, 3, 1):
        release(number=number)
    assert [found.number for found in client.get("/").context["releases"]] == [3, 2, 1]


def test_one_environment(client: Client) -> None:
    release("staging", 1)
    release("production", 1)
    answer = client.get("/?environment=production")
    assert [str(found) for found in answer.context["releases"]] == ["production #1"]
    assert list(answer.context["environments"]) == ["production", "staging"]
    assert '<a href="?environment=production" aria-current="page">production</a>' in answer.content.decode()


def test_shows_what_a_release_was(client: Client) -> None:
    release(
        state="failed",
        digest="sha256:" + "ab" * 32,
        version="2.1.0",
        who="ada",
        ended=START + timedelta(minutes=4, seconds=20),
        reason="<b>no</b>\nway",
    )
    text = client.get("/").content.decode()
    for expected in (
        '<li class="release failed">',
        '<code title="sha256:' + "ab" * 32 + '">abababababab</code>',
        "deploy of 2.1.0",
        "24 Nov 2026, 08:31",
        "<span>3 min 20 s</span>",
        '<p class="reason">&lt;b&gt;no&lt;/b&gt;\nway</p>',
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3900, "1 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(("query", "text"), [("", "No release yet"), ("?environment=<i>", "No release in &lt;i&gt;")])
def test_nothing_there(client: Client, query: str, text: str) -> None:
    assert f"<h2>{text}</h2>" in client.get(f"/{query}").content.decode()


def test_pages(client: Client) -> None:
    for number in range(1, 52):
        release(number=number)
    first, second = (client.get(f"/?environment=staging&page={page}") for page in (1, 2))
    assert (len(first.context["releases"]), len(second.context["releases"])) == (50, 1)
    assert '<a rel="next" href="?environment=staging&amp;page=2">older</a>' in first.content.decode()
    assert '<a rel="prev" href="?environment=staging&amp;page=1">newer</a>' in second.content.decode()
    assert client.get("/?page=9").status_code == 404


def test_costs_three_queries(client: Client, django_assert_num_queries: Any) -> None:
    release()
    with django_assert_num_queries(3):  # how many, which, and the environments
        client.get("/")


def test_the_footer_says_what_runs_here(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "RUNNING", Build("0123456789ab", "", "1.2.0", "sha256:" + "cd" * 32))
    footer = " ".join(client.get("/").content.decode().partition("<footer>")[2].split())
    assert 'This is <a href="http://board.example">test</a>, running 1.2.0, build <code>0123456789ab</code>' in footer
    assert ">cdcdcdcdcdcd</code>" in footer


@pytest.mark.usefixtures("forgotten")
def test_the_page_stands_without_the_address(client: Client) -> None:
    with Deployment.override(url=""):
        assert "This is test, running no build" in " ".join(client.get("/").content.decode().split())


def test_admin(client: Client) -> None:
    release(number=3)
    client.force_login(User.objects.create_superuser("ada"))
    answer = client.get("/admin/releases/release/")
    assert answer.status_code == 200
    assert "staging #3" in answer.content.decode()


def test_seed_adds_once_and_changes_nothing() -> None:
    release("staging", 1, who="somebody else")
    said = StringIO()
    call_command("seed", stdout=said)
    call_command("seed", stdout=said)
    assert said.getvalue() == "9 releases added, 1 were there.\n0 releases added, 10 were there.\n"
    assert Release.objects.get(environment="staging", number=1).who == "somebody else"


def test_seed_is_not_for_real_environments(settings: Any) -> None:
    settings.ENVIRONMENT = "production"
    with pytest.raises(CommandError, match=r"^seed is for the environments local and test, this is production\.$"):
        call_command("seed")
    assert not Release.objects.exists()
