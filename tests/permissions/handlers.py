"""What CloudFormation itself calls in the service role's name: the permissions of the resource types' handlers, of the registry's schemas.

No emulator shows them. cfn-lint ships the schemas (`handlers` of each type, with `permissions`): AWS's own list. What a call names, and
with which keys, is told here, by the resource as service.yml makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from permissions.policy import Request
from permissions.templates import Made

OPERATIONS = ("create", "read", "update", "delete")
# Handlers ask for what any property may need. These are for properties that service.yml does not set.
NOT_GRANTED: dict[str, dict[str, tuple[str, ...]]] = {
    "AWS::Logs::LogGroup": {
        "data protection, deliveries, indices and tokens that the log group does not have": (
            *("logs:PutDataProtectionPolicy", "logs:DeleteDataProtectionPolicy", "logs:CreateLogDelivery"),
            *(
                "s3:REST.PUT.OBJECT",
                "firehose:TagDeliveryStream",
                "logs:PutResourcePolicy",
                "logs:DeleteResourcePolicy",
            ),
            *("logs:PutIndexPolicy", "logs:DeleteIndexPolicy", "logs:PutBearerTokenAuthentication"),
            "logs:PutLogGroupDeletionProtection",
        ),
        "a key of one's own, which the log group does not have": ("logs:AssociateKmsKey", "logs:DisassociateKmsKey"),
    },
    "AWS::ECS::Cluster": {
        "settings of the whole account": ("ecs:PutAccountSetting", "ecs:PutAccountSettingDefault"),
        "keys of one's own, which the cluster does not have": ("kms:DescribeKey",),
    },
    "AWS::IAM::Role": {
        "managed policies, which no role of the stack has": ("iam:AttachRolePolicy",),
        "it would take the boundary off": ("iam:DeleteRolePermissionsBoundary",),
    },
    "AWS::ECS::TaskDefinition": {
        "it knows no narrower resource than everybody's task definitions, so service.yml retains them": (
            "ecs:DeregisterTaskDefinition",
        ),
    },
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {
        "reserved capacity and address pools, which the load balancer does not have": (
            *(
                "elasticloadbalancing:ModifyCapacityReservation",
                "elasticloadbalancing:ModifyIpPools",
                "ec2:DescribeIpamPools",
            ),
        ),
    },
    "AWS::ElasticLoadBalancingV2::TargetGroup": {
        "targets, which ECS registers by its own role": (
            "elasticloadbalancing:RegisterTargets",
            "elasticloadbalancing:DeregisterTargets",
        ),
    },
    "AWS::ElasticLoadBalancingV2::Listener": {"logging in by Cognito": ("cognito-idp:DescribeUserPoolClient",)},
    "AWS::ElasticLoadBalancingV2::ListenerRule": {
        "logging in by Cognito": ("cognito-idp:DescribeUserPoolClient",),
        "it knows no tags, so it would reorder everybody's rules of that listener: ListenerPriority is said once": (
            "elasticloadbalancing:SetRulePriorities",
        ),
    },
}
# Asked for by no handler's list, and needed all the same.
BESIDES = {
    "lambda:InvokeFunction": "a custom resource is invoked by the service role (KensioSoftware/yulin#1329)",
    "ec2:DescribeAccountAttributes": "Elastic Load Balancing looks in the caller's name (its user guide, API permissions)",
    "ec2:DescribeInternetGateways": "the same",
    "ec2:DescribeSecurityGroups": "the same",
    "ec2:DescribeSubnets": "the same",
    "iam:ListRoleTags": "the type's tagging permissions, when tags change",
    "ecs:ListTagsForResource": "the same",
    "logs:ListTagsForResource": "the same",
}


def permissions(type_: str) -> dict[str, set[str]]:
    """What each handler of a type asks for, and what its tags need."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_).schema
    return {name: set(schema["handlers"].get(name, {}).get("permissions", ())) for name in OPERATIONS}


def left_out(type_: str) -> dict[str, str]:
    """The permissions of a type that the service role lacks on purpose, with the reason."""
    return {action: reason for reason, actions in NOT_GRANTED.get(type_, {}).items() for action in actions}


