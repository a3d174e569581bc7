"""Whether the smoke test can reach an environment."""

from __future__ import annotations

from typing import Any

import pytest
from lastgood.config.project import Environment
from lastgood.deploy import change, reach, smoke
from lastgood.errors import UsageError

ADVICE = (
    '; run this where it can be reached (a runner inside the network) and say so with url = "https://…" below '
    "[tool.lastgood.environments.staging], the address as that runner sees it"
)


@pytest.mark.parametrize(
    ("url", "parameters", "why"),
    [
        (None, {}, ""),
        (None, {"LoadBalancerScheme": "internet-facing", "AllowedCidr": "0.0.0.0/0"}, ""),
        (None, {"LoadBalancerScheme": "internal"}, "its load balancer is internal"),
        (None, {"AllowedCidr": "198.51.100.0/24"}, "its load balancer lets in 198.51.100.0/24 alone"),
        ("https://board.internal", {"LoadBalancerScheme": "internal", "AllowedCidr": "10.0.0.0/8"}, ""),
    ],
)
def test_closed(url: str | None, parameters: dict[str, str], why: str) -> None:
    said = reach.closed("staging", url, parameters)
    assert said == (f"staging can't be asked from the internet, as the smoke test does: {why}{ADVICE}" if why else "")


def test_nothing_is_deployed_that_could_not_be_asked(account: Any, facts: Any) -> None:
    account.environment = Environment("staging", "board-staging", parameters={"LoadBalancerScheme": "internal"})
    with pytest.raises(UsageError, match=r"^staging can't be asked from the internet"):
        change.parameters(account, facts("a"), "1", dict.fromkeys(change.DECIDED, "a"))


@pytest.mark.parametrize("url", ["file:///etc", "ftp://host", "board.example", ""])
def test_only_the_web_is_asked(url: str) -> None:
    assert smoke.ask(url) == smoke.Health(
        0, detail=f"{url} is no address of a site: set url in pyproject.toml to one with http:// or https://"
    )
