"""What the adapters decide, without ministack; and that ministack has every name that they build on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from fixtures import emulator
from lastgood.local.adapters import (
    balancer,
    cancel,
    containers,
    custom_resource,
    events,
    registry,
    restart,
    rollback,
    service,
    tasks,
)
from lastgood.local.adapters.balancer import Health

REPOSITORY = Path(__file__).parents[2]


def test_the_tag_of_a_build_that_was_loaded() -> None:
    assert containers.tag("localhost:4566/board@sha256:abc") == "localhost:4566/board:sha256-abc"
    assert containers.tag("localhost:4566/board:1") == ""


def test_container_definition_becomes_dockers_options() -> None:
    definition = {
        "name": "web",
        "entryPoint": ["/run"],
        "user": "65532:65532",
        "workingDirectory": "/app",
        "memory": 256,
        "readonlyRootFilesystem": "true",
        "mountPoints": [
            {"sourceVolume": "tmp", "containerPath": "/tmp"},
            {"sourceVolume": "kept", "containerPath": "/kept"},
        ],
        "linuxParameters": {
            "initProcessEnabled": True,
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [{"containerPath": "/run", "size": 16, "mountOptions": ["noexec"]}],
        },
    }
    task = {"memory": "512", "volumes": [{"Name": "tmp"}, {"Name": "kept", "Host": {"SourcePath": "/srv"}}]}
    assert containers.options(definition, task, has_init=True) == {
        "entrypoint": ["/run"],
        "user": "65532:65532",
        "working_dir": "/app",
        "cap_drop": ["ALL"],
        "tmpfs": {"/run": "size=16m,noexec", "/tmp": "mode=1777"},
        "read_only": True,
        "init": True,
        "mem_limit": 256 * 1024 * 1024,
    }
    assert containers.options({"name": "web"}, {"memory": "512"}, has_init=False) == {"mem_limit": 512 * 1024 * 1024}


def test_cloudformations_spelling_becomes_ecs_spelling_but_for_the_users_own_keys() -> None:
    given = {
        "Secrets": [{"Name": "KEY", "ValueFrom": "arn"}],
        "LogConfiguration": {"Options": {"Mode": "x"}},
        "dockerLabels": {"Label": "1"},
    }
    assert containers.camel(given) == {
        "secrets": [{"name": "KEY", "valueFrom": "arn"}],
        "logConfiguration": {"options": {"Mode": "x"}},
        "dockerLabels": {"Label": "1"},
    }


@pytest.mark.parametrize(
    ("before", "good", "expected"),
    [
        (Health(), True, Health("healthy")),
        (Health(), False, Health("initial", 1)),
        (Health("initial", 1), False, Health("unhealthy", 2)),
        (Health("healthy"), False, Health("healthy", 1)),
        (Health("healthy", 1), False, Health("unhealthy", 2)),
        (Health("healthy", 1), True, Health("healthy")),
        (Health("unhealthy", 2), True, Health("healthy")),
    ],
)
def test_health_after_one_more_answer(before: Health, good: bool, expected: Health) -> None:
    assert balancer.after(before, good) == expected


@pytest.mark.parametrize(
    ("status", "matcher", "expected"),
    [(200, "200", True), (204, "200", False), (204, "200-299", True), (302, "200, 302", True), (500, "200-399", False)],
)
def test_matcher(status: int, matcher: str, expected: bool) -> None:
    assert balancer.is_success(status, matcher) is expected


ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


@pytest.mark.parametrize(
    ("states", "tried"),
    [
        (("initial", "healthy", "healthy"), {"10.0.0.2", "10.0.0.3"}),
        (("unhealthy", "healthy", "initial"), {"10.0.0.2"}),
        (("unhealthy", "unhealthy", "initial"), {"10.0.0.1", "10.0.0.2"}),  # better than none
        (("initial", "initial", "initial"), set()),
    ],
)
def test_which_targets_are_tried(states: tuple[str, ...], tried: set[str]) -> None:
    targets = [{"Id": address, "Port": "8000"} for address in ADDRESSES]
    known = {(address, 8000): state for address, state in zip(ADDRESSES, states, strict=True)}
    assert {target["Id"] for target in balancer.order(targets, known)} == tried


@pytest.mark.parametrize(
    ("method", "status", "body", "expected"),
    [
        ("GET", 502, b"connect error: reset", True),
        ("POST", 502, b"connect error: reset", False),  # it may have been done
        ("POST", 502, b"connect error: Connection refused", True),
        ("GET", 502, b"the application's own 502", False),
        ("GET", 200, b"connect error", False),
        ("GET", 502, object(), False),
    ],
)
def test_when_another_target_may_be_tried(method: str, status: int, body: object, expected: bool) -> None:
    assert balancer.may_try_another(method, status, body) is expected


def test_forgets_the_health_of_targets_that_are_gone() -> None:
    checks = balancer.HealthChecks()
    checks._known = {("group", "10.0.0.1", 80): Health("healthy"), ("other", "10.0.0.1", 80): Health("healthy")}
    checks.keep_only("group", [])
    assert checks.states("group") == {}
    assert checks.states("other") == {("10.0.0.1", 80): "healthy"}


REQUEST = {"StackId": "stack", "RequestId": "request", "LogicalResourceId": "Migration"}
SUCCESS = {**REQUEST, "Status": "SUCCESS", "PhysicalResourceId": "one"}


@pytest.mark.parametrize(
    ("response", "status", "reason"),
    [
        (SUCCESS, "SUCCESS", None),
        (
            {**SUCCESS, "RequestId": "another"},
            "FAILED",
            "Invalid response: StackId, RequestId and LogicalResourceId must be those of the request",
        ),
        ({**REQUEST, "Status": "FAILED"}, "FAILED", "Invalid response: Reason is required with FAILED"),
        ({**REQUEST, "Status": "FAILED", "Reason": "why"}, "FAILED", "why"),
        ({**REQUEST, "Status": "SUCCESS"}, "FAILED", "Invalid PhysicalResourceId"),
    ],
)
def test_answer_of_a_custom_resource_is_checked(response: dict[str, Any], status: str, reason: str | None) -> None:
    found = custom_resource.checked(response, REQUEST)
    assert (found["Status"], found.get("Reason")) == (status, reason)


class Log:
    """A container whose log comes in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def logs(self, **_options: Any) -> Any:
        return iter(self.pieces)


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\n", b"two\n"], [b"one", b"two"]),
        ([b"o", b"ne\ntw", b"o\n"], [b"one", b"two"]),
        ([b"one\ntwo"], [b"one", b"two"]),
        ([], []),
    ],
)
def test_log_comes_in_whole_lines(pieces: list[bytes], lines: list[bytes]) -> None:
    found = [line for chunk in events.WholeLines(Log(*pieces)).logs() for line in chunk.splitlines()]
    assert found == lines


