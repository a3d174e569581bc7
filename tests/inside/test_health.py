"""What the answers are made of, where no server is needed to see it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from lastgood_inside import health

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the database says."""
    monkeypatch.setattr(health, "_asked", None)
    monkeypatch.setattr(health, "site", dict)
    return lambda ask: monkeypatch.setattr(health, "_state", ask)


def test_a_database_that_hangs_holds_one_thread(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = [], threading.Event()

    def ask() -> dict[str, Any]:
        asked.append(threading.current_thread())
        answered.wait(30)
        return {"database": "in step"}

    state(ask)
    monkeypatch.setattr(health, "SECONDS", 0.0)
    for _ in range(20):
        status, body = health.answer("/healthz", True)
        assert (status, json.loads(body)["reason"]) == (503, "the database does not answer within 0 seconds")
    assert health.answer("/livez", True) == (200, b'{"status": "ok"}')
    assert len(asked) == 1
    answered.set()
    asked[0].join()
    monkeypatch.setattr(health, "SECONDS", 30.0)
    assert health.answer("/healthz", False) == (200, b'{"status": "ok"}')


def test_what_the_public_is_told(state: Any) -> None:
    state(lambda: {"database": "behind", "missing": ["shop.0002"], "reason": "it lacks shop.0002"})
    assert health.answer("/healthz", False) == (503, b'{"status": "unavailable"}')


@pytest.mark.parametrize("given", ["", "x", "é"])
def test_who_is_trusted(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("LASTGOOD_STACK", "arn:stack")
    assert not health.trusts(given)
    assert health.trusts(health.token())
    monkeypatch.delenv("LASTGOOD_STACK")
    assert not health.trusts(given)


def test_the_start_of_python_loads_nothing_but_the_hook() -> None:
    """Neither Django nor a module of the standard library that is not there anyway."""
    code = (
        "import sys; before = set(sys.modules); import lastgood_inside.hook; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(DOCKER)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['__future__', 'lastgood_inside', 'lastgood_inside.hook']\n"


def test_both_handlers_are_changed_whichever_comes_first() -> None:
    for order in (("wsgi", "asgi"), ("asgi", "wsgi")):
        imports = "; ".join(f"import django.core.handlers.{name}" for name in order)
        shown = ", ".join(f"django.core.handlers.{name}.{name.upper()}Handler.__call__.__module__" for name in order)
        code = f"import sys, lastgood_inside.hook as hook; {imports}; print({shown}, hook.FINDER in sys.meta_path)"
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": str(DOCKER)}, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [*["lastgood_inside.hook"] * len(order), "False"]
