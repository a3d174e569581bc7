"""What is said of an account, by AWS's answers: everything in order, then one thing after another that is not."""

from __future__ import annotations

from typing import Any

import pytest
from lastgood.preflight import account, entrance, examine, network, quotas, secrets
from lastgood.preflight.line import Refusal
from preflight.conftest import (
    CERTIFICATE,
    DATABASE,
    DENIED,
    GATEWAY,
    KEY,
    LISTENER,
    NAT,
    REGION,
    SECRET_KEY,
    MakeFacts,
    routes,
    subnet,
)

IN = "in parameters below [tool.lastgood.environments.staging]"
BOOTSTRAP = "run `lastgood bootstrap --environment staging`"


def test_an_account_that_is_ready(make: MakeFacts) -> None:
    lines = examine.examine(make())
    assert [(line.what, line.state) for line in lines] == [
        (what, "good")
        for what in (
            "credentials", "bootstrap", "access", "signatures", "registry", "role of ECS", "role of load balancing", "subnets",
            "way out of subnet-a", "way out of subnet-b", "security groups", "DatabaseSecret", "SecretKeySecret", "certificate", "domain",
            "processors", "load balancers",
        )
    ]  # fmt: skip
    assert [line.todo for line in lines if line.todo] == []
    assert examine.ready(lines)
    shown = examine.render(lines).splitlines()
    assert shown[0] == "✓ credentials             account 123456789012, eu-central-1, as assumed-role/deploy/me"
    assert shown[-1] == "nothing is in the way of a release"


def test_without_credentials_nothing_else_is_said(make: MakeFacts) -> None:
    refused = Refusal("ExpiredToken", "The security token included in the request is expired")
    lines = examine.examine(make({"sts:GetCallerIdentity": refused}))
    assert not examine.ready(lines)
    assert examine.render(lines) == (
        "✗ credentials  AWS does not take them (The security token included in the request is expired)\n"
        "               → sign in, or set AWS_PROFILE, and ask again; in a workflow, assume the role first\n"
        "\n1 to mend, from the top down"
    )


def test_what_may_not_be_asked_is_unknown_and_in_nobodys_way(make: MakeFacts) -> None:
    facts = make()
    answers = {name: DENIED for name in facts.answers if name != "sts:GetCallerIdentity"}
    lines = examine.examine(make(answers))
    assert {line.state for line in lines} == {"good", "unknown"}
    assert [line.what for line in lines if line.state == "good"] == ["credentials"]
    assert examine.ready(lines)
    assert examine.render(lines).splitlines()[-1] == "nothing is in the way of a release; 11 could not be seen"


def said(lines: list[Any], *, good: bool = False) -> list[tuple[str, str, str, str]]:
    return [(line.what, line.state, line.text, line.todo) for line in lines if good or line.state != "good"]