def test_layers_lie_on_the_disk(tmp_path: Path) -> None:
    repositories = registry.Repositories(tmp_path / "blobs")
    repositories.setdefault("team/board", {})["sha256:abc"] = b"layer"
    again = registry.Repositories(tmp_path / "blobs").get("team/board", {})
    assert again.get("sha256:abc") == b"layer"
    assert "sha256:abc" in again
    assert again.get("sha256:def") is None
    with pytest.raises(KeyError):
        again["sha256:def"]
    assert again.pop("sha256:abc") == b"layer"
    assert "sha256:abc" not in again
    again["sha256:abc"] = b"layer"
    repositories.clear()
    assert not (tmp_path / "blobs").exists()


def needs(definition: Any, _names: set[str]) -> Any:
    return definition.get("needs", ())


def test_what_stands_on_a_failed_revert_waits() -> None:
    resources = {"A": {}, "B": {"needs": ["A"]}, "C": {"needs": ["B"]}, "D": {"needs": ["D", "E"]}, "E": {}}
    found = {name for name in resources if rollback.depends_on(name, {"A"}, resources, needs)}
    assert found == {"B", "C"}


def test_numbers_and_cluster_of_a_service() -> None:
    given = {"DesiredCount": "2", "Cluster": "arn:aws:ecs:us-east-1:000000000000:cluster/board-local", "Other": "1"}
    assert service.numbered(given) == {"DesiredCount": 2, "Cluster": "board-local", "Other": "1"}


def test_verdict_on_a_deployment() -> None:
    states = {"1": "IN_PROGRESS", "2": "COMPLETED", "3": "FAILED"}
    found = {"deployments": [{"id": identity, "rolloutState": state} for identity, state in states.items()]}
    assert service.verdict(found, "1") is None
    assert service.verdict(found, "2") == ""
    assert "Circuit Breaker" in str(service.verdict(found, "3"))
    assert "Circuit Breaker" in str(service.verdict(found, "gone"))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("UPDATE_IN_PROGRESS", "cannot be deleted while in status UPDATE_IN_PROGRESS"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "cannot be deleted while in status UPDATE_ROLLBACK_IN_PROGRESS"),
        ("CREATE_IN_PROGRESS", ""),
        ("UPDATE_ROLLBACK_FAILED", ""),
        ("", ""),
    ],
)
def test_which_stack_can_not_be_deleted(status: str, reason: str) -> None:
    assert cancel.refusal(status) == reason


def test_stop_timeout_and_back_off() -> None:
    assert tasks.stop_timeout({}, {"containerDefinitions": [{"stopTimeout": "30"}, {"stopTimeout": 120}]}) == 120
    assert tasks.stop_timeout({}, None) == tasks.STOP_TIMEOUT
    assert [tasks.back_off(count) for count in (1, 3, 20)] == [0.2, 0.8, 10.0]


def test_how_far_a_cut_off_operation_was() -> None:
    before = {"A": {"Timestamp": "1"}, "B": {"Timestamp": "1"}}
    now = {"A": {"Timestamp": "2"}, "B": {"Timestamp": "1"}, "N": {"Timestamp": "2"}}
    assert restart.done_so_far(["A", "N", "B"], now, before) == (["A", "N"], "B")
    assert restart.done_so_far(["A", "B"], before, before) == ([], "A")
    assert restart.done_so_far(["A"], now, before) == (["A"], None)


