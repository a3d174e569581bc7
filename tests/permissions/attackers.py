"""Who tries what: tokens that no role may trust, and calls that no role may make.

Everything is tried as environment `production` of project `shop`, in an account that also has its `staging`, and a project `shop-api`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lastgood.deploy import access

from permissions import claims
from permissions.claims import Job, token
from permissions.policy import Request
from permissions.templates import ACCOUNT, BUNDLE, GITHUB, REGION, REPOSITORY

DEPLOY = Job("deploy.yml", "deploy", "${{ inputs.environment }}")
PUSH = Job(access.PUSH[0], "push", "")


@dataclass(frozen=True)
class Stranger:
    """Somebody whose token no role trusts. `can` is what he has, in a few words."""

    can: str
    token: Mapping[str, str]


def strangers(job: Job = DEPLOY) -> list[Stranger]:
    """Every one of them would be trusted if it were not for the one thing that is said of him."""
    own = Job("steal.yml", "steal", job.environment)
    other_audience = token(job) | {f"{GITHUB}:aud": "https://github.com/acme"}
    found = [
        Stranger(
            "a branch, with a workflow of its own", token(own, bundle="acme/shop@refs/heads/x", ref="refs/heads/x")
        ),
        Stranger("the main branch, with a workflow of its own", token(own, bundle="acme/shop@refs/heads/main")),
        Stranger("a copy of the workflow in the project's repository", token(job, bundle="acme/shop@refs/heads/main")),
        Stranger("a branch that calls the bundle's workflow", token(job, ref="refs/heads/feature")),
        Stranger("a pull request", token(job, ref="refs/pull/7/merge")),
        Stranger("a fork of the project", token(job, repository="7654321", name="mallory/shop")),
        Stranger("another repository that took the project's name", token(job, repository="7654321")),
        Stranger(
            "a fork of the bundle, at a tag of the same name", token(job, bundle=f"mallory/lastgood@{claims.TAG}")
        ),
        Stranger("a branch of the bundle, called as a version is", token(job, bundle=f"{BUNDLE}@refs/heads/v1.2.3")),
        Stranger("a pull request of the bundle", token(job, bundle=f"{BUNDLE}@refs/pull/7/merge")),
        Stranger("another major version of the bundle", token(job, bundle=f"{BUNDLE}@refs/tags/v10.0.0")),
        Stranger("another workflow of the bundle", token(Job("pull-request.yml", "image", job.environment))),
        Stranger("a branch whose name begins as main does", token(job, ref="refs/heads/main-2")),
        Stranger("a tag called main", token(job, ref="refs/tags/main")),
        Stranger("a token that was made for somebody else than AWS", other_audience),
    ]
    if job.environment:
        outside = {key: value for key, value in token(job).items() if not key.endswith(":environment")}
        found += [
            Stranger(
                "a branch that declares an environment scratch with production's stack and secrets",
                token(job, environment="scratch", ref="refs/heads/feature"),
            ),
            Stranger("the main branch, in an environment that nobody bootstrapped", token(job, environment="scratch")),
            Stranger("the deploy workflow, outside of any environment", outside),
        ]
    return found


def arn(service: str, resource: str, *, account: str = ACCOUNT, region: str = REGION) -> str:
    return f"arn:aws:{service}:{'' if service == 'iam' else region}:{account}:{resource}"


def role(path: str) -> str:
    return arn("iam", f"role/{path}")


def stack(name: str) -> str:
    return arn("cloudformation", f"stack/{name}/1")


TABLE = arn("dynamodb", "table/lastgood-shop")
OWN_BOUNDARY = arn("iam", "policy/lastgood-access/shop/production/Boundary")
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
OWN_TASK_ROLE = role("lastgood/shop/production/TaskRole")
OURS = {"aws:ResourceTag/lastgood:project": "shop", "aws:ResourceTag/lastgood:environment": "production"}
STAGINGS = OURS | {"aws:ResourceTag/lastgood:environment": "staging"}
APIS = OURS | {"aws:ResourceTag/lastgood:project": "shop-api"}
BALANCER = arn("elasticloadbalancing", "loadbalancer/app/other/1")
LISTENER = arn("elasticloadbalancing", "listener/app/other/1/2")
BOUND = {"iam:PermissionsBoundary": OWN_BOUNDARY}
OWN_SCHEDULE_ROLE = role("lastgood-access/shop/production/ScheduleRole")
TO_SCHEDULES = {"iam:PassedToService": "scheduler.amazonaws.com"}
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
ROLES_OF_OTHERS = {
    "the service role itself": role("lastgood-access/shop/production/ServiceRole"),
    "the deploy role": role("lastgood-access/shop/production/DeployRole"),
    "the function's role": role("lastgood/shop/MigrationRole"),
    "staging's task role": role("lastgood/shop/staging/TaskRole"),
    "another project's task role": role("lastgood/shop-api/production/TaskRole"),
    "an administrator's role": role("Administrator"),
}


def template() -> dict[str, list[Request]]:
    """What whoever writes the template, after an approval, would have CloudFormation do with the service role: all of it is refused."""
    other_service = arn("ecs", "service/shop_staging/shop_staging")
    found = {
        "make a role without a boundary": [Request("iam:CreateRole", OWN_TASK_ROLE)],
        "make a role with a boundary of his own": [
            Request("iam:CreateRole", OWN_TASK_ROLE, {"iam:PermissionsBoundary": policy})
            for policy in (ADMINISTRATOR, arn("iam", "policy/mine"), OWN_BOUNDARY.replace("production", "staging"))
        ],
        "make a role elsewhere, as administrators have theirs": [
            Request(action, arn_, BOUND)
            for arn_ in ROLES_OF_OTHERS.values()
            for action in (
                "iam:CreateRole",
                "iam:PutRolePolicy",
                "iam:DeleteRolePolicy",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
                "iam:DeleteRole",
                "iam:TagRole",
            )
        ],
        "take the boundary off a role": [Request("iam:DeleteRolePermissionsBoundary", OWN_TASK_ROLE, BOUND)],
        "put another boundary on a role": [
            Request("iam:PutRolePermissionsBoundary", OWN_TASK_ROLE, {"iam:PermissionsBoundary": ADMINISTRATOR})
        ],
        "give a policy to a role that has no boundary": [Request("iam:PutRolePolicy", OWN_TASK_ROLE)],
        "attach AdministratorAccess": [
            Request("iam:AttachRolePolicy", OWN_TASK_ROLE, BOUND | {"iam:PolicyARN": ADMINISTRATOR})
        ],
        "change what the boundary says": [
            Request(f"iam:{action}", OWN_BOUNDARY)
            for action in (
                "CreatePolicyVersion",
                "SetDefaultPolicyVersion",
                "DeletePolicyVersion",
                "DeletePolicy",
                "TagPolicy",
            )
        ],
        "make policies, users, keys, profiles, providers": [
            Request(f"iam:{action}", resource)
            for action, resource in (
                ("CreatePolicy", arn("iam", "policy/mine")),
                ("CreateUser", arn("iam", "user/mine")),
                ("CreateAccessKey", arn("iam", "user/admin")),
                ("CreateInstanceProfile", arn("iam", "instance-profile/mine")),
                ("AddRoleToInstanceProfile", arn("iam", "instance-profile/mine")),
                ("CreateOpenIDConnectProvider", arn("iam", "oidc-provider/mine")),
                ("UpdateOpenIDConnectProviderThumbprint", arn("iam", f"oidc-provider/{GITHUB}")),
            )
        ],
        "pass somebody else's role to a task": [
            Request("iam:PassRole", one, TO_TASKS) for one in ROLES_OF_OTHERS.values()
        ],
        "pass a task's role to another service": [
            Request("iam:PassRole", OWN_TASK_ROLE, {"iam:PassedToService": service})
            for service in (
                "lambda.amazonaws.com",
                "ec2.amazonaws.com",
                "cloudformation.amazonaws.com",
                "codebuild.amazonaws.com",
            )
        ],
        "pass the schedules' role to another service, or another's role to EventBridge": [
            *(
                Request("iam:PassRole", OWN_SCHEDULE_ROLE, {"iam:PassedToService": f"{name}.amazonaws.com"})
                for name in ("lambda", "ecs-tasks")
            ),
            *(Request("iam:PassRole", one, TO_SCHEDULES) for one in (*ROLES_OF_OTHERS.values(), OWN_TASK_ROLE)),
        ],
        "change schedules that are not the environment's": [
            Request(f"scheduler:{action}Schedule", arn("scheduler", f"schedule/{group}/nightly"))
            for group in ("default", "lastgood-shop-staging-ScheduleGroup-1")
            for action in ("Create", "Update", "Delete", "Get")
        ],
        "assume a role": [Request("sts:AssumeRole", one) for one in (*ROLES_OF_OTHERS.values(), OWN_TASK_ROLE)],
        "make a service's role that the stack has no use for": [
            Request(
                "iam:CreateServiceLinkedRole",
                role("aws-service-role/x/y"),
                {"iam:AWSServiceName": "organizations.amazonaws.com"},
            ),
            Request("iam:CreateServiceLinkedRole", role("mine"), {"iam:AWSServiceName": "ecs.amazonaws.com"}),
        ],
        "have another function answer as Custom::Migration": [
            Request("lambda:InvokeFunction", arn("lambda", f"function:{name}"))
            for name in ("lastgood-shop-api-migration", "lastgood-shop-migration-2", "billing")
        ],
        "have a function of another account answer": [
            Request("lambda:InvokeFunction", arn("lambda", "function:lastgood-shop-migration", account="999999999999"))
        ],
        "have a topic answer": [Request("sns:Publish", arn("sns", "mine"))],
        "change the function, or make one": [
            Request(f"lambda:{action}", arn("lambda", f"function:{name}"))
            for name in ("lastgood-shop-migration", "mine")
            for action in ("CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration", "AddPermission")
        ],
        "read a secret while the template is read ({{resolve:…}})": [
            *(
                Request("secretsmanager:GetSecretValue", arn("secretsmanager", f"secret:{name}-AbCdEf"))
                for name in ("shop-production/database", "shop-staging/database", "billing")
            ),
            Request("ssm:GetParameters", arn("ssm", "parameter/billing")),
            Request("ssm:GetParameter", arn("ssm", "parameter/billing")),
        ],
        "change the access stack, or make a stack in the stack": [
            Request(f"cloudformation:{action}", stack(name))
            for name in ("lastgood-shop-production", "lastgood-shop", "shop-production-nested", "shop-staging")
            for action in (
                "CreateStack",
                "UpdateStack",
                "CreateChangeSet",
                "ExecuteChangeSet",
                "DeleteStack",
                "SetStackPolicy",
            )
        ],
        "serve another's task definition, with its roles and secrets": [
            Request(
                f"ecs:{action}",
                arn("ecs", "service/shop_production/web"),
                {
                    "ecs:cluster": arn("ecs", "cluster/shop_production"),
                    "ecs:task-definition": arn("ecs", f"task-definition/{family}:1"),
                },
            )
            for family in ("shop_staging", "shop-api_production", "shop_production-2", "billing")
            for action in ("CreateService", "UpdateService")
        ],
        "serve in another's cluster": [
            Request(
                "ecs:CreateService",
                arn("ecs", "service/shop_staging/web"),
                {"ecs:task-definition": arn("ecs", "task-definition/shop_production:1")},
            )
        ],
        "register into another's family": [
            Request("ecs:RegisterTaskDefinition", arn("ecs", f"task-definition/{family}:*"))
            for family in ("shop_staging", "shop-api_production_release", "shop_production-2")
        ],
        "change another's service or cluster": [
            *(
                Request(f"ecs:{action}", other_service)
                for action in (
                    "UpdateService",
                    "DeleteService",
                    "StopServiceDeployment",
                    "TagResource",
                    "UntagResource",
                )
            ),
            *(
                Request(f"ecs:{action}", arn("ecs", f"cluster/{name}"))
                for name in ("shop_staging", "shop-api_production")
                for action in ("DeleteCluster", "UpdateCluster", "TagResource")
            ),
        ],
        "run, enter or stop tasks, or forget task definitions": [
            Request(
                "ecs:RunTask",
                arn("ecs", "task-definition/shop_production_release:1"),
                {"ecs:cluster": arn("ecs", "cluster/shop_production")},
            ),
            Request("ecs:ExecuteCommand", arn("ecs", "task/shop_production/1")),
            Request("ecs:StopTask", arn("ecs", "task/shop_production/1")),
            Request("ecs:DeregisterTaskDefinition"),
            Request("ecs:DeleteTaskDefinitions", arn("ecs", "task-definition/shop-api_production:1")),
        ],
        "open a network": [
            Request(f"ec2:{action}", arn("ec2", "security-group/sg-database"), context)
            for action in (
                "AuthorizeSecurityGroupIngress",
                "AuthorizeSecurityGroupEgress",
                "RevokeSecurityGroupIngress",
                "CreateTags",
                "CreateSecurityGroup",
                "DeleteSecurityGroup",
            )
            for context in ({}, OURS)
        ],
        "start a machine": [Request("ec2:RunInstances", arn("ec2", "instance/*"))],
        "read or delete another's log": [
            Request(f"logs:{action}", arn("logs", f"log-group:{name}"))
            for name in (
                "/lastgood/shop/staging/1",
                "/lastgood/shop-api/production/1",
                "/aws/lambda/lastgood-shop-migration",
                "/lastgood/shop/production2/1",
            )
            for action in (
                "DeleteLogGroup",
                "PutRetentionPolicy",
                "TagResource",
                "GetLogEvents",
                "PutSubscriptionFilter",
            )
        ],
        "send the environment's log elsewhere": [
            Request("logs:PutSubscriptionFilter", arn("logs", "log-group:/lastgood/shop/production/1")),
            Request("logs:PutResourcePolicy"),
        ],
        "write the release record": [
            Request(f"dynamodb:{action}", TABLE, {"dynamodb:LeadingKeys": ["environment#production"]})
            for action in ("PutItem", "UpdateItem", "DeleteItem", "GetItem", "DeleteTable", "PutResourcePolicy")
        ],
        "change images": [
            Request(f"ecr:{action}", arn("ecr", "repository/shop"))
            for action in ("PutImage", "BatchDeleteImage", "DeleteRepository", "SetRepositoryPolicy")
        ],
    }
    for what, context in (("staging's", STAGINGS), ("another project's", APIS), ("somebody's", {})):
        found[f"change {what} balancer"] = [
            *(
                Request(f"elasticloadbalancing:{action}", BALANCER, context)
                for action in (
                    "DeleteLoadBalancer",
                    "ModifyLoadBalancerAttributes",
                    "SetSecurityGroups",
                    "SetSubnets",
                    "CreateListener",
                    "RemoveTags",
                )
            ),
            *(
                Request(f"elasticloadbalancing:{action}", LISTENER, context)
                for action in ("ModifyListener", "DeleteListener", "CreateRule", "AddListenerCertificates")
            ),
            Request(
                "elasticloadbalancing:AddTags",
                BALANCER,
                context | {key.replace("Resource", "Request"): value for key, value in OURS.items()},
            ),
        ]
    found["tag a new balancer as another's"] = [
        Request(
            "elasticloadbalancing:AddTags",
            BALANCER,
            {key.replace("Resource", "Request"): value for key, value in context.items()}
            | {"elasticloadbalancing:CreateAction": "CreateLoadBalancer"},
        )
        for context in (STAGINGS, APIS)
    ]
    found["make a balancer that is tagged as another's, or not at all"] = [
        Request(
            f"elasticloadbalancing:{action}",
            BALANCER,
            {key.replace("Resource", "Request"): value for key, value in context.items()},
        )
        for action in ("CreateLoadBalancer", "CreateTargetGroup")
        for context in ({}, STAGINGS, APIS)
    ]
    return found


def deployer(service_role: str) -> dict[str, list[Request]]:
    """What whoever holds the deploy role's credentials would do with them directly: all of it is refused."""
    own = stack("shop-production")
    by = {"cloudformation:RoleArn": service_role}
    other = {"cloudformation:RoleArn": role("Administrator")}
    staging = {"cloudformation:RoleArn": service_role.replace("production", "staging")}
    changing = ("CreateChangeSet", "DeleteStack", "ContinueUpdateRollback")
    return {
        "change the stack in his own name": [Request(f"cloudformation:{action}", own) for action in changing],
        "change the stack by another role": [
            Request(f"cloudformation:{action}", own, role_) for action in changing for role_ in (other, staging)
        ],
        "change another stack": [
            Request(f"cloudformation:{action}", stack(name), by)
            for name in (
                "shop-staging",
                "shop-api-production",
                "shop-production-2",
                "lastgood-shop",
                "lastgood-shop-production",
                "CDKToolkit",
            )
            for action in (*changing, "ExecuteChangeSet", "CancelUpdateStack", "DeleteChangeSet", "TagResource")
        ],
        "change the stack without a change set, or its policy": [
            Request(f"cloudformation:{action}", own, by)
            for action in (
                "CreateStack",
                "UpdateStack",
                "SetStackPolicy",
                "UpdateTerminationProtection",
                "SignalResource",
            )
        ],
        "read another stack": [
            Request("cloudformation:DescribeEvents", stack("shop-staging")),
            Request("cloudformation:DescribeStacks", stack("shop-staging")),
            Request("cloudformation:GetTemplate", stack("billing")),
        ],
        "pass another role, or this one elsewhere": [
            *(
                Request("iam:PassRole", one, {"iam:PassedToService": "cloudformation.amazonaws.com"})
                for what, one in ROLES_OF_OTHERS.items()
                if "service role" not in what
            ),
            Request(
                "iam:PassRole",
                service_role.replace("production", "staging"),
                {"iam:PassedToService": "cloudformation.amazonaws.com"},
            ),
            *(
                Request("iam:PassRole", service_role, {"iam:PassedToService": service})
                for service in ("lambda.amazonaws.com", "ecs-tasks.amazonaws.com", "ec2.amazonaws.com")
            ),
        ],
        "assume the service role": [Request("sts:AssumeRole", service_role)],
        "touch roles and policies": [
            Request(f"iam:{action}", one, BOUND)
            for one in (*ROLES_OF_OTHERS.values(), OWN_TASK_ROLE)
            for action in ("CreateRole", "PutRolePolicy", "AttachRolePolicy", "UpdateAssumeRolePolicy", "DeleteRole")
        ],
        "invoke the function": [Request("lambda:InvokeFunction", arn("lambda", "function:lastgood-shop-migration"))],
        "run, change or enter tasks himself": [
            Request(
                "ecs:RunTask",
                arn("ecs", "task-definition/shop_production_release:1"),
                {"ecs:cluster": arn("ecs", "cluster/shop_production")},
            ),
            Request("ecs:UpdateService", arn("ecs", "service/shop_production/shop_production")),
            Request("ecs:RegisterTaskDefinition", arn("ecs", "task-definition/shop_production:*")),
            Request("ecs:ExecuteCommand", arn("ecs", "task/shop_production/1")),
            Request("ecs:StopTask", arn("ecs", "task/shop_production/1")),
        ],
        "look at another's tasks and log": [
            Request("ecs:DescribeServices", arn("ecs", "service/shop_staging/shop_staging")),
            *(
                Request("ecs:DescribeTasks", arn("ecs", f"task/{name}/1"))
                for name in ("shop_staging", "shop-api_production")
            ),
            Request("ecs:ListTasks", "*", {"ecs:cluster": arn("ecs", "cluster/shop_staging")}),
            Request("ecs:ListTasks"),
            *(
                Request("logs:GetLogEvents", arn("logs", f"log-group:{name}:log-stream:web/web/1"))
                for name in (
                    "/lastgood/shop/staging/1",
                    "/lastgood/shop-api/production/1",
                    "/lastgood/shop/production2/1",
                )
            ),
        ],
        "write another environment's record": [
            Request(f"dynamodb:{action}", TABLE, {"dynamodb:LeadingKeys": keys})
            for action in ("PutItem", "UpdateItem", "DeleteItem")
            for keys in (
                ["environment#staging"],
                ["environment#production", "environment#staging"],
                ["environment#production2"],
            )
        ],
        "write a build, or an operation": [
            Request(f"dynamodb:{action}", TABLE, {"dynamodb:LeadingKeys": [f"{kind}#1"]})
            for kind in ("build", "operation")
            for action in ("PutItem", "UpdateItem", "DeleteItem")
        ],
        "read what is nobody's but the function's": [
            Request("dynamodb:GetItem", TABLE, {"dynamodb:LeadingKeys": ["answer#1"]}),
            Request("dynamodb:Query", TABLE, {"dynamodb:LeadingKeys": ["operation#1"]}),
        ],
        "read the whole record, or change the table": [
            Request("dynamodb:Scan", TABLE),
            Request("dynamodb:GetItem", TABLE),
            *(
                Request(f"dynamodb:{action}", TABLE)
                for action in (
                    "DeleteTable",
                    "UpdateTable",
                    "UpdateTimeToLive",
                    "PutResourcePolicy",
                    "ExportTableToPointInTime",
                )
            ),
        ],
        "read a secret": [
            Request("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:shop-production/database-AbCdEf")),
            Request("ssm:GetParameters", arn("ssm", "parameter/shop/mail")),
        ],
        "look whether another's secret is there": [
            Request("secretsmanager:DescribeSecret", arn("secretsmanager", f"secret:{name}-AbCdEf"))
            for name in ("shop-staging/database", "billing")
        ],
        "touch another project's record or images": [
            *(
                Request(
                    f"dynamodb:{action}", arn("dynamodb", "table/lastgood-shop-api"), {"dynamodb:LeadingKeys": [key]}
                )
                for action, key in (("PutItem", "environment#production"), ("GetItem", "build#1"))
            ),
            Request("ecr:BatchGetImage", arn("ecr", "repository/shop-api")),
        ],
        "push or delete an image": [
            Request(f"ecr:{action}", arn("ecr", "repository/shop"))
            for action in ("PutImage", "InitiateLayerUpload", "BatchDeleteImage", "DeleteRepository")
        ],
    }


