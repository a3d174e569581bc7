"""What all tests need."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["fixtures.archive", "fixtures.record", "fixtures.registry"]

# A shell that starts us in the background has us ignore Ctrl-C, and every program that we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ENGINE = {"demo", "e2e", "image", "local", "workflows"}


class Scheduling(LoadScopeScheduling):
    """For `make test`, which runs two tests at a time: what shares the engine, ports and caches goes one by one, the rest beside it."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::")[0]
        return "engine" if path.split("/")[1] in ENGINE else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Take ours for all that --numprocesses divides."""
    return Scheduling(config, log)
