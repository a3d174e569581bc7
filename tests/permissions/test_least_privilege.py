"""No role lacks what is called, and none is allowed what nobody calls, but for a list with reasons."""

from __future__ import annotations

import json
import re

import pytest

from permissions import calls, handlers, templates
from permissions.policy import Request, Role, actions, applies, statements

ENVIRONMENT = templates.environment()
SERVICE = templates.service(ENVIRONMENT)
CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
LISTENER = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/shared/1/2"
OWN_DOMAIN = {"Domain": "shop.example.com", "HostedZoneId": "Z1"}
SHARED = {"Domain": "shop.example.com", "ListenerArn": LISTENER}
WAYS_IN = {  # the access stack and the environment's own, for each way in
    "http": (ENVIRONMENT, SERVICE),
    "https": (ENVIRONMENT, templates.service(ENVIRONMENT, CertificateArn=CERTIFICATE, Domain="shop.example.com")),
    "domain": (
        templates.environment("production", **OWN_DOMAIN),
        templates.service(ENVIRONMENT, CertificateArn=CERTIFICATE, **OWN_DOMAIN),
    ),
    "listener": (
        templates.environment("production", ListenerSecurityGroup="sg-0a", **SHARED),
        templates.service(ENVIRONMENT, **SHARED),
    ),
}
# The demo's own account, for what was noted there.
DEMO = templates.environment(calls.ENVIRONMENT, calls.PROJECT, region=calls.REGION, account=calls.ACCOUNT)


def unused(role: Role, requests: list[Request]) -> set[str]:
    """The actions, by statement, that none of the requests needs."""
    needed = {
        (one.get("Sid", ""), request.action)
        for policy in role.policies
        for one in statements(policy)
        for request in requests
        if applies(one, request)
    }
    return {
        f"{sid} {action}" for policy in role.policies for sid, action in actions(policy) if (sid, action) not in needed
    }


@pytest.mark.parametrize("way", WAYS_IN)
def test_cloudformation_gets_what_its_handlers_ask_for(way: str) -> None:
    access, made = WAYS_IN[way]
    role = access.role("ServiceRole")
    assert [(name, request) for name, _, request in handlers.requests(made) if not role.may(request)] == []


def test_what_handlers_ask_for_and_do_not_get_they_do_ask_for() -> None:
    for type_ in handlers.NOT_GRANTED:
        assert set(handlers.left_out(type_)) <= set().union(*handlers.permissions(type_).values()), type_
        assert type_ in {one["Type"] for _, made in WAYS_IN.values() for one in made.resources.values()}


def test_the_deletion_of_a_role_asks_for_what_iams_handler_asks_for() -> None:
    assert handlers.permissions("AWS::IAM::Role")["delete"] >= {
        "iam:DetachRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
    }
    role = ENVIRONMENT.role("ServiceRole")
    for action in handlers.permissions("AWS::IAM::Role")["delete"]:
        assert role.may(handlers.asked(SERVICE, "TaskRole", action)), action


def test_the_service_role_may_nothing_else() -> None:
    role = ENVIRONMENT.role("ServiceRole")
    asked = [request for _, made in WAYS_IN.values() for _, _, request in handlers.requests(made)]
    without = {
        one
        for access, _ in WAYS_IN.values()
        for one in unused(access.role("ServiceRole"), asked)
        if one.split()[1] not in handlers.BESIDES
    }
    assert without == {
        "TagsOfNewBalancers elasticloadbalancing:AddTags"
    }  # which CreateAction comes with, not a call of its own
    new = {"elasticloadbalancing:CreateAction": "CreateLoadBalancer"}
    tags = {f"aws:RequestTag/lastgood:{key.lower()}": SERVICE.values[key] for key in ("Project", "Environment")}
    assert role.may(
        Request("elasticloadbalancing:AddTags", "arn:aws:elasticloadbalancing:r:1:loadbalancer/app/x/1", new | tags)
    )


@pytest.mark.parametrize("name", ["PushRole", "DeployRole"])
def test_a_role_may_what_was_called_in_the_demo(name: str) -> None:
    role = DEMO.role(name)
    wanted = [request for of, request in calls.noted() if of == name]
    assert wanted
    assert [request for request in wanted if not role.may(request)] == []


def test_the_push_role_may_what_the_registry_asks_for() -> None:
    role = DEMO.role("PushRole")
    assert [one for one in calls.pushed() if not role.may(one)] == []


