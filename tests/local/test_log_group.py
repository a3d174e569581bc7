"""The log group of service.yml, taken out of it: it outlives its stack, and is not in the way of the next."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lastgood import bundle
from lastgood.aws.session import Session
from lastgood.config.project import Environment
from lastgood.deploy.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def template() -> str:
    """LogGroup alone, with the parameters that it refers to."""
    whole = bundle.path("cloudformation/service.yml").read_text(encoding="utf-8")
    found = re.search(r"^  LogGroup:\n(?: {4}.*\n)+", whole, re.MULTILINE)
    assert found
    parameters = (
        "Parameters: { Project: { Type: String }, Environment: { Type: String }, LogRetention: { Type: Number } }"
    )
    return f"{parameters}\nResources:\n{found[0]}"


def test_each_stack_has_a_log_group_of_its_own_and_leaves_it(site: Any) -> None:
    stack = Stack(Session("probe", Environment("log", "probe-log"), site.cloud), "probe-log")
    values = {"Project": "probe", "Environment": "log", "LogRetention": "30"}

    def groups() -> list[str]:
        found = site.client("logs").describe_log_groups(logGroupNamePrefix="/lastgood/probe/log/")["logGroups"]
        return [str(one["logGroupName"]) for one in found]

    for number in (1, 2):
        change = stack.prepare(template(), values, {})
        assert change
        stack.execute(change)
        assert stack.watch(lambda _events: None) == "CREATE_COMPLETE"
        assert len(groups()) == number
        stack.delete()
        assert stack.watch(lambda _events: None) is None
        assert len(groups()) == number
    assert all(re.fullmatch(r"/lastgood/probe/log/[0-9a-f-]{36}", name) for name in groups())
