"""An account that is ready for its first release, by AWS's answers in the shapes of its documentation, and ways to spoil it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from lastgood.preflight.line import Facts, Refusal

ACCOUNT, REGION = "123456789012", "eu-central-1"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:board/staging"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0a1b"
LISTENER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener/app/shared/50dc6c495c0c9188/f2f7dc8efc522ab2"
DATABASE, SECRET_KEY = f"{SECRET}/database-AbCdEf", f"{SECRET}/key-GhIjKl"
DENIED = Refusal("AccessDenied", "User: … is not authorized to perform: …")
NOW = datetime(2026, 11, 1, tzinfo=UTC)

PARAMETERS = {
    "VpcId": "vpc-1",
    "Subnets": "subnet-a,subnet-b",
    "AssignPublicIp": "ENABLED",
    "DatabaseSecret": DATABASE,
    "SecretKeySecret": SECRET_KEY,
    "DatabaseSecurityGroup": "sg-1",
    "Domain": "board.example.com",
    "CertificateArn": CERTIFICATE,
    "HostedZoneId": "Z1",
    "DesiredCount": "2",
    "Cpu": "256",
}
WRITTEN = "      RepositoryName: !Ref Project\n      TableName: !Sub lastgood-${Project}\n"  # of bootstrap.yml
TEMPLATE = "      RepositoryName: board\n      TableName: lastgood-board\n"  # as it was sent: CloudFormation takes over by names


def subnet(name: str, zone: str, vpc: str = "vpc-1") -> dict[str, Any]:
    return {
        "SubnetId": name,
        "VpcId": vpc,
        "AvailabilityZone": zone,
        "CidrBlock": "10.0.0.0/24",
        "MapPublicIpOnLaunch": True,
    }


def routes(*ways: dict[str, str], main: bool = True, subnets: tuple[str, ...] = ()) -> dict[str, Any]:
    links: list[dict[str, Any]] = [{"Main": True, "RouteTableId": "rtb-1"}] if main else []
    links += [{"Main": False, "SubnetId": name, "RouteTableId": "rtb-1"} for name in subnets]
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
    return {"RouteTableId": "rtb-1", "VpcId": "vpc-1", "Associations": links, "Routes": [local, *ways]}


GATEWAY = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}
NAT = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"}

DECIDED = [
    {"ParameterKey": "GitHubRepositoryId", "ParameterValue": "1234567"},
    {"ParameterKey": "PushWorkflows", "ParameterValue": "acme/lastgood/.github/workflows/push.yml@refs/tags/v1.*"},
    {"ParameterKey": "GitHubRefs", "ParameterValue": "refs/heads/main"},
    {"ParameterKey": "Attestations", "ParameterValue": "required"},
]
ANSWERS: dict[str, Any] = {
    "sts:GetCallerIdentity": {
        "UserId": "AROA:me",
        "Account": ACCOUNT,
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/me",
    },
    "cloudformation:DescribeStacks lastgood-board": {
        "Stacks": [{"StackName": "lastgood-board", "CreationTime": NOW, "StackStatus": "UPDATE_COMPLETE"}]
    },
    "cloudformation:GetTemplate lastgood-board": {"TemplateBody": TEMPLATE, "StagesAvailable": ["Original"]},
    "cloudformation:DescribeStacks lastgood-board-staging": {
        "Stacks": [
            {
                "StackName": "lastgood-board-staging",
                "CreationTime": NOW,
                "StackStatus": "CREATE_COMPLETE",
                "Parameters": DECIDED,
            }
        ]
    },
    "cloudformation:GetTemplate lastgood-board-staging": {"TemplateBody": TEMPLATE, "StagesAvailable": ["Original"]},
    "cloudformation:DescribeStacks board-staging": Refusal(
        "ValidationError", "Stack with id board-staging does not exist"
    ),
    "ecr:DescribeRepositories": {
        "repositories": [
            {
                "repositoryName": "board",
                "repositoryUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/board",
                "imageTagMutability": "IMMUTABLE",
            }
        ]
    },
    **{
        f"iam:GetRole {name}": {
            "Role": {
                "Path": "/aws-service-role/x.amazonaws.com/",
                "RoleName": name,
                "RoleId": "AROAEXAMPLEEXAMPLE",
                "Arn": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/x.amazonaws.com/{name}",
                "CreateDate": NOW,
            }
        }
        for name in ("AWSServiceRoleForECS", "AWSServiceRoleForElasticLoadBalancing")
    },
    "ec2:DescribeSubnets": {"Subnets": [subnet("subnet-a", "eu-central-1a"), subnet("subnet-b", "eu-central-1b")]},
    "ec2:DescribeRouteTables": {"RouteTables": [routes(GATEWAY)]},
    "ec2:DescribeVpcEndpoints": {"VpcEndpoints": []},
    "ec2:DescribeSecurityGroups": {"SecurityGroups": [{"GroupId": "sg-1", "VpcId": "vpc-1", "GroupName": "database"}]},
    f"secretsmanager:DescribeSecret {DATABASE}": {"ARN": DATABASE, "Name": "board/staging/database"},
    f"secretsmanager:DescribeSecret {SECRET_KEY}": {"ARN": SECRET_KEY, "Name": "board/staging/key"},
    "acm:DescribeCertificate": {
        "Certificate": {
            "CertificateArn": CERTIFICATE,
            "DomainName": "example.com",
            "SubjectAlternativeNames": ["example.com", "*.example.com"],
            "Status": "ISSUED",
        }
    },
    "route53:GetHostedZone": {
        "HostedZone": {
            "Id": "/hostedzone/Z1",
            "Name": "example.com.",
            "CallerReference": "x",
            "Config": {"PrivateZone": False},
        }
    },
    "servicequotas:GetServiceQuota L-3032A538": {"Quota": {"QuotaCode": "L-3032A538", "Value": 6.0}},
    "servicequotas:GetServiceQuota L-53DA6B97": {"Quota": {"QuotaCode": "L-53DA6B97", "Value": 50.0}},
    "elasticloadbalancing:DescribeLoadBalancers": {
        "LoadBalancers": [{"LoadBalancerName": "other", "Type": "application"}]
    },
}

MakeFacts = Callable[..., Facts]


@pytest.fixture
def make() -> MakeFacts:
    """Makes the facts of the ready account: `make(answers={…}, url=…, Subnets=…)` with what is other. None takes an answer away."""

    def made(answers: dict[str, Any] | None = None, url: str | None = None, **parameters: str) -> Facts:
        known = copy.deepcopy(ANSWERS) | (answers or {})
        known = {name: answer for name, answer in known.items() if answer is not None}
        return Facts(
            "board",
            "staging",
            REGION,
            url,
            PARAMETERS | parameters,
            known,
            dict.fromkeys(("lastgood-board", "lastgood-board-staging"), TEMPLATE),
        )

    return made