ACCESS = "cloudformation:DescribeStacks lastgood-board-staging"


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        (
            {},
            (
                "wrong",
                "nobody has decided who signs for builds, so none is let in",
                f'{BOOTSTRAP} with --github-repository-id and --bundle, or with attestations = "none"',
            ),
        ),
        (
            {"Attestations": "none"},
            ("note", "nobody is asked who has signed for a build", "take attestations out once a workflow pushes"),
        ),
        (
            {"GitHubRepositoryId": "7", "PushWorkflows": "a/b/.github/workflows/push.yml@refs/tags/v1.*"},
            ("good", "by a/b/.github/workflows/push.yml@refs/tags/v1.*, in repository 7", ""),
        ),
    ],
)
def test_whose_signature_counts(make: MakeFacts, decided: dict[str, str], expected: tuple[str, str, str]) -> None:
    listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in decided.items()]
    lines = account.lines(make({ACCESS: {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Parameters": listed}]}}))
    (found,) = [line for line in lines if line.what == "signatures"]
    assert (found.state, found.text, found.todo) == expected


STACK = "cloudformation:DescribeStacks lastgood-board"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            {STACK: Refusal("ValidationError", "Stack with id lastgood-board does not exist"), "ecr:DescribeRepositories":
             Refusal("RepositoryNotFoundException", "The repository with name 'board' does not exist")},
            [("bootstrap", "wrong", "there is no stack lastgood-board in this account and region", BOOTSTRAP),
             ("registry", "wrong", "there is no repository board in ECR", BOOTSTRAP)],
        ),
        (
            {f"{STACK}-staging": Refusal("ValidationError", "Stack with id lastgood-board-staging does not exist")},
            [("access", "wrong", "there is no stack lastgood-board-staging in this account and region", BOOTSTRAP)],
        ),
        (
            {STACK: {"Stacks": [{"StackStatus": "ROLLBACK_COMPLETE"}]}},
            [("bootstrap", "wrong", "the stack lastgood-board is ROLLBACK_COMPLETE",
              f"look at its events in CloudFormation, then {BOOTSTRAP}")],
        ),
        (
            {"cloudformation:GetTemplate lastgood-board": {"TemplateBody": "Resources: {A: {}}\n"}},
            [("bootstrap", "wrong", "lastgood-board was made by another version of lastgood", BOOTSTRAP)],
        ),
        (
            {"cloudformation:GetTemplate lastgood-board": DENIED},
            [("bootstrap", "unknown", "lastgood-board is UPDATE_COMPLETE; whether it is of this version can't be seen", BOOTSTRAP)],
        ),
        (
            {"ecr:DescribeRepositories": {"repositories": [{"repositoryUri": "1.dkr/board", "imageTagMutability": "MUTABLE"}]}},
            [("registry", "note", "1.dkr/board: its tags can be moved", "make them immutable in ECR")],
        ),
        (
            {"iam:GetRole AWSServiceRoleForECS": Refusal("NoSuchEntity", "The role with name … cannot be found.")},
            [("role of ECS", "note", "AWSServiceRoleForECS is not there yet: AWS makes it at the first release",
              "if that is denied, run `aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com` once")],
        ),
    ],
)  # fmt: skip
def test_account(make: MakeFacts, answers: dict[str, Any], expected: list[Any]) -> None:
    assert said(account.lines(make(answers))) == expected


ROUTES, SUBNETS, ENDPOINTS = "ec2:DescribeRouteTables", "ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints"
SET = "below [tool.lastgood.environments.staging]"
INSIDE = {"LoadBalancerScheme": "internal"}


def endpoints(*names: str, state: str = "available") -> dict[str, Any]:
    return {"VpcEndpoints": [{"ServiceName": f"com.amazonaws.{REGION}.{name}", "State": state} for name in names]}


@pytest.mark.parametrize(
    ("answers", "parameters", "expected"),
    [
        ({}, {"AssignPublicIp": "DISABLED"}, [
            (f"way out of subnet-{one}", "wrong",
             "its internet gateway serves only tasks with a public address, and AssignPublicIp is DISABLED: no image, no secrets",
             f"set AssignPublicIp to ENABLED, or Subnets to some behind a NAT gateway, in parameters {SET}") for one in "ab"]),
        ({ROUTES: {"RouteTables": [routes(NAT)]}}, INSIDE, [
            (f"way out of subnet-{one}", "note", "a NAT gateway, so AssignPublicIp is not needed",
             f"set it to DISABLED in parameters {SET}") for one in "ab"]),
        ({ROUTES: {"RouteTables": [routes(NAT)]}}, INSIDE | {"AssignPublicIp": "DISABLED"}, []),
        ({ROUTES: {"RouteTables": [routes(NAT | {"State": "blackhole"})]}}, INSIDE, [
            (f"way out of subnet-{one}", "wrong",
             "it has no route to the internet, and the network no endpoint for ecr.api, ecr.dkr, logs, secretsmanager, s3",
             "add a NAT gateway, or these VPC endpoints, or choose other Subnets") for one in "ab"]),
        ({ROUTES: {"RouteTables": [routes()]}, ENDPOINTS: endpoints("ecr.api", "ecr.dkr", "logs", "secretsmanager", "s3")}, INSIDE, []),
        ({ROUTES: {"RouteTables": [routes()]}, ENDPOINTS: endpoints("ecr.api", "ecr.dkr", "logs", "s3", "s3express")}, INSIDE, [
            (f"way out of subnet-{one}", "wrong", "it has no route to the internet, and the network no endpoint for secretsmanager",
             "add a NAT gateway, or these VPC endpoints, or choose other Subnets") for one in "ab"]),
        # A subnet's own table counts before the main one.
        ({ROUTES: {"RouteTables": [routes(), routes(GATEWAY, main=False, subnets=("subnet-a", "subnet-b"))]}}, {}, []),
        ({ROUTES: {"RouteTables": [routes(NAT)]}}, {"AssignPublicIp": "DISABLED"}, [
            ("load balancer", "wrong",
             "it is internet-facing, and subnet-a, subnet-b have no internet gateway: nobody would reach it",
             f"set LoadBalancerSubnets to public subnets, or LoadBalancerScheme to internal in parameters {SET}")]),
        ({SUBNETS: {"Subnets": [subnet("subnet-a", "eu-central-1a"), subnet("subnet-b", "eu-central-1a")]}}, {}, [
            ("subnets", "wrong",
             "a load balancer wants subnets in at least two availability zones, one in each; Subnets names 2 in 1",
             f"set Subnets in parameters {SET}")]),
        ({SUBNETS: {"Subnets": [subnet("subnet-a", "eu-central-1a"), subnet("subnet-b", "eu-central-1b", "vpc-2")]}}, {}, [
            ("subnets", "wrong", "subnet-b are not in vpc-1", f"set VpcId and Subnets in parameters {SET}")]),
        ({SUBNETS: Refusal("InvalidSubnetID.NotFound", "The subnet ID 'subnet-b' does not exist")}, {}, [
            ("subnets", "wrong", "The subnet ID 'subnet-b' does not exist", f"set VpcId and Subnets in parameters {SET}")]),
        ({"ec2:DescribeSecurityGroups": Refusal("InvalidGroup.NotFound", "The security group 'sg-1' does not exist")}, {}, [
            ("security groups", "wrong", "The security group 'sg-1' does not exist", f"set those that there are in parameters {SET}")]),
        ({"ec2:DescribeSecurityGroups": {"SecurityGroups": [{"GroupId": "sg-1", "VpcId": "vpc-2"}]}}, {}, [
            ("security groups", "note", "sg-1 are of another VPC than vpc-1",
             "name groups of the same VPC (or of one that is peered with it, in which case this is well)")]),
        ({"ec2:DescribeSecurityGroups": None}, {"DatabaseSecurityGroup": ""}, [
            ("database", "unknown", "nothing says how the database lets the tasks in",
             f"set DatabaseSecurityGroup, and the stack opens its port before the migration in parameters {SET}")]),
        ({}, {"DatabaseSecurityGroup": "", "TaskSecurityGroups": "sg-1"}, [
            ("database", "unknown", "it has to let in sg-1, which can't be seen here",
             f"set DatabaseSecurityGroup, and the stack opens its port before the migration in parameters {SET}")]),
    ],
)  # fmt: skip
def test_network(make: MakeFacts, answers: dict[str, Any], parameters: dict[str, str], expected: list[Any]) -> None:
    assert said(network.lines(make(answers, **parameters))) == expected


DESCRIBE, VALUE = f"secretsmanager:DescribeSecret {DATABASE}", f"secretsmanager:GetSecretValue {DATABASE}"


def key(state: str) -> dict[str, Any]:
    return {"KeyMetadata": {"KeyId": KEY, "KeyState": state}}


RDS = {"DatabaseHost": "db.example", "DatabaseName": "board"}


@pytest.mark.parametrize(
    ("answers", "parameters", "expected"),
    [
        ({}, {"DatabaseSecret": ""}, ("wrong", "it is not set", f"make the secret in Secrets Manager and set its ARN {IN}")),
        ({}, {"DatabaseSecret": "board/staging"}, ("wrong", "it is no whole ARN of a secret, with its six letters at the end",
                                                  f"make the secret in Secrets Manager and set its ARN {IN}")),
        ({}, {"DatabaseSecret": DATABASE.replace(REGION, "eu-west-1")},
         ("wrong", "the secret is of eu-west-1, the tasks of eu-central-1", "make it there, or replicate it")),
        ({DESCRIBE: Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")}, {},
         ("wrong", f"Secrets Manager has no {DATABASE}", "make it, or set the ARN of one that there is")),
        ({DESCRIBE: {"ARN": DATABASE, "DeletedDate": 1}}, {},
         ("wrong", "the secret is about to be deleted", "restore it: aws secretsmanager restore-secret")),
        ({DESCRIBE: {"ARN": DATABASE, "KmsKeyId": KEY}, f"kms:DescribeKey {KEY}": key("PendingDeletion")}, {},
         ("wrong", "the key that encrypts it is PendingDeletion: ECS could not read it",
          "enable the key in KMS, or encrypt the secret with another")),
        ({DESCRIBE: {"ARN": DATABASE, "KmsKeyId": KEY}, f"kms:DescribeKey {KEY}": key("Enabled")}, {}, ("good", "there", "")),
        ({DESCRIBE: {"ARN": DATABASE, "KmsKeyId": KEY}, f"kms:DescribeKey {KEY}": DENIED}, {}, ("good", "there", "")),
        ({DESCRIBE: {"ARN": DATABASE, "KmsKeyId": "alias/aws/secretsmanager"}}, {}, ("good", "there", "")),
        ({VALUE: {"keys": ["url"]}}, {"DatabaseSecret": f"{DATABASE}:url::"}, ("good", "there, with url", "")),
        ({VALUE: {"keys": ["uri"]}}, {"DatabaseSecret": f"{DATABASE}:url::"},
         ("wrong", "its JSON has no url", "add it, or name a key that is there, as ARN:key::")),
        ({VALUE: DENIED}, {"DatabaseSecret": f"{DATABASE}:url::"},
         ("unknown", "there; whether it has url can't be seen", "look yourself: ECS starts no task without")),
        ({VALUE: {"keys": ["password", "username"]}}, RDS, ("good", "there, with username and password", "")),
        ({VALUE: {"keys": []}}, RDS,
         ("wrong", "its JSON has no username and no password", "add it, or name a key that is there, as ARN:key::")),
        ({}, RDS | {"DatabaseSecret": f"{DATABASE}:password::"},
         ("wrong", "with DatabaseHost the whole secret is meant, not its key password", "take :password:: from its end")),
    ],
)  # fmt: skip
def test_secrets(
    make: MakeFacts, answers: dict[str, Any], parameters: dict[str, str], expected: tuple[str, str, str]
) -> None:
    lines = secrets.lines(make(answers, **parameters))
    assert said(lines, good=True) == [("DatabaseSecret", *expected), ("SecretKeySecret", "good", "there", "")]


def test_a_cache_that_is_not_wanted_is_not_missed(make: MakeFacts) -> None:
    assert [line.what for line in secrets.lines(make())] == ["DatabaseSecret", "SecretKeySecret"]
    found = secrets.lines(make(CacheUrlSecret=SECRET_KEY))
    assert [line.what for line in found] == ["DatabaseSecret", "SecretKeySecret", "CacheUrlSecret"]


ACM = "acm:DescribeCertificate"


def certificate(status: str = "ISSUED", *names: str) -> dict[str, Any]:
    return {
        "Certificate": {
            "DomainName": names[0] if names else "example.com",
            "SubjectAlternativeNames": list(names),
            "Status": status,
        }
    }


RULE = {
    "ListenerArn": LISTENER,
    "ListenerSecurityGroup": "sg-1",
    "ListenerPriority": "100",
    "CertificateArn": "",
    "HostedZoneId": "",
}


def listener(protocol: str = "HTTPS", *priorities: str) -> dict[str, Any]:
    return {
        "elasticloadbalancing:DescribeListeners": {"Listeners": [{"ListenerArn": LISTENER, "Protocol": protocol}]},
        "elasticloadbalancing:DescribeRules": {"Rules": [{"Priority": one} for one in (*priorities, "default")]},
    }


@pytest.mark.parametrize(
    ("answers", "parameters", "expected"),
    [
        ({ACM: certificate("PENDING_VALIDATION")}, {},
         ("certificate", "wrong", "it is PENDING_VALIDATION", "add the record that ACM shows to the domain's zone, and wait")),
        ({ACM: certificate("ISSUED", "example.com", "www.example.com")}, {},
         ("certificate", "wrong", "it is for example.com, www.example.com, not for board.example.com", "request one that covers it")),
        ({ACM: certificate("ISSUED", "*.example.com")}, {"Domain": "a.b.example.com"},
         ("certificate", "wrong", "it is for *.example.com, not for a.b.example.com", "request one that covers it")),
        ({ACM: Refusal("ResourceNotFoundException", "Could not find certificate")}, {},
         ("certificate", "wrong", f"ACM has no {CERTIFICATE}", "set CertificateArn to one that there is")),
        ({}, {"CertificateArn": CERTIFICATE.replace(REGION, "us-east-1")},
         ("certificate", "wrong", "it is of us-east-1, the load balancer of eu-central-1", "request one in ACM there")),
        ({}, {"Domain": "", "HostedZoneId": ""},
         ("certificate", "wrong", "it is for example.com, and no Domain is set", "set Domain to a name that it covers, as example.com")),
        ({}, {"CertificateArn": "", "Domain": "", "HostedZoneId": ""},
         ("certificate", "note", "none: visitors come by plain HTTP", "set Domain and CertificateArn")),
        ({}, {"HostedZoneId": ""},
         ("domain", "note", "board.example.com is pointed at the load balancer by you: its name is known when the stack has made it",
          "or set HostedZoneId, and the stack does it")),
        ({"route53:GetHostedZone": {"HostedZone": {"Name": "example.org."}}}, {},
         ("domain", "wrong", "board.example.com is not of the zone example.org", "set Domain or HostedZoneId")),
        ({"route53:GetHostedZone": Refusal("NoSuchHostedZone", "No hosted zone found with ID: Z1")}, {},
         ("domain", "wrong", "Route 53 has no zone Z1", "set HostedZoneId to one that there is")),
        ({"route53:GetHostedZone": {"HostedZone": {"Name": "example.com.", "Config": {"PrivateZone": True}}}}, {},
         ("domain", "note", "example.com is a private zone: only its networks know board.example.com", "ask from inside, see url")),
        ({}, {"LoadBalancerScheme": "internal"},
         ("smoke test", "wrong", "staging can't be asked from the internet, as the smoke test does: its load balancer is internal",
          (
              'run this where it can be reached (a runner inside the network) and say so with url = "https://…" below '
              "[tool.lastgood.environments.staging], the address as that runner sees it"
          ))),
        (listener(), RULE, None),
        (listener("HTTP"), RULE,
         ("listener", "note", "it speaks HTTP; the stack says https of itself", "set url below [tool.lastgood.environments.staging]")),
        (listener("HTTPS", "10", "100"), RULE,
         ("listener's rules", "wrong", "its priority 100 is taken", "set ListenerPriority to a number that is free")),
        (listener("HTTPS", "100") | {"cloudformation:DescribeStacks board-staging": {"Stacks": [{"StackStatus": "CREATE_COMPLETE"}]}},
         RULE, None),
        ({"elasticloadbalancing:DescribeListeners": Refusal("ListenerNotFound", "One or more listeners not found")}, RULE,
         ("listener", "wrong", f"there is no {LISTENER}", "set ListenerArn to one that there is")),
    ],
)  # fmt: skip
def test_entrance(make: MakeFacts, answers: dict[str, Any], parameters: dict[str, str], expected: Any) -> None:
    assert said(entrance.lines(make(answers, **parameters))) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("name", "domain", "expected"),
    [
        ("board.example.com", "board.example.com", True),
        ("*.example.com", "board.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("example.com", "board.example.com", False),
    ],
)
def test_what_a_certificate_covers(name: str, domain: str, expected: bool) -> None:
    assert entrance.covers(name, domain) is expected


FARGATE = "servicequotas:GetServiceQuota L-3032A538"


@pytest.mark.parametrize(
    ("answers", "parameters", "expected"),
    [
        ({FARGATE: {"Quota": {"Value": 6.0}}}, {"DesiredCount": "4", "Cpu": "1024"},
         ("processors", "wrong", "a deploy takes 8, and Fargate's quota in eu-central-1 is 6",
          "ask for more in Service Quotas (Fargate On-Demand vCPU), or set DesiredCount or Cpu lower")),
        ({FARGATE: Refusal("NoSuchResourceException", "")}, {}, None),
        ({"servicequotas:GetServiceQuota L-53DA6B97": {"Quota": {"Value": 1.0}}}, {},
         ("load balancers", "wrong", "there are 1, and the quota is 1",
          "ask for more in Service Quotas, or name one that there is by ListenerArn")),
        ({"servicequotas:GetServiceQuota L-53DA6B97": {"Quota": {"Value": 1.0}}}, {"ListenerArn": LISTENER}, None),
    ],
)  # fmt: skip
def test_quotas(make: MakeFacts, answers: dict[str, Any], parameters: dict[str, str], expected: Any) -> None:
    assert said(quotas.lines(make(answers, **parameters))) == ([expected] if expected else [])


@pytest.mark.parametrize(("count", "cpu", "expected"), [("1", "256", 0.5), ("2", "512", 2.0), ("10", "1024", 20.0)])
def test_what_a_deploy_takes(count: str, cpu: str, expected: float) -> None:
    assert quotas.needed({"DesiredCount": count, "Cpu": cpu}) == expected
