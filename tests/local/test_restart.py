"""What was deployed survives a restart, and an operation that a kill cut off is rolled back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lastgood.aws import local_cloud
from lastgood.local import cloud, emulator
from lastgood.local.adapters import restart

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
def deployed(site: Any) -> Iterator[Any]:
    assert site.deploy("create", Version="1") == "CREATE_COMPLETE"
    yield site
    site.delete()


def kill(site: Any) -> None:
    pid = emulator.Emulator(local_cloud.folder(site.project.state)).pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_site_answers_again_after_down_and_up(deployed: Any) -> None:
    assert deployed.deploy(Version="2") == "UPDATE_COMPLETE"
    cloud.down(deployed.project)
    cloud.up(deployed.project)
    assert deployed.ask()[0] == "2"
    assert deployed.deploy(Version="3") == "UPDATE_COMPLETE"
    assert deployed.ask()[0] == "3"


def test_update_that_a_kill_cut_off_is_rolled_back(deployed: Any, wait_for: Any) -> None:
    # An ill version keeps the service's update waiting for as long as its grace period is.
    deployed.begin(Version="2", Mode="ill", Grace="300")
    saved = local_cloud.folder(deployed.project.state) / restart.SNAPSHOT
    wait_for(
        lambda: "Update 1 -> 2" in deployed.history() and '"Version", "ParameterValue": "2"' in _saved(saved),
        "the saved update",
    )
    wait_for(lambda: _is_updating(deployed), "the service's update")
    wait_for(lambda: '"UPDATE_IN_PROGRESS"' in _saved(saved), "the saved operation")
    kill(deployed)
    cloud.up(deployed.project)
    assert deployed.end() == "UPDATE_ROLLBACK_COMPLETE", deployed.told()
    assert deployed.ask()[0] == "1"
    assert deployed.history()[-1] == "Update 2 -> 1"


def _saved(snapshot: Path) -> str:
    """What of CloudFormation is on the disk, in the snapshot that a restart takes."""
    return str(json.loads(snapshot.read_text(encoding="utf-8")).get("cloudformation.json", ""))


def _is_updating(site: Any) -> bool:
    services = site.client("ecs").describe_services(cluster=site.stack, services=[site.stack])["services"]
    return len(services[0]["deployments"]) == 2
