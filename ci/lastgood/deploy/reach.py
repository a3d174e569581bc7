"""Whether the smoke test can reach an environment from where it runs."""

from __future__ import annotations

from collections.abc import Mapping

OPEN = ("0.0.0.0/0", "::/0")


def closed(name: str, url: str | None, parameters: Mapping[str, str]) -> str:
    """Why an environment can't be asked over the internet, and what to do; empty where it can, or where `url` says how.

    `parameters` are those of its stack, as pyproject.toml has them; of a load balancer that there is already they say nothing.
    """
    if url:
        return ""
    if parameters.get("LoadBalancerScheme") == "internal":
        why = "its load balancer is internal"
    elif parameters.get("AllowedCidr", OPEN[0]) not in OPEN:
        why = f"its load balancer lets in {parameters['AllowedCidr']} alone"
    else:
        return ""
    return (
        f"{name} can't be asked from the internet, as the smoke test does: {why}; run this where it can be reached (a runner inside the "
        f'network) and say so with url = "https://…" below [tool.lastgood.environments.{name}], the address as that runner sees it'
    )
