"""What an administrator decides: two stacks, their values, said once and kept; what a first run that failed has left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lastgood import bundle
from lastgood.config.project import Environment
from lastgood.deploy import access, bootstrap
from lastgood.deploy.access import GitHub
from lastgood.deploy.stack import ChangeSet, Stack
from lastgood.errors import FailedNotRestored, UsageError

PROVIDER = "arn:aws:iam::1:oidc-provider/token.actions.githubusercontent.com"
SECRET = "arn:aws:secretsmanager:eu-central-1:1:secret:shop/database-AbCdEf"


class Cloud:
    """CloudFormation and IAM: stacks as they are described, and what was asked for."""

    def __init__(self) -> None:
        self.stacks: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.done: list[str] = []
        self.ends = "CREATE_COMPLETE"
        self.providers = [PROVIDER]
        self.linked: list[str] = []
        self.changes = [{"Action": "Add", "LogicalResourceId": "Repository", "ResourceType": "AWS::ECR::Repository"}]

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        if StackName not in self.stacks:
            text = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": text}}, "DescribeStacks")
        return {"Stacks": [self.stacks[StackName]]}

    def has(self, name: str, status: str, **parameters: str) -> None:
        listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        self.stacks[name] = {"StackStatus": status, "Parameters": listed, "Outputs": []}

    def get_template_summary(self, TemplateBody: str) -> dict[str, Any]:  # noqa: N803
        names = (
            ("Project", "LogRetention") if "ReleaseRecord" in TemplateBody else ("Project", "GitHubRefs", "OwnBoundary")
        )
        return {"Parameters": [{"ParameterKey": name} for name in names]}

    def create_change_set(self, **request: Any) -> None:
        self.asked.append(request)

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return {"Status": "CREATE_COMPLETE"}

    def get_paginator(self, name: str) -> Any:
        pages = {"describe_change_set": [{"Changes": [{"ResourceChange": one} for one in self.changes]}]}
        return SimpleNamespace(paginate=lambda **_: pages.get(name, [{"StackEvents": []}]))

    def execute_change_set(self, StackName: str, **_: Any) -> None:  # noqa: N803
        self.done.append(StackName)
        self.has(StackName, self.ends)

    def delete_change_set(self, **_: Any) -> None:
        self.done.append("discard")

    def delete_stack(self, StackName: str) -> None:  # noqa: N803
        self.done.append(f"delete {StackName}")
        self.stacks.pop(StackName, None)

    def list_open_id_connect_providers(self) -> dict[str, Any]:
        return {"OpenIDConnectProviderList": [{"Arn": one} for one in self.providers]}

    def create_service_linked_role(self, AWSServiceName: str) -> None:  # noqa: N803
        self.linked.append(AWSServiceName)
        if AWSServiceName.startswith("ecs"):
            raise ClientError(
                {"Error": {"Code": "InvalidInput", "Message": "has been taken"}}, "CreateServiceLinkedRole"
            )

    def values(self, number: int) -> dict[str, str]:
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.asked[number]["Parameters"]}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return Cloud()


def session(cloud: Cloud, **parameters: str) -> Any:
    given = {"VpcId": "vpc-1", "DatabaseSecret": f"{SECRET}:url::"} | parameters
    environment = Environment("production", "shop-production", parameters=given)
    return SimpleNamespace(project="shop", environment=environment, cloud=None, client=lambda service: cloud)


def test_a_new_account(cloud: Cloud, capsys: Any) -> None:
    github = GitHub("1234567", "acme/lastgood")
    facts = bootstrap.bootstrap(session(cloud, AllowedCidr="10.0.0.0/8"), github)
    assert [one["StackName"] for one in cloud.asked] == ["lastgood-shop", "lastgood-shop-production"]
    assert cloud.values(0) == {"Project": "shop"}
    assert cloud.values(1) == {
        "Project": "shop",
        "Environment": "production",
        "StackName": "shop-production",
        "VpcId": "vpc-1",
        "AllowedCidr": "10.0.0.0/8",
        "SecretArns": SECRET,
        "ParameterArns": "",
        "Attestations": "required",
        "GitHubRepositoryId": "1234567",
        "GitHubEnvironment": "production",
        "GitHubProviderArn": PROVIDER,
        "PushWorkflows": access.workflows("acme/lastgood", ["v1.*"])["PushWorkflows"],
        "DeployWorkflows": "acme/lastgood/.github/workflows/deploy.yml@refs/tags/v1.*,"
        "acme/lastgood/.github/workflows/rollback.yml@refs/tags/v1.*",
    }
    assert cloud.linked == ["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com"]
    assert (facts["stack"], facts["access"], facts["access_status"]) == (
        "lastgood-shop",
        "lastgood-shop-production",
        "CREATE_COMPLETE",
    )
    shown = capsys.readouterr().err
    assert "+ Repository  AWS::ECR::Repository" in shown
    assert "AllowedCidr = 10.0.0.0/8" in shown
    assert "elasticloadbalancing.amazonaws.com had no role of its own in this account: made" in shown
    assert "ecs.amazonaws.com had no role" not in shown


def test_what_a_failed_first_run_left_is_taken_over(cloud: Cloud) -> None:
    cloud.has("lastgood-shop", "ROLLBACK_COMPLETE")
    bootstrap.bootstrap(session(cloud))
    assert cloud.done[0] == "delete lastgood-shop"
    assert [one.get("ImportExistingResources", False) for one in cloud.asked] == [True, False]
    body = cloud.asked[0]["TemplateBody"]  # CloudFormation finds them by names that are no functions
    assert "      RepositoryName: shop\n" in body
    assert "      TableName: lastgood-shop\n" in body


def test_only_the_names_are_written_out() -> None:
    text = bundle.path("cloudformation/bootstrap.yml").read_text(encoding="utf-8")
    changed = [
        (a, b)
        for a, b in zip(text.splitlines(), bootstrap.with_names(text, "shop").splitlines(), strict=True)
        if a != b
    ]
    assert [one.strip() for _, one in changed] == ["RepositoryName: shop", "TableName: lastgood-shop"]
    with pytest.raises(ValueError, match=r"bootstrap\.yml has no 'RepositoryName: !Ref Project'"):
        bootstrap.with_names("Resources: {}\n", "shop")


def test_a_second_run_keeps_what_was_said(cloud: Cloud) -> None:
    cloud.has("lastgood-shop", "UPDATE_COMPLETE", Project="shop", LogRetention="90", Gone="x")
    cloud.has(
        "lastgood-shop-production",
        "UPDATE_COMPLETE",
        Project="shop",
        Environment="production",
        GitHubRefs="refs/heads/trunk",
        OwnBoundary="arn:mine",
        GitHubRepositoryId="1234567",
        GitHubEnvironment="live",
        GitHubProviderArn="arn:provider",
        DeployWorkflows="x",
    )
    bootstrap.bootstrap(session(cloud))
    assert cloud.values(0) == {"Project": "shop", "LogRetention": "90"}
    found = cloud.values(1)
    assert (found["GitHubRefs"], found["OwnBoundary"]) == ("refs/heads/trunk", "arn:mine")
    assert (found["GitHubEnvironment"], found["GitHubProviderArn"]) == ("live", "arn:provider")


def test_nothing_is_changed_by_a_dry_run(cloud: Cloud, capsys: Any) -> None:
    bootstrap.bootstrap(session(cloud), dry_run=True)
    assert cloud.done == ["discard", "discard"]
    assert cloud.linked == []
    assert "1 change, not made" in capsys.readouterr().err


def test_a_stack_that_can_only_be_deleted_stays_in_a_dry_run(cloud: Cloud, capsys: Any) -> None:
    cloud.has("lastgood-shop", "ROLLBACK_COMPLETE")
    bootstrap.bootstrap(session(cloud), dry_run=True)
    assert cloud.done == ["discard"]
    assert "ROLLBACK_COMPLETE: it would be deleted and made again" in capsys.readouterr().err


def test_a_run_that_fails_says_what_failed(cloud: Cloud) -> None:
    cloud.ends = "ROLLBACK_COMPLETE"
    with pytest.raises(FailedNotRestored) as error:
        bootstrap.bootstrap(session(cloud))
    assert str(error.value) == (
        "lastgood-shop is ROLLBACK_COMPLETE: the stack ended as ROLLBACK_COMPLETE\nmend that and run the command again"
    )


@pytest.mark.parametrize(
    ("github", "message"),
    [
        (
            GitHub("acme/shop"),
            "--github-repository-id 'acme/shop' must be a number: `gh api repos/OWNER/NAME --jq .id` prints it",
        ),
        (GitHub("1"), "deployments from GitHub need --bundle, too: who is it that may deploy production?"),
        (
            GitHub(bundle="acme/lastgood"),
            "deployments from GitHub need --github-repository-id, too: who is it that may deploy production?",
        ),
        (GitHub("1", "acme"), "--bundle 'acme' must be OWNER/NAME, the repository whose workflows yours call"),
        (GitHub("1", "acme/*"), "--bundle 'acme/*' must be OWNER/NAME, the repository whose workflows yours call"),
        (GitHub("1", "a/b", ["*"]), "--bundle-version '*' must be a tag as v1.2.3 or v1.*, or a whole commit"),
        (GitHub("1", "a/b", ["main"]), "--bundle-version 'main' must be a tag as v1.2.3 or v1.*, or a whole commit"),
        (GitHub("1", versions=["v1.*"]), "--bundle-version goes with --bundle OWNER/NAME: whose versions are meant?"),
        (GitHub("1", "a/b", refs=["*"]), "--ref '*' must be a branch or a tag, as refs/heads/main or refs/tags/v*"),
        (
            GitHub("1", "a/b", refs=["refs/heads/*"]),
            "--ref 'refs/heads/*' must be a branch or a tag, as refs/heads/main or refs/tags/v*",
        ),
        (
            GitHub("1", "a/b", refs=["refs/pull/1/merge"]),
            "--ref 'refs/pull/1/merge' must be a branch or a tag, as refs/heads/main or refs/tags/v*",
        ),
    ],
)
def test_what_can_not_be_meant(cloud: Cloud, github: GitHub, message: str) -> None:
    with pytest.raises(UsageError) as error:
        bootstrap.bootstrap(session(cloud), github)
    assert str(error.value) == message
    assert cloud.asked == []


def test_an_account_without_githubs_provider(cloud: Cloud) -> None:
    cloud.providers = ["arn:aws:iam::1:oidc-provider/other"]
    with pytest.raises(UsageError) as error:
        bootstrap.bootstrap(session(cloud), GitHub("1", "acme/lastgood"))
    assert str(error.value) == (
        "this account has no OIDC provider for GitHub: run `aws iam create-open-id-connect-provider --url "
        "https://token.actions.githubusercontent.com --client-id-list sts.amazonaws.com` once"
    )


def test_an_environment_without_a_network(cloud: Cloud) -> None:
    with pytest.raises(UsageError) as error:
        bootstrap.bootstrap(session(cloud, VpcId=""))
    assert str(error.value) == (
        "environment production names no network: add VpcId to [tool.lastgood.environments.production] parameters"
    )


def test_a_name_that_is_another_environments(cloud: Cloud) -> None:
    """lastgood-shop-api-production is shop-api's production, and shop's api-production."""
    cloud.has("lastgood-shop-production", "UPDATE_COMPLETE", Project="shop-production", Environment="x")
    with pytest.raises(UsageError) as error:
        bootstrap.bootstrap(session(cloud))
    assert str(error.value) == (
        "the stack lastgood-shop-production is of environment x of shop-production: rename one of the two"
    )


def test_secrets_and_parameters_are_found_in_the_values() -> None:
    parameter = "arn:aws:ssm:eu-central-1:1:parameter/shop/key"
    assert access.readable(
        [f"{SECRET}:url::", SECRET, parameter, "vpc-1", "arn:aws:acm:eu-central-1:1:certificate/1", ""]
    ) == {
        "SecretArns": SECRET,
        "ParameterArns": parameter,
    }
    assert access.readable([f"A={SECRET},B={SECRET}:b::"]) == {"SecretArns": SECRET, "ParameterArns": ""}
    assert access.readable(["plain", "arn:aws:secretsmanager:*:*:secret:*"]) == {"SecretArns": "", "ParameterArns": ""}


def test_the_change_set_for_a_person() -> None:
    changes = [
        {"action": "Modify", "resource": "DeployRole", "type": "AWS::IAM::Role", "replacement": "True"},
        {"action": "Import", "resource": "ReleaseRecord", "type": "AWS::DynamoDB::Table", "replacement": ""},
        {"action": "Remove", "resource": "PushRole", "type": "AWS::IAM::Role", "replacement": ""},
    ]
    said = bootstrap.lines(
        ChangeSet("c", "UPDATE", changes=changes),
        {"GitHubRefs": "refs/heads/main", "Project": "shop"},
        {"GitHubRefs": "refs/heads/x", "Project": "shop", "A": ""},
    )
    assert said == [
        "  GitHubRefs = refs/heads/x  (was refs/heads/main)",
        "~ DeployRole  AWS::IAM::Role, replaced",
        "< ReleaseRecord  AWS::DynamoDB::Table",
        "- PushRole  AWS::IAM::Role",
    ]


def test_the_stack_is_changed_by_its_service_role(cloud: Cloud) -> None:
    cloud.has("lastgood-shop-production", "CREATE_COMPLETE")
    cloud.stacks["lastgood-shop-production"]["Outputs"] = [{"OutputKey": "ServiceRoleArn", "OutputValue": "arn:role"}]
    where = session(cloud)
    stack = Stack(where, "shop-production", Stack.of_environment(where))
    stack.prepare("", {}, {})
    assert cloud.asked[0]["RoleARN"] == "arn:role"
    assert "ImportExistingResources" not in cloud.asked[0]
