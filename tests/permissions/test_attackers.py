"""Nobody gets further than docs/threat-model.md says: every attempt is refused by the very templates, and every condition stops one."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from permissions import attackers, templates
from permissions.attackers import BOUND, OURS, OWN_TASK_ROLE, TO_TASKS, Stranger, arn, role
from permissions.claims import Job, token
from permissions.policy import Request, Role, applies, statements
from permissions.templates import GITHUB

PRODUCTION = templates.environment("production")
SERVICE = templates.service(PRODUCTION)
ROLES = {name: PRODUCTION.role(name) for name in ("ServiceRole", "PushRole", "DeployRole")}
FEDERATED = {"Federated": f"arn:aws:iam::{templates.ACCOUNT}:oidc-provider/{GITHUB}"}
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def refused(by: Role, attempts: list[Request]) -> None:
    assert attempts
    assert [one for one in attempts if by.may(one)] == []


@pytest.mark.parametrize("job", [attackers.PUSH, attackers.DEPLOY], ids=lambda job: job.name)
def test_a_stranger_is_trusted_by_no_role(job: Job) -> None:
    for stranger in attackers.strangers(job):
        trusted_by_nobody(stranger)


def trusted_by_nobody(stranger: Stranger) -> None:
    for made in (PRODUCTION, templates.environment("staging")):
        for name in ("PushRole", "DeployRole"):
            assert not made.role(name).trusts("sts:AssumeRoleWithWebIdentity", FEDERATED, stranger.token)


def test_who_the_strangers_nearly_are_is_trusted() -> None:
    role = ROLES["DeployRole"]
    assert role.trusts("sts:AssumeRoleWithWebIdentity", FEDERATED, token(attackers.DEPLOY))
    assert not role.trusts("sts:AssumeRole", {"AWS": f"arn:aws:iam::{templates.ACCOUNT}:root"}, {})
    other = {"Federated": FEDERATED["Federated"].replace(GITHUB, "mallory.example")}
    assert not role.trusts("sts:AssumeRoleWithWebIdentity", other, token(attackers.DEPLOY))


def test_staging_is_not_production() -> None:
    staging = templates.environment("staging").role("DeployRole")
    assert staging.trusts("sts:AssumeRoleWithWebIdentity", FEDERATED, token(attackers.DEPLOY, environment="staging"))
    assert not ROLES["DeployRole"].trusts(
        "sts:AssumeRoleWithWebIdentity", FEDERATED, token(attackers.DEPLOY, environment="staging")
    )


@pytest.mark.parametrize(
    ("what", "attempts"), attackers.template().items(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_who_writes_the_template_can_not(what: str, attempts: list[Request]) -> None:
    refused(ROLES["ServiceRole"], attempts)


@pytest.mark.parametrize(
    ("what", "attempts"),
    attackers.deployer(ROLES["ServiceRole"].arn).items(),
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_who_holds_the_deploy_role_can_not(what: str, attempts: list[Request]) -> None:
    refused(ROLES["DeployRole"], attempts)


@pytest.mark.parametrize(
    ("what", "attempts"), attackers.pusher().items(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_who_holds_the_push_role_can_not(what: str, attempts: list[Request]) -> None:
    refused(ROLES["PushRole"], attempts)


@pytest.mark.parametrize(
    ("what", "attempts"), attackers.task().items(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_code_in_a_task_can_not(what: str, attempts: list[Request]) -> None:
    """Whatever the template gives to its roles, and whomever they trust."""
    bounded = replace(SERVICE.role("TaskRole", templates.boundaries(PRODUCTION)), policies=[EVERYTHING])
    refused(bounded, attempts)
    assert replace(bounded, boundary=None).may(attempts[0])  # the boundary it is that stops it


@pytest.mark.parametrize(
    ("what", "attempts"), attackers.function().items(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_the_function_can_not(what: str, attempts: list[Request]) -> None:
    refused(templates.account().role("MigrationRole"), attempts)


@pytest.mark.parametrize(
    ("what", "attempts"), attackers.schedule().items(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_eventbridge_can_not(what: str, attempts: list[Request]) -> None:
    refused(PRODUCTION.role("ScheduleRole"), attempts)


def test_eventbridge_starts_jobs_of_this_account() -> None:
    role = PRODUCTION.role("ScheduleRole")
    eventbridge = {"Service": "scheduler.amazonaws.com"}
    assert role.trusts("sts:AssumeRole", eventbridge, {"aws:SourceAccount": templates.ACCOUNT})
    assert not role.trusts("sts:AssumeRole", eventbridge, {"aws:SourceAccount": "999999999999"})
    cluster = {"ecs:cluster": arn("ecs", "cluster/shop_production")}
    assert role.may(Request("ecs:RunTask", arn("ecs", "task-definition/shop_production_job:1"), cluster))
    assert role.may(Request("iam:PassRole", OWN_TASK_ROLE, TO_TASKS))


@pytest.mark.parametrize(
    "request_",
    [
        Request("iam:CreateRole", OWN_TASK_ROLE, BOUND),
        Request("iam:PassRole", OWN_TASK_ROLE, TO_TASKS),
        Request("lambda:InvokeFunction", arn("lambda", "function:lastgood-shop-migration")),
        Request("elasticloadbalancing:ModifyListener", attackers.LISTENER, OURS),
        Request(
            "ecs:CreateService",
            arn("ecs", "service/shop_production/web"),
            {"ecs:task-definition": arn("ecs", "task-definition/shop_production_worker:1")},
        ),
        Request("ecs:UpdateService", arn("ecs", "service/shop_production/web")),
    ],
    ids=lambda one: one.action,
)
def test_what_the_template_needs_it_can(request_: Request) -> None:
    assert ROLES["ServiceRole"].may(request_)


def test_only_cloudformation_of_this_account_assumes_the_service_role() -> None:
    trusted = ROLES["ServiceRole"]
    cloudformation = {"Service": "cloudformation.amazonaws.com"}
    assert trusted.trusts("sts:AssumeRole", cloudformation, {"aws:SourceAccount": templates.ACCOUNT})
    assert not trusted.trusts("sts:AssumeRole", cloudformation, {"aws:SourceAccount": "999999999999"})
    assert not trusted.trusts(
        "sts:AssumeRole", {"AWS": ROLES["DeployRole"].arn}, {"aws:SourceAccount": templates.ACCOUNT}
    )


def test_every_role_of_the_stack_has_the_boundary_and_stands_in_the_environments_path() -> None:
    found = {name: one["Properties"] for name, one in SERVICE.resources.items() if one["Type"] == "AWS::IAM::Role"}
    assert sorted(found) == ["ExecutionRole", "TaskRole"]
    for properties in found.values():
        assert properties["PermissionsBoundary"] == PRODUCTION.outputs["PermissionsBoundary"]
        assert properties["Path"] == "/lastgood/shop/production/"


def test_what_the_stacks_roles_are_for_is_within_the_boundary() -> None:
    within = templates.boundaries(PRODUCTION)
    execution, task = SERVICE.role("ExecutionRole", within), SERVICE.role("TaskRole", within)
    log = arn("logs", "log-group:/lastgood/shop/production/1:log-stream:web/web/1")
    for request in (
        Request("ecr:GetAuthorizationToken"),
        Request("ecr:BatchGetImage", arn("ecr", "repository/shop")),
        Request("logs:PutLogEvents", log),
        Request("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:shop-production/key-AbCdEf")),
    ):
        assert execution.may(request), request
    assert task.may(Request("cloudformation:DescribeStacks", attackers.stack("shop-production")))


def test_a_boundary_of_ones_own_takes_the_place_of_ours_everywhere() -> None:
    mine = arn("iam", "policy/mine")
    made = templates.environment("production", OwnBoundary=mine)
    assert "Boundary" not in made.resources
    assert made.outputs["PermissionsBoundary"] == mine
    makes = made.role("ServiceRole")
    assert makes.may(Request("iam:CreateRole", OWN_TASK_ROLE, {"iam:PermissionsBoundary": mine}))
    assert not makes.may(Request("iam:CreateRole", OWN_TASK_ROLE, BOUND))


def test_without_github_there_is_no_role_for_it() -> None:
    made = templates.environment("production", GitHubProviderArn="")
    assert not {"PushRole", "DeployRole"} & set(made.resources)
    assert not {"PushRoleArn", "DeployRoleArn"} & set(made.outputs)


@pytest.mark.parametrize("name", ["ServiceRole", "PushRole", "DeployRole"])
def test_the_longest_names_still_fit(name: str) -> None:
    """Inline policies may have 10,240 characters for each role, a managed one 6,144."""
    made = templates.environment("e" * 40, "p" * 40)
    assert sum(len(compact(one)) for one in made.role(name).policies) <= 10_240
    assert len(compact(made.resources["Boundary"]["Properties"]["PolicyDocument"])) <= 6_144


def compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def test_no_two_environments_share_a_name() -> None:
    """shop's environment api-production, and shop-api's production, are not one cluster: no name has an underscore."""
    one = templates.service(templates.environment("api-production", "shop"))
    other = templates.service(templates.environment("production", "shop-api"))
    for resource, key in (("Cluster", "ClusterName"), ("TaskDefinition", "Family"), ("Service", "ServiceName")):
        assert one.resources[resource]["Properties"][key] != other.resources[resource]["Properties"][key]
    assert role("x") != role("y")


def weaker(role: Role, attempts: dict[str, list[Request]]) -> list[str]:
    """What could be left out of a role's policies without anybody getting further: conditions (each key), and resources (each but *)."""
    everything = [one for requests in attempts.values() for one in requests]
    useless = []
    for statement in (one for document in role.policies for one in statements(document)):
        for operator, keys in statement.get("Condition", {}).items():
            for key in keys:
                changed = copy.deepcopy(statement)
                del changed["Condition"][operator][key]
                if not any(applies(changed, one) for one in everything):
                    useless.append(f"{statement['Sid']}: {operator} {key}")
        if statement["Resource"] != "*" and not any(applies(statement | {"Resource": "*"}, one) for one in everything):
            useless.append(f"{statement['Sid']}: Resource")
    return useless


