"""What all tests need."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["fixtures.archive", "fixtures.record", "fixtures.registry", "fixtures.signed"]

# A shell that starts us in the background has us ignore Ctrl-C, and every program that we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Both build the same project, and look whether that has left anything in the cache that all tests share.
TOGETHER = {"tests/image/test_build.py": "image", "tests/image/test_own.py": "image"}
# What takes longest comes first, so that no process is left alone with it; the rest follows in the order of the files.
FIRST = (
    "tests/e2e/test_demo.py",
    "image",
    "tests/local/test_cloud.py",
    "tests/local/test_rollback.py",
    "tests/local/test_restart.py",
    "tests/workflows/test_pipeline.py",
    "tests/migrator/test_walks.py",
    "tests/migrator/test_leave_ahead.py",
    "tests/lock/test_python.py",
    "tests/workflows/test_hostile.py",
    "tests/image/test_arm64.py",
    "tests/python/test_compiling.py",
    "tests/migrator/test_back_and_forward.py",
    "tests/migrator/test_interruptions.py",
    "tests/migrator/test_faults.py",
)


def scope(nodeid: str) -> str:
    """What a test runs together with, one after the other: its file, or what TOGETHER says."""
    path = nodeid.partition("::")[0]
    return TOGETHER.get(path, path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests as FIRST says."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(scope(item.nodeid), len(places)))


class Scheduling(LoadScopeScheduling):
    """Hands out the scopes in that order."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Take ours for all that --numprocesses divides."""
    config.option.loadscopereorder = False  # those with most tests first, which take less than the few slow ones
    return Scheduling(config, log)