def pusher() -> dict[str, list[Request]]:
    """What whoever holds the push role's credentials would do with them: all of it is refused."""
    return {
        "write a release, the lock or last good": [
            Request(f"dynamodb:{action}", TABLE, {"dynamodb:LeadingKeys": [f"environment#{name}"]})
            for name in ("production", "staging")
            for action in ("PutItem", "UpdateItem", "DeleteItem")
        ],
        "delete a build": [
            Request("dynamodb:DeleteItem", TABLE, {"dynamodb:LeadingKeys": ["build#1"]}),
            Request("dynamodb:UpdateItem", TABLE, {"dynamodb:LeadingKeys": ["build#1"]}),
        ],
        "read operations, or the whole record": [
            Request("dynamodb:GetItem", TABLE, {"dynamodb:LeadingKeys": ["operation#1"]}),
            Request("dynamodb:Scan", TABLE),
        ],
        "touch another project's record": [
            *(
                Request(
                    f"dynamodb:{action}", arn("dynamodb", "table/lastgood-shop-api"), {"dynamodb:LeadingKeys": [key]}
                )
                for action, key in (("PutItem", "build#1"), ("GetItem", "environment#production"))
            ),
            Request("dynamodb:PutItem", TABLE),
            Request("dynamodb:GetItem", TABLE),
        ],
        "delete or replace images": [
            Request(f"ecr:{action}", arn("ecr", "repository/shop"))
            for action in (
                "BatchDeleteImage",
                "DeleteRepository",
                "PutImageTagMutability",
                "SetRepositoryPolicy",
                "PutLifecyclePolicy",
            )
        ],
        "push to another repository": [
            Request("ecr:PutImage", arn("ecr", f"repository/{name}")) for name in ("shop-api", "shop2", "billing")
        ],
        "change a stack": [
            Request(
                "cloudformation:CreateChangeSet",
                stack("shop-production"),
                {"cloudformation:RoleArn": role("lastgood-access/shop/production/ServiceRole")},
            )
        ],
        "pass or assume a role": [Request("iam:PassRole", one, TO_TASKS) for one in ROLES_OF_OTHERS.values()]
        + [Request("sts:AssumeRole", one) for one in ROLES_OF_OTHERS.values()],
        "read a secret": [
            Request("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:shop-production/database-AbCdEf"))
        ],
    }


