"""pipeline.yml from a caller's repository, and rollback.yml by dispatch: real builds, real deploys, real rollback, on the local cloud."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.docker]

# Nothing of it may be run by a shell, on its way from the button to the release record.
REASON = 'it\'s "slow"; $(exit 9) `exit 9` --recreate'
STEPS = [
    *[
        ("build", step)
        for step in ("Set up lastgood", "Check out", "Lock check", "Fetch", "Build", "Name the artifact", "Hand over")
    ],
    *[("push", step) for step in ("Set up lastgood", "Check out", "Take over", "Scan", "Push", "List")],
    *[("push", f"Sign {what}") for what in ("where it comes from", "what it is made of", "what the scan found")],
    ("push", "Attest"),
    *[("deploy", step) for step in ("Set up lastgood", "Check out", "Deploy")],
]
MIGRATION = """\
from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("releases", "{before}")]

    operations = [migrations.AddField("release", "remark", models.TextField(null=True))]
"""


def running(lastgood: Callable[..., Any]) -> str:
    """The digest of what runs and answers as last good."""
    found = lastgood("status")
    assert found["verdict"] == "as last good", found
    return str(found["running"]["digest"])


def digest(run: Any) -> str:
    """The digest of what the run built."""
    return str(run.outputs["build", "Build"]["digest"])


@pytest.fixture(scope="module")
def first(act: Any, caller: Path, cloud: Mapping[str, Any], lastgood: Callable[..., Any]) -> Any:
    """The run that released version 1."""
    lastgood("bootstrap")
    return act.run(caller, "workflow_dispatch", "release", reason=REASON)


def test_pipeline_releases_the_callers_commit(
    first: Any, caller: Path, cloud: Mapping[str, Any], lastgood: Callable[..., Any]
) -> None:
    assert first.status == 0, first.text
    assert first.steps == [(*step, "success") for step in STEPS]
    release = lastgood("history")[0]
    name = release["commit"][:12]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest(first))
    assert {key: release[key] for key in ("number", "state", "kind", "build", "digest", "who", "reason")} == {
        "number": 1,
        "state": "good",
        "kind": "deploy",
        "build": name,
        "digest": digest(first),
        "who": "rosa",
        "reason": REASON,
    }
    assert first.outputs["push", "Push"]["digest"] == digest(first)
    assert first.outputs["push", "Scan"]["compressed"] == first.outputs["build", "Build"]["size"]
    assert first.outputs["push", "Push"]["image"] == f"{cloud['registry']}/board@{digest(first)}"
    deployed = first.outputs["deploy", "Deploy"]
    assert (deployed["number"], deployed["state"], deployed["url"]) == ("1", "good", cloud["site"])
    assert first.summaries["deploy", "Deploy"] == f"```text\nrelease 1 is good: build {name} in local\n```\n\n"
    assert running(lastgood) == digest(first)


def test_rollback_by_dispatch_brings_build_and_schema_back(
    first: Any,
    act: Any,
    bundle: Path,
    caller: Path,
    cloud: Mapping[str, Any],
    lastgood: Callable[..., Any],
    commit: Callable[[Path, str], str],
) -> None:
    migrations = caller / "app/releases/migrations"
    before = max(file.stem for file in migrations.glob("0*.py"))
    (migrations / "0099_release_remark.py").write_text(MIGRATION.format(before=before), encoding="utf-8")
    commit(caller, "Version 2")
    second = act.run(caller, "workflow_dispatch", "release", reason="version 2")
    assert second.status == 0, second.text
    assert running(lastgood) == digest(second) != digest(first)
    assert lastgood("history")[0]["applied"] == ["releases.0099_release_remark"]

    # The bundle's own button: its repository has the same project.
    back = act.run(bundle, "workflow_dispatch", "rollback", environment="local", reason=REASON)

    assert back.status == 0, back.text
    assert back.steps == [
        ("rollback", "Set up lastgood", "success"),
        ("rollback", "Check out", "success"),
        ("rollback", "Rollback", "success"),
    ]
    assert back.outputs["rollback", "Rollback"]["state"] == "good"
    assert running(lastgood) == digest(first)
    releases = lastgood("history")
    assert [(one["number"], one["kind"], one["state"], one["build"]) for one in releases] == [
        (3, "rollback", "good", first.outputs["build", "Build"]["build"]),
        (2, "deploy", "undone", second.outputs["build", "Build"]["build"]),
        (1, "deploy", "good", first.outputs["build", "Build"]["build"]),
    ]
    assert releases[0]["undone"] == ["releases.0099_release_remark"]
    assert (releases[0]["who"], releases[0]["reason"]) == ("rosa", REASON)


def test_a_stale_lock_fails_a_pull_request_before_anything_is_built(act: Any, caller: Path) -> None:
    source = caller / "requirements.in"
    before = source.read_text(encoding="utf-8")
    try:
        source.write_text(before.replace("whitenoise\n", ""), encoding="utf-8")
        run = act.run(caller, "pull_request", "pull-request")
    finally:
        source.write_text(before, encoding="utf-8")
    assert run.status == 1
    assert run.steps == [
        ("image", "Set up lastgood", "success"),
        ("image", "Check out", "success"),
        ("image", "Lock check", "failure"),
    ]
    assert "requirements.txt is stale: run `lastgood lock` and commit it" in run.errors["image", "Lock check"]