def requests(made: Made) -> Iterator[tuple[str, str, Request]]:
    """(resource, type, request) of everything that handlers may ask for the resources of a stack, but for what is left out."""
    for name, one in made.resources.items():
        type_ = one["Type"]
        if type_ == "Custom::Migration":
            yield name, type_, Request("lambda:InvokeFunction", one["Properties"]["ServiceToken"])
            continue
        for action in sorted(set().union(*permissions(type_).values()) - set(left_out(type_))):
            yield name, type_, asked(made, name, action)


def asked(made: Made, name: str, action: str) -> Request:
    """The request of an action on a resource of the stack, with the condition keys that AWS brings (Service Authorization Reference)."""
    one, service = made.resources[name], action.partition(":")[0]
    properties = one["Properties"]
    region, account = made.pseudo["AWS::Region"], made.pseudo["AWS::AccountId"]
    cluster = f"{made.values['Project']}_{made.values['Environment']}"
    if action == "iam:CreateServiceLinkedRole":
        path = "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
        return Request(action, f"arn:aws:iam::{account}:role/{path}", {"iam:AWSServiceName": "ecs.amazonaws.com"})
    if service == "scheduler":
        group = properties["GroupName"]
        return Request(action, f"arn:aws:scheduler:{region}:{account}:schedule/{group}/{properties['Name']}")
    if one["Type"] == "AWS::Scheduler::Schedule":
        assert action == "iam:PassRole"
        return Request(action, properties["Target"]["RoleArn"], {"iam:PassedToService": "scheduler.amazonaws.com"})
    if service == "iam":
        of = made.arn(name) if one["Type"] == "AWS::IAM::Role" else made.arn("TaskRole")
        bound = {"iam:PermissionsBoundary": made.values["PermissionsBoundary"]}
        return Request(
            action, of, {"iam:PassedToService": "ecs-tasks.amazonaws.com"} if action == "iam:PassRole" else bound
        )
    if service == "logs":
        group = f"arn:aws:logs:{region}:{account}:log-group:{properties['LogGroupName']}"
        everybodys = ("logs:DescribeLogGroups", "logs:DescribeIndexPolicies", "logs:DescribeResourcePolicies")
        return Request(action, "*" if action in everybodys else group)
    if service == "ecs":
        arns = {
            "AWS::ECS::Cluster": f"cluster/{cluster}",
            "AWS::ECS::Service": f"service/{cluster}/{properties.get('ServiceName')}",
            "AWS::ECS::TaskDefinition": f"task-definition/{properties.get('Family')}:*",
        }
        if action == "ecs:DescribeTaskDefinition":
            return Request(action)
        definition = {"ecs:task-definition": properties["TaskDefinition"]} if "TaskDefinition" in properties else {}
        return Request(action, f"arn:aws:ecs:{region}:{account}:{arns[one['Type']]}", definition)
    if action.split(":")[1].startswith("Describe"):
        return Request(action)
    if service == "route53":
        zone = f"arn:aws:route53:::hostedzone/{properties['HostedZoneId']}"
        record = {
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": [properties["Name"]],
            "route53:ChangeResourceRecordSetsRecordTypes": [properties["Type"]],
        }
        places = {"route53:ListHostedZones": "*", "route53:GetChange": "arn:aws:route53:::change/C1"}
        changes = action == "route53:ChangeResourceRecordSets"
        return Request(action, places.get(action, zone), record if changes else {})
    assert service == "elasticloadbalancing", (name, action)
    kind = {
        "LoadBalancer": "loadbalancer/app",
        "TargetGroup": "targetgroup",
        "Listener": "listener/app",
        "ListenerRule": "listener-rule/app",
    }[one["Type"].rpartition("::")[2]]
    tags = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
    verb = action.partition(":")[2]
    if verb == "CreateRule":  # which is asked for of the listener, and that is somebody else's
        return Request(
            action, properties["ListenerArn"], {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        )
    brought = (
        {f"aws:RequestTag/{key}": value for key, value in tags.items()} if verb.startswith(("Create", "Add")) else {}
    )
    if not verb.startswith("Create") or verb == "CreateListener":  # which is asked for of the load balancer
        brought |= {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    return Request(action, f"arn:aws:elasticloadbalancing:{region}:{account}:{kind}/made-up/1", brought)


def used(made: Made) -> set[str]:
    """The actions that the stack's resources need of the service role."""
    return {request.action for _, _, request in requests(made)}


def explain(action: str) -> Any:
    return BESIDES.get(action)