def task() -> dict[str, list[Request]]:
    """What code in a task would do with a role of the stack that its template allowed everything: all of it is refused by the boundary."""
    return {
        "read another's secret": [
            *(
                Request("secretsmanager:GetSecretValue", arn("secretsmanager", f"secret:{name}-AbCdEf"))
                for name in (
                    "shop-staging/database",
                    "shop-api-production/database",
                    "billing",
                    "shop-production/database-2",
                )
            ),
            Request("ssm:GetParameters", arn("ssm", "parameter/billing")),
        ],
        "open another's secret with its key": [
            Request(
                "kms:Decrypt",
                arn("kms", "key/1"),
                {
                    "kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com",
                    "kms:EncryptionContext:SecretARN": arn("secretsmanager", "secret:billing-AbCdEf"),
                },
            ),
            Request("kms:Decrypt", arn("kms", "key/1")),
        ],
        "change or replace secrets": [
            Request(f"secretsmanager:{action}", arn("secretsmanager", "secret:shop-production/database-AbCdEf"))
            for action in ("PutSecretValue", "DeleteSecret", "PutResourcePolicy")
        ],
        "become somebody": [Request("sts:AssumeRole", one) for one in ROLES_OF_OTHERS.values()]
        + [Request("iam:PassRole", OWN_TASK_ROLE, TO_TASKS)],
        "touch roles": [
            Request(f"iam:{action}", OWN_TASK_ROLE, BOUND)
            for action in (
                "CreateRole",
                "PutRolePolicy",
                "AttachRolePolicy",
                "DeleteRolePermissionsBoundary",
                "PutRolePermissionsBoundary",
            )
        ],
        "change stacks": [
            Request(f"cloudformation:{action}", stack("shop-production"))
            for action in ("CreateChangeSet", "UpdateStack", "DeleteStack")
        ],
        "read another's stack": [Request("cloudformation:DescribeStacks", stack("shop-staging"))],
        "push images": [Request("ecr:PutImage", arn("ecr", "repository/shop"))],
        "pull another's image": [Request("ecr:BatchGetImage", arn("ecr", "repository/shop-api"))],
        "read logs, or write another's": [
            Request("logs:GetLogEvents", arn("logs", "log-group:/lastgood/shop/production/1:log-stream:web/web/1")),
            Request("logs:PutLogEvents", arn("logs", "log-group:/lastgood/shop/staging/1:log-stream:x")),
        ],
        "use the account for anything else": [
            Request("s3:GetObject", "arn:aws:s3:::anything/x"),
            Request("dynamodb:GetItem", TABLE, {"dynamodb:LeadingKeys": ["environment#production"]}),
            Request("lambda:InvokeFunction", arn("lambda", "function:lastgood-shop-migration")),
            Request("ecs:RunTask", arn("ecs", "task-definition/shop_production:1")),
            Request("ec2:RunInstances", arn("ec2", "instance/*")),
        ],
    }


