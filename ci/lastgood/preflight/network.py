"""Where the tasks stand: whether they can fetch their image and secrets, and reach the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lastgood.preflight.line import GOOD, NOTE, UNKNOWN, WRONG, Facts, Line, listed

SUBNETS, ROUTES, ENDPOINTS = "ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcEndpoints"
GROUPS = "ec2:DescribeSecurityGroups"
# What a task without a way to the internet needs endpoints for, by the end of the service's name; S3 has the layers of images.
NEEDED = ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "s3")


def lines(facts: Facts) -> list[Line]:
    """Subnets, the way out of them, and the security groups."""
    unknown = facts.unknown("subnets", SUBNETS)
    if unknown:
        return [unknown]
    answer, refusal = facts.answer(SUBNETS), facts.refusal(SUBNETS)
    if answer is None:
        text = refusal.message if refusal else "none are named"
        return [Line("subnets", WRONG, text, _set(facts, "VpcId and Subnets"))]
    subnets = answer["Subnets"]
    wanted = {*listed(facts.parameters, "Subnets"), *listed(facts.parameters, "LoadBalancerSubnets")}
    by_name = {one["SubnetId"]: one for one in subnets if one["SubnetId"] in wanted}
    return [_subnets(facts, by_name), *_ways(facts, by_name), *_groups(facts)]


def _set(facts: Facts, names: str) -> str:
    return f"set {names} in parameters below [tool.lastgood.environments.{facts.environment}]"


def _subnets(facts: Facts, subnets: Mapping[str, Mapping[str, Any]]) -> Line:
    vpc = facts.parameters.get("VpcId", "")
    others = sorted(name for name, one in subnets.items() if one["VpcId"] != vpc)
    if others:
        return Line(
            "subnets",
            WRONG,
            f"{', '.join(others)} are not in {vpc or 'a VPC that is named'}",
            _set(facts, "VpcId and Subnets"),
        )
    if facts.parameters.get("ListenerArn"):
        return Line("subnets", GOOD, f"{len(subnets)} in {vpc}")
    facing = listed(facts.parameters, "LoadBalancerSubnets") or listed(facts.parameters, "Subnets")
    zones = {subnets[name]["AvailabilityZone"] for name in facing if name in subnets}
    if len(zones) < 2 or len(zones) < len(facing):
        where = "LoadBalancerSubnets" if facts.parameters.get("LoadBalancerSubnets") else "Subnets"
        return Line(
            "subnets",
            WRONG,
            f"a load balancer wants subnets in at least two availability zones, one in each; {where} names {len(facing)} in {len(zones)}",
            _set(facts, where),
        )
    return Line("subnets", GOOD, f"{len(subnets)} in {vpc}, {len(zones)} availability zones")


def table(name: str, tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The route table of a subnet: its own, else the network's main one."""
    main = None
    for one in tables:
        for link in one.get("Associations", []):
            if link.get("SubnetId") == name:
                return one
            if link.get("Main"):
                main = one
    return main


def way(found: Mapping[str, Any] | None) -> str:
    """How a route table leads to the internet: `gateway`, `nat` (or another device that does the same), or empty: not at all."""
    for route in (found or {}).get("Routes", []):
        if route.get("DestinationCidrBlock") != "0.0.0.0/0" or route.get("State") == "blackhole":
            continue
        if str(route.get("GatewayId", "")).startswith("igw-"):
            return "gateway"
        if any(route.get(key) for key in ("NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId")):
            return "nat"
    return ""


