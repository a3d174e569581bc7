"""Whether the account may have as much as the environment takes. New accounts begin with very little."""

from __future__ import annotations

from lastgood.preflight.line import GOOD, WRONG, Facts, Line

PROCESSORS = ("fargate", "L-3032A538")  # vCPUs of Fargate On-Demand that run at once
BALANCERS = ("elasticloadbalancing", "L-53DA6B97")  # Application Load Balancers in a region


def lines(facts: Facts) -> list[Line]:
    """Processors and load balancers."""
    return [_processors(facts), *_balancers(facts)]


def needed(parameters: dict[str, str]) -> float:
    """The processors of a deploy: old and new tasks at once, or the release task beside the old ones, whichever is more."""
    one = int(parameters.get("Cpu") or 256) / 1024
    count = int(parameters.get("DesiredCount") or 2)
    return max(2 * count, count + 1) * one


def _value(facts: Facts, quota: tuple[str, str]) -> float | None:
    answer = facts.answer(f"servicequotas:GetServiceQuota {quota[1]}")
    return float(answer["Quota"]["Value"]) if answer else None


def _processors(facts: Facts) -> Line:
    what, quota = "processors", f"servicequotas:GetServiceQuota {PROCESSORS[1]}"
    value, wanted = _value(facts, PROCESSORS), needed(dict(facts.parameters))
    if value is None:
        return facts.unknown(what, quota) or Line(what, GOOD, f"a deploy takes {wanted:g}; the quota is the default")
    if value < wanted:
        text = f"a deploy takes {wanted:g}, and Fargate's quota in {facts.region} is {value:g}"
        return Line(
            what,
            WRONG,
            text,
            "ask for more in Service Quotas (Fargate On-Demand vCPU), or set DesiredCount or Cpu lower",
        )
    return Line(
        what, GOOD, f"a deploy takes {wanted:g} of the {value:g} that Fargate gives, what else runs there not counted"
    )


def _balancers(facts: Facts) -> list[Line]:
    if facts.parameters.get("ListenerArn") or facts.answer(
        f"cloudformation:DescribeStacks {facts.project}-{facts.environment}"
    ):
        return []
    value, there = _value(facts, BALANCERS), facts.answer("elasticloadbalancing:DescribeLoadBalancers")
    if value is None or there is None:
        return []
    count = len([one for one in there["LoadBalancers"] if one.get("Type") == "application"])
    if count >= value:
        text = f"there are {count}, and the quota is {value:g}"
        return [
            Line(
                "load balancers",
                WRONG,
                text,
                "ask for more in Service Quotas, or name one that there is by ListenerArn",
            )
        ]
    return [Line("load balancers", GOOD, f"{count} of {value:g}")]