def schedule() -> dict[str, list[Request]]:
    """What EventBridge, misled by a schedule, would do with the schedules' role: all of it is refused."""
    own = {"ecs:cluster": arn("ecs", "cluster/shop_production")}
    return {
        "run what is no job, or another's": [
            Request("ecs:RunTask", arn("ecs", f"task-definition/{family}:1"), own)
            for family in ("shop_production", "shop_production_release", "shop_production_worker", "shop_staging_job")
        ],
        "run a job elsewhere": [
            Request(
                "ecs:RunTask",
                arn("ecs", "task-definition/shop_production_job:1"),
                {"ecs:cluster": arn("ecs", "cluster/shop_staging")},
            )
        ],
        "pass another's role, or its own elsewhere": [
            *(Request("iam:PassRole", one, TO_TASKS) for one in ROLES_OF_OTHERS.values()),
            Request("iam:PassRole", OWN_TASK_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
        ],
    }


def function() -> dict[str, list[Request]]:
    """What the function, misled by a request, would do outside of its project: all of it is refused."""
    apis = {"ecs:cluster": arn("ecs", "cluster/shop-api_production")}
    return {
        "run another project's release task": [
            Request("ecs:RunTask", arn("ecs", "task-definition/shop-api_production_release:1"), apis),
            Request("ecs:RunTask", arn("ecs", "task-definition/shop_production_release:1"), apis),
            Request(
                "ecs:RunTask",
                arn("ecs", "task-definition/shop-api_production_release:1"),
                {"ecs:cluster": arn("ecs", "cluster/shop_production")},
            ),
        ],
        "run what is no release task": [
            Request(
                "ecs:RunTask",
                arn("ecs", "task-definition/shop_production:1"),
                {"ecs:cluster": arn("ecs", "cluster/shop_production")},
            )
        ],
        "stop or list another project's tasks": [
            Request("ecs:StopTask", arn("ecs", "task/shop-api_production/1")),
            Request("ecs:DescribeTasks", arn("ecs", "task/shop-api_production/1")),
            Request("ecs:ListTasks", "*", apis),
        ],
        "register for another project": [
            Request("ecs:RegisterTaskDefinition", arn("ecs", "task-definition/shop-api_production_release:*"))
        ],
        "pass a role that is no task's of the project": [
            Request("iam:PassRole", one, TO_TASKS) for what, one in ROLES_OF_OTHERS.items() if "staging" not in what
        ],
        "pass a task's role elsewhere": [
            Request("iam:PassRole", OWN_TASK_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"})
        ],
        "write builds, or read at large": [
            Request("dynamodb:PutItem", TABLE, {"dynamodb:LeadingKeys": ["build#1"]}),
            Request("dynamodb:GetItem", TABLE),
            Request("dynamodb:GetItem", TABLE, {"dynamodb:LeadingKeys": ["permission#1"]}),
        ],
        "read another project's builds, or take its answers": [
            Request(
                "dynamodb:GetItem", arn("dynamodb", "table/lastgood-shop-api"), {"dynamodb:LeadingKeys": ["build#1"]}
            ),
            Request("dynamodb:Scan", arn("dynamodb", "table/lastgood-shop-api-open")),
        ],
        "look into another account, or write another's log": [
            Request("cloudformation:DescribeStacks", arn("cloudformation", "stack/shop/1", account="999999999999")),
            Request("logs:PutLogEvents", arn("logs", "log-group:/lastgood/shop/production/1:log-stream:x")),
        ],
        "write another project's record": [
            Request(
                "dynamodb:PutItem",
                arn("dynamodb", "table/lastgood-shop-api"),
                {"dynamodb:LeadingKeys": ["operation#1"]},
            )
        ],
        "read a secret": [
            Request("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:shop-production/database-AbCdEf"))
        ],
        "read another project's or the web's log": [
            Request(
                "logs:GetLogEvents",
                arn("logs", "log-group:/lastgood/shop-api/production/1:log-stream:release/release/1"),
            ),
            Request("logs:GetLogEvents", arn("logs", "log-group:/lastgood/shop/production/1:log-stream:web/web/1")),
        ],
    }


__all__ = ["REPOSITORY", "deployer", "function", "pusher", "schedule", "strangers", "task", "template"]