def _ways(facts: Facts, subnets: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    unknown = facts.unknown("way out", ROUTES)
    if unknown:
        return [unknown]
    tables = (facts.answer(ROUTES) or {}).get("RouteTables", [])
    public = facts.parameters.get("AssignPublicIp") == "ENABLED"
    found = []
    for name in (one for one in listed(facts.parameters, "Subnets") if one in subnets):
        leads = way(table(name, tables))
        if leads == "gateway" and not public:
            found.append(
                Line(
                    f"way out of {name}",
                    WRONG,
                    "its internet gateway serves only tasks with a public address, and AssignPublicIp is DISABLED: no image, no secrets",
                    _set(facts, "AssignPublicIp to ENABLED, or Subnets to some behind a NAT gateway,"),
                )
            )
        elif leads == "nat" and public:
            found.append(
                Line(
                    f"way out of {name}",
                    NOTE,
                    "a NAT gateway, so AssignPublicIp is not needed",
                    _set(facts, "it to DISABLED"),
                )
            )
        elif leads:
            found.append(Line(f"way out of {name}", GOOD, "internet gateway, public addresses" if public else "NAT"))
        else:
            found.append(_closed(facts, name))
    return [*found, *_facing(facts, tables)]


def _closed(facts: Facts, name: str) -> Line:
    """A subnet that leads nowhere is well with endpoints."""
    unknown = facts.unknown(f"way out of {name}", ENDPOINTS)
    if unknown:
        return unknown
    there = [
        one
        for one in (facts.answer(ENDPOINTS) or {}).get("VpcEndpoints", [])
        if one.get("State", "").lower() == "available"
    ]
    lacks = [need for need in NEEDED if not any(str(one["ServiceName"]).endswith(f".{need}") for one in there)]
    if lacks:
        return Line(
            f"way out of {name}",
            WRONG,
            f"it has no route to the internet, and the network no endpoint for {', '.join(lacks)}",
            "add a NAT gateway, or these VPC endpoints, or choose other Subnets",
        )
    return Line(f"way out of {name}", GOOD, "no internet, endpoints for all that a task fetches")


def _facing(facts: Facts, tables: Sequence[Mapping[str, Any]]) -> list[Line]:
    """An internet-facing load balancer stands where an internet gateway is."""
    if facts.parameters.get("ListenerArn") or facts.parameters.get("LoadBalancerScheme") == "internal":
        return []
    names = listed(facts.parameters, "LoadBalancerSubnets") or listed(facts.parameters, "Subnets")
    inside = [name for name in names if way(table(name, tables)) != "gateway"]
    if not inside:
        return []
    return [
        Line(
            "load balancer",
            WRONG,
            f"it is internet-facing, and {', '.join(inside)} have no internet gateway: nobody would reach it",
            _set(facts, "LoadBalancerSubnets to public subnets, or LoadBalancerScheme to internal"),
        )
    ]


def _groups(facts: Facts) -> list[Line]:
    wanted = [facts.parameters.get(name, "") for name in ("DatabaseSecurityGroup", "ListenerSecurityGroup")]
    wanted = [*filter(None, wanted), *listed(facts.parameters, "TaskSecurityGroups")]
    found = []
    if wanted:
        unknown = facts.unknown("security groups", GROUPS)
        answer, refusal = facts.answer(GROUPS), facts.refusal(GROUPS)
        if unknown:
            found.append(unknown)
        elif answer is None:
            text = refusal.message if refusal else "they were not found"
            found.append(Line("security groups", WRONG, text, _set(facts, "those that there are")))
        else:
            vpc = facts.parameters.get("VpcId")
            others = [one["GroupId"] for one in answer["SecurityGroups"] if one.get("VpcId") != vpc]
            text = f"{', '.join(others)} are of another VPC than {vpc}" if others else ", ".join(wanted)
            todo = (
                "name groups of the same VPC (or of one that is peered with it, in which case this is well)"
                if others
                else ""
            )
            found.append(Line("security groups", NOTE if others else GOOD, text, todo))
    if not facts.parameters.get("DatabaseSecurityGroup"):
        text = "nothing says how the database lets the tasks in"
        if facts.parameters.get("TaskSecurityGroups"):
            text = f"it has to let in {facts.parameters['TaskSecurityGroups']}, which can't be seen here"
        found.append(
            Line(
                "database",
                UNKNOWN,
                text,
                _set(facts, "DatabaseSecurityGroup, and the stack opens its port before the migration"),
            )
        )
    return found