def test_both_roles_may_read_who_has_signed() -> None:
    """The deploy, to know; the push, to put it there."""
    for name in ("PushRole", "DeployRole"):
        assert [one for one in calls.read() if not DEMO.role(name).may(one)] == [], name


@pytest.mark.parametrize("name", ["PushRole", "DeployRole"])
def test_a_role_may_nothing_else(name: str) -> None:
    asked = calls.pushed() if name == "PushRole" else calls.read()
    wanted = [request for of, request in calls.noted() if of == name] + asked
    left = {one for one in unused(DEMO.role(name), wanted) if not {one, one.split()[1]} & set(calls.RARELY)}
    assert left == set()


def test_what_is_called_rarely_is_called_somewhere() -> None:
    """Each stands in the sources, but for what AWS asks for by itself."""
    sources = "".join(file.read_text(encoding="utf-8") for file in (calls.CI / "lastgood").rglob("*.py"))
    unseen = {
        action
        for action, when in calls.RARELY.items()
        if "emulator" not in when and "the same" not in when and snake(action.rpartition(":")[2]) not in sources
    }
    assert unseen == {"iam:PassRole"}


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_the_function_calls_what_is_told_here() -> None:
    told = {name.partition(" ")[0] for name in calls.FUNCTION}
    assert told - {"open.put_item"} == calls.called_by_the_function()


def test_the_function_may_what_it_calls_and_nothing_else() -> None:
    role = templates.account().role("MigrationRole")
    wanted = [
        *calls.function().values(),
        Request(
            "logs:CreateLogStream",
            "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/lastgood-shop-migration:x",
        ),
        Request(
            "logs:PutLogEvents",
            "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/lastgood-shop-migration:x",
        ),
        Request(
            "iam:PassRole",
            "arn:aws:iam::123456789012:role/lastgood/shop/production/TaskRole",
            {"iam:PassedToService": "ecs-tasks.amazonaws.com"},
        ),
    ]
    assert [one for one in wanted if not role.may(one)] == []
    assert unused(role, wanted) == set()


def test_calls_are_noted_as_iam_is_asked(tmp_path: object) -> None:
    role = "arn:aws:iam::000000000000:role/lastgood-access/board/local/lastgood-board-local-ServiceRole-1AB2"
    lines = [
        {
            "verb": "deploy",
            "service": "cloudformation",
            "operation": "CreateChangeSet",
            "params": {"StackName": "board-local", "RoleARN": role},
        },
        {
            "verb": "deploy",
            "service": "dynamodb",
            "operation": "TransactWriteItems",
            "params": {
                "TransactItems": [
                    {
                        "Update": {
                            "TableName": "lastgood-board",
                            "Key": {"pk": {"S": "environment#local"}, "sk": {"S": "release#00000001"}},
                        }
                    },
                    {
                        "Put": {
                            "TableName": "lastgood-board",
                            "Item": {"pk": {"S": "environment#local"}, "sk": {"S": "last-good"}},
                        }
                    },
                ]
            },
        },
        {
            "verb": "deploy",
            "service": "dynamodb",
            "operation": "GetItem",
            "params": {"TableName": "lastgood-board", "Key": {"pk": {"S": f"build#sha256:{'0' * 64}"}}},
        },
        {"verb": "status", "service": "ecs", "operation": "ListTasks", "params": {"cluster": "board_local"}},
    ]
    found = calls.note("\n".join(map(json.dumps, lines)))
    assert [
        (one["role"], one["action"], one["resource"].partition("000000000000:")[2], list(one["context"].values()))
        for one in found
    ] == [
        (
            "DeployRole",
            "cloudformation:CreateChangeSet",
            "stack/board-local/1",
            [[role.replace("lastgood-board-local-ServiceRole-1AB2", "ServiceRole")]],
        ),
        ("DeployRole", "dynamodb:GetItem", "table/lastgood-board", [["build#1"]]),
        ("DeployRole", "dynamodb:PutItem", "table/lastgood-board", [["environment#local"]]),
        ("DeployRole", "dynamodb:UpdateItem", "table/lastgood-board", [["environment#local"]]),
        (
            "DeployRole",
            "iam:PassRole",
            "role/lastgood-access/board/local/ServiceRole",
            [["cloudformation.amazonaws.com"]],
        ),
    ]
