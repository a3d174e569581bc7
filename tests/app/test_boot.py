from __future__ import annotations

from typing import Any

import pytest
from board.config.boot import Secret, read
from django.core.exceptions import ImproperlyConfigured

GOOD = {"ENVIRONMENT": "local", "DATABASE_URL": "postgresql://board:s3cret@db.example/board", "SECRET_KEY": "k3y"}


def message(**changes: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        read({**GOOD, **changes})
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_names_everything_that_is_missing_or_wrong_at_once_and_no_value() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(
            {
                "ENVIRONMENT": "prodution",
                "DATABASE_URL": "mysql://u:hunter2@h/d",
                "SENTRY_DSN": "hunter2",
                "DEBUG": "yes",
            }
        )
    assert str(caught.value) == (
        "The process can't start: ENVIRONMENT is none of local, production, staging, test (the files in"
        " board/config/environments); DATABASE_URL is not a postgresql:// or sqlite:// URL; SECRET_KEY is not set;"
        " SENTRY_DSN is not https://key@host/project; DEBUG is neither 0 nor 1."
    )


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set"),
        ("DATABASE_URL", "postgresql://u:hunter2@h:hunter2/d", "DATABASE_URL is not a valid URL"),
        ("DATABASE_URL", "postgresql://u:hunter2@[::1/d", "DATABASE_URL is not a valid URL"),
        (
            "DATABASE_URL",
            "postgresql://hunter2@h",
            "DATABASE_URL is not postgresql://user:password@host:port/name: the host or the name is missing",
        ),
        (
            "DATABASE_URL",
            "postgresql://h/d?sslmod=hunter2",
            (
                "DATABASE_URL has an option that is none of application_name, connect_timeout, options, sslmode,"
                " sslrootcert, target_session_attrs"
            ),
        ),
        ("DATABASE_URL", "sqlite://hunter2", "DATABASE_URL is not sqlite:///path (four slashes for an absolute one)"),
        ("CACHE_URL", "memcached://hunter2", "CACHE_URL is not a locmem://, redis:// or rediss:// URL"),
        ("CACHE_URL", "redis://:hunter2@h/0", "CACHE_URL needs the package redis: add it to requirements.in"),
        ("SENTRY_DSN", "https://sentry.example/hunter2", "SENTRY_DSN is not https://key@host/project"),
    ],
)
def test_says_what_is_wrong_but_not_the_value(variable: str, value: str, reason: str) -> None:
    assert message(**{variable: value}) == f"The process can't start: {reason}."


def test_debug_is_for_developers_only() -> None:
    assert read({**GOOD, "DEBUG": "1"}).debug is True
    assert read({**GOOD, "ENVIRONMENT": "production", "DEBUG": "0"}).debug is False
    expected = "The process can't start: DEBUG is for ENVIRONMENT=local only."
    assert message(ENVIRONMENT="production", DEBUG="1") == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://us%40er:p%2Fw%3A%25@db.example:5433/bo%20ard?sslmode=verify-full&connect_timeout=9",
            {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "db.example",
                "PORT": "5433",
                "NAME": "bo ard",
                "USER": "us@er",
                "PASSWORD": "p/w:%",
                "OPTIONS": {"connect_timeout": "9", "sslmode": "verify-full"},
            },
        ),
        (
            "postgres://[::1]/d",
            {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "::1",
                "PORT": "",
                "NAME": "d",
                "USER": "",
                "PASSWORD": "",
                "OPTIONS": {"connect_timeout": "3"},
            },
        ),
        ("sqlite:////tmp/a%20b", {"ENGINE": "django.db.backends.sqlite3", "NAME": "/tmp/a b"}),
    ],
)
def test_reads_a_database_url(url: str, expected: dict[str, Any]) -> None:
    assert read({**GOOD, "DATABASE_URL": url}).database == expected


def test_a_database_whose_password_rds_keeps() -> None:
    parts = {"HOST": "db.example", "PORT": "5432", "NAME": "bo ard", "USER": "us@er", "PASSWORD": "p/w:%?#"}
    given = {name: value for name, value in GOOD.items() if name != "DATABASE_URL"}
    given |= {f"DATABASE_{name}": value for name, value in parts.items()}
    found = read(given).database
    assert {name: found[name] for name in parts} == parts
    assert read({**given, "DATABASE_URL": "postgresql://other/d"}).database["HOST"] == "other"


def test_shows_no_secret() -> None:
    boot = read({**GOOD, "SENTRY_DSN": "https://dsnk3y@sentry.example/1"})
    shown = f"{boot!r} {boot.secret_key} {boot.secret_key!r} {[boot.sentry_dsn]}"
    assert "s3cret" not in shown
    assert "k3y" not in shown
    assert boot.secret_key.reveal() == "k3y"
    assert boot.secret_key == Secret("k3y") != Secret("other")


def test_settings_that_can_not_be_read_end_in_one_sentence(python: Any) -> None:
    done = python(
        "-m", "gunicorn", "--check-config", "-c", "python:board", "board.wsgi", DATABASE_URL="", SECRET_KEY=""
    )
    assert done.returncode != 0
    expected = "ImproperlyConfigured: The process can't start: DATABASE_URL is not set; SECRET_KEY is not set."
    assert expected in done.stderr.splitlines()[-1]
