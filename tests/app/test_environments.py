from __future__ import annotations

from typing import Any

import pytest
from board.config import environments


def test_are_four() -> None:
    assert environments.names() == ["local", "production", "staging", "test"]


@pytest.mark.parametrize("name", environments.names())
def test_define_the_same_names_with_the_same_types(name: str) -> None:
    def types(environment: str) -> dict[str, type]:
        return {key: type(value) for key, value in environments.constants(environment).items()}

    assert types(name) == types("production")


def test_parity_is_about_something() -> None:
    assert {"ALLOWED_HOSTS", "SECURE_SSL_REDIRECT", "AWS_CLIENTS"} <= set(environments.constants("production"))


@pytest.mark.parametrize("name", ["production", "staging"])
def test_django_finds_nothing_to_warn_of(python: Any, name: str) -> None:
    # HSTS preloading (W021) is a promise that only production makes.
    silent = [] if name == "production" else ["security.W021"]
    program = f"""
import django
from django.conf import settings
from django.core.management import call_command
settings.SILENCED_SYSTEM_CHECKS = {silent}
django.setup()
call_command("check", deploy=True, fail_level="WARNING")
"""
    done = python("-c", program, ENVIRONMENT=name, SECRET_KEY="abcdefghijklmnopqrstuvwxyz" * 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("System check identified no issues")


def test_no_model_change_lacks_its_migration(python: Any) -> None:
    done = python("-m", "django", "makemigrations", "--check", "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No changes detected\n", "")
