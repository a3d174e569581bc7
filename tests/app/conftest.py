"""The board's settings stand while this folder is collected; programs that other tests start see nothing of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import django
import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "board.settings",
    "ENVIRONMENT": "test",
    "DATABASE_URL": os.environ.get("LASTGOOD_TEST_DATABASE_URL") or "sqlite:///:memory:",
    "SECRET_KEY": "only-for-tests",
}

if settings.configured:
    raise pytest.UsageError("Django is set up already, not for these tests: unset DJANGO_SETTINGS_MODULE.")

# pytest-django sees that the settings are configured; the variables are not needed any more then.
with mock.patch.dict(os.environ, SETTINGS):
    for _name in ("SENTRY_DSN", "CACHE_URL", "DEBUG", "LASTGOOD_MANIFEST", "LASTGOOD_DIGEST"):
        os.environ.pop(_name, None)
    django.setup()


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with the board on its path and no environment but what is given."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{ROOT / 'app'}:{ROOT / 'docker'}"
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": path,
            **SETTINGS,
            "DATABASE_URL": "sqlite:///:memory:",
            **variables,
        }
        return subprocess.run(
            # Static files are collected in the image only.
            [sys.executable, "-W", "error", "-W", "ignore:No directory at", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Nothing that was fetched or logged once before is remembered, and nothing of the test is afterwards."""
    from board import deployment
    from board.config import remote

    def forget() -> None:
        remote.forget()
        deployment._log.cache_clear()

    forget()
    yield
    forget()