@pytest.mark.parametrize(
    ("name", "attempts"),
    [
        ("ServiceRole", attackers.template()),
        ("DeployRole", attackers.deployer(ROLES["ServiceRole"].arn)),
        ("PushRole", attackers.pusher()),
    ],
)
def test_every_condition_and_every_resource_stops_somebody(name: str, attempts: dict[str, list[Request]]) -> None:
    assert weaker(ROLES[name], attempts) == []


def test_every_condition_of_the_function_stops_somebody() -> None:
    assert weaker(templates.account().role("MigrationRole"), attackers.function()) == []


def test_every_condition_of_the_schedules_role_stops_somebody() -> None:
    assert weaker(PRODUCTION.role("ScheduleRole"), attackers.schedule()) == []


def test_every_claim_stops_somebody() -> None:
    for name, job in (("PushRole", attackers.PUSH), ("DeployRole", attackers.DEPLOY)):
        block = ROLES[name].trust["Statement"][0]["Condition"]
        for operator, keys in block.items():
            for key in keys:
                trust = copy.deepcopy(ROLES[name].trust)
                del trust["Statement"][0]["Condition"][operator][key]
                open_ = replace(ROLES[name], trust=trust)
                assert any(
                    open_.trusts("sts:AssumeRoleWithWebIdentity", FEDERATED, one.token)
                    for one in attackers.strangers(job)
                ), key