CHECK = """
import sys
sys.path.insert(0, {launcher!r})
import launcher
launcher._find_lastgood()
from lastgood.local.adapters import NAMES
from lastgood.local.adapters.wrap import AdapterError, check
check(NAMES)
try:
    check(["services.ecs:_run_task", "services.ecs:_gone", "services.gone:_x"])
except AdapterError as error:
    print(error)
"""


@pytest.mark.slow
def test_ministack_has_every_name() -> None:
    python = emulator.environment()
    script = CHECK.format(launcher=str(REPOSITORY / "ci" / "lastgood" / "local"))
    done = subprocess.run([python, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = (
        "ministack 1.5.33 has no services.ecs:_gone, services.gone:_x: the adapters need to be brought up to date\n"
    )
    assert done.stdout == expected


def test_what_a_rollback_has_not_come_to_can_not_be_skipped() -> None:
    assert rollback.not_skippable(["Migration"], ["Service"]) == ""
    assert rollback.not_skippable(["Migration", "Service"], ["Service"]) == (
        "Resource(s) [Service] cannot be skipped: only resources whose rollback failed can be skipped"
    )


ECR = """
import json, sys, tempfile
sys.path.insert(0, {launcher!r})
from lastgood.local.adapters import registry
from lastgood.local.adapters.settings import Settings
from ministack.core.responses import request_scope
from ministack import app
from ministack.services import ecr

class Here:
    folder, port = tempfile.mkdtemp(), 4566

registry.install(Here())
with request_scope("000000000000", "us-east-1"):
    ecr._create_repository({{"repositoryName": "shop", "imageTagMutability": "IMMUTABLE"}})

    def said(answer):
        body = json.loads(answer[2])["errors"][0] if answer[2] else {{}}
        return [answer[0], answer[1].get("Range", ""), body.get("code", "")]

    def begun():
        return ecr._v2_start_blob_upload("shop", {{}}, b"")[1]["Docker-Upload-UUID"]

    upload, whole = begun(), begun()
    digest = ecr._content_digest(b"aabb")
    for answer in (
        ecr._v2_patch_blob_upload("shop", upload, b"aa"),
        ecr._v2_patch_blob_upload("shop", upload, b"bb"),
        ecr._v2_complete_blob_upload("shop", upload, {{"digest": [digest]}}, b""),
        ecr._v2_complete_blob_upload("shop", whole, {{"digest": [digest]}}, b""),
        ecr._v2_complete_blob_upload("shop", whole, {{"digest": [digest]}}, b"aabb"),
        ecr._v2_put_manifest("shop", "one", {{}}, b"1"),
        ecr._v2_put_manifest("shop", "one", {{}}, b"1"),
        ecr._v2_put_manifest("shop", "one", {{}}, b"2"),
        ecr._v2_put_manifest("shop", ecr._content_digest(b"1"), {{}}, b"1"),
    ):
        print(*said(answer))
    subject = ecr._content_digest(b"1")
    own = json.dumps({{"mediaType": "m", "artifactType": "a", "subject": {{"digest": subject}}}}).encode()
    ecr._v2_put_manifest("shop", "signed", {{}}, own)
    assert app._is_ecr_registry_path(f"/v2/shop/referrers/{{subject}}") and not app._is_ecr_registry_path("/v2/shop/referrers/x")
    verb, name, reference = ecr._parse_v2_path(f"/v2/team/shop/referrers/{{subject}}")
    listed = json.loads(ecr._v2_get_manifest("shop", reference)[2])["manifests"]
    print(verb, name, *[one["artifactType"] for one in listed], listed[0]["digest"] == ecr._content_digest(own))
"""


@pytest.mark.slow
def test_the_registry_answers_as_ecr_does() -> None:
    python = emulator.environment()
    script = ECR.format(launcher=str(REPOSITORY / "ci"))
    done = subprocess.run([python, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["201", "0-1"],
        ["201", "0-1"],
        ["400", "DIGEST_INVALID"],
        ["400", "BLOB_UPLOAD_INVALID"],
        ["201"],
        ["201"],
        ["400", "TAG_INVALID"],
        ["400", "TAG_INVALID"],
        ["201"],
        ["manifest", "team/shop", "a", "True"],
    ]


def test_restart_takes_all_of_one_moment_where_a_kill_came_between_two_files(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "cloudformation.json").write_text("an update")
    (state / "ecs.json").write_text("its service")
    restart.pack(state)
    (state / "cloudformation.json").write_text("a later update")  # and killed before ecs.json and the new snapshot
    (state / "logs.json").write_text("later lines")
    restart.unpack(state)
    assert {file.name: file.read_text() for file in state.iterdir()} == {
        "cloudformation.json": "an update",
        "ecs.json": "its service",
    }


def test_restart_of_a_state_without_a_snapshot_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "ecs.json").write_text("its service")
    restart.unpack(tmp_path)
    assert (tmp_path / "ecs.json").read_text() == "its service"
