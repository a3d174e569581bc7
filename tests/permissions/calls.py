"""What the tool calls by each role, as IAM is asked for it.

calls.json is noted while the demo runs (`LASTGOOD_CALLS=FILE make demo`, then `make permissions CALLS=FILE`): every call of boto3 in a
workflow's verbs, with digests and numbers taken out. What goes to the registry over HTTP, and what the function calls, is told here by
hand; tests hold both to the sources.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from permissions.policy import Request

HERE = Path(__file__).resolve().parent
FILE = HERE / "calls.json"
CI = HERE.parents[1] / "ci"
ROLE_OF = {
    "push": "PushRole",
    "scan": "PushRole",
    "attest": "PushRole",
    "deploy": "DeployRole",
    "rollback": "DeployRole",
}
PROJECT, ENVIRONMENT, REGION, ACCOUNT = "board", "local", "us-east-1", "000000000000"
# What a run that fails does beside: `deploy` and `rollback` may come to each of these.
RARELY = {
    "cloudformation:CancelUpdateStack": "a deploy that is interrupted",
    "cloudformation:ContinueUpdateRollback": "a rollback that stopped",
    "cloudformation:DeleteStack": "rollback --recreate, a first release that failed",
    "cloudformation:DeleteChangeSet": "a change set without changes, or one that can't be executed",
    "cloudformation:DescribeEvents": "why a change set was refused",
    "ecs:DescribeServices": "what a stopped rollback may skip",
    "cloudformation:TagResource": "CloudFormation asks for it where the caller's own tags come with a new stack (not seen in an emulator)",
    "logs:GetLogEvents": "the last lines of a service that crashed",
    "ec2:DescribeVpcs": "CloudFormation looks whether a parameter's network is there (not seen in an emulator)",
    "ec2:DescribeSubnets": "the same",
    "ecr:GetAuthorizationToken": "the one-machine registry asks for no password",
    "iam:PassRole": "CloudFormation asks for it with RoleARN",
    "Builds dynamodb:GetItem": "a push of a build that was pushed before",
    "LastGood dynamodb:GetItem": "scan --against last-good, as the workflow runs it",
}
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/security_iam_id-based-policy-examples.html and the registry API
HTTP = {
    "POST /blobs/uploads/": ("ecr:InitiateLayerUpload",),
    "PATCH": ("ecr:UploadLayerPart",),
    "PUT /blobs/uploads/": ("ecr:UploadLayerPart", "ecr:CompleteLayerUpload"),
    "HEAD /blobs/": ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"),
    "HEAD /manifests/": ("ecr:BatchGetImage",),
    "PUT /manifests/": ("ecr:PutImage",),
}
# What a deploy asks the registry to read who has signed: nobody does so in the one-machine cloud, so the demo does not note it.
READ = {
    "the repository's address": ("ecr:DescribeRepositories",),
    "GET /referrers/": ("ecr:BatchGetImage",),
    "GET /manifests/": ("ecr:BatchGetImage",),
    "GET /blobs/": ("ecr:GetDownloadUrlForLayer",),
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def requests(call: dict[str, Any]) -> Iterator[Request]:
    """What IAM is asked for a call of boto3: {service, operation, params}."""
    service, operation, params = call["service"], call["operation"], call["params"]
    action = f"{service}:{operation}"
    arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:"
    if service == "dynamodb":
        for one in params.get("TransactItems", [{operation.removesuffix("Item"): params}]):
            ((kind, write),) = one.items()
            key = (write.get("Key") or write.get("Item") or {}).get("pk") or write["ExpressionAttributeValues"][":v0"]
            name = operation if "TransactItems" not in params else f"{kind}Item"
            yield Request(
                f"dynamodb:{name}",
                f"{arn}table/{write['TableName']}",
                {"dynamodb:LeadingKeys": [re.sub(r"#.*", _key, key["S"])]},
            )
        return
    if service == "cloudformation":
        if "StackName" in params:
            role = {"cloudformation:RoleArn": params["RoleARN"]} if "RoleARN" in params else {}
            yield Request(action, f"{arn}stack/{params['StackName']}/1", role)
        else:
            yield Request(action)
        if "RoleARN" in params:
            yield Request("iam:PassRole", params["RoleARN"], {"iam:PassedToService": "cloudformation.amazonaws.com"})
        return
    if service == "ecs":
        if operation == "DescribeTaskDefinition":
            yield Request(action)
            return
        cluster = str(params["cluster"]).rpartition("/")[2]
        context = {"ecs:cluster": f"{arn}cluster/{cluster}"}
        places = {
            "DescribeTasks": f"task/{cluster}/1",
            "StopTask": f"task/{cluster}/1",
            "DescribeServices": f"service/{cluster}/{cluster}",
        }
        yield Request(action, arn + places[operation] if operation in places else "*", context)
        return
    if service == "logs":
        yield Request(
            action, f"{arn}log-group:{re.sub(r'/[0-9a-f-]{36}$', '/1', params['logGroupName'])}:log-stream:web/web/1"
        )
        return
    assert service == "ecr", call
    names = params.get("repositoryNames") or [params.get("repositoryName")]
    for name in names:
        yield Request(action, f"{arn}repository/{name}" if name else "*")


def _key(found: re.Match[str]) -> str:
    """What stands behind the # of a key, without what is another in every run."""
    return found[0] if re.fullmatch(r"#[a-z][a-z-]*", found[0]) else "#1"


def note(lines: str) -> list[dict[str, Any]]:
    """The calls of a run, as LASTGOOD_CALLS notes them, made into what calls.json holds: each request once, by role."""
    found = set()
    for line in filter(None, lines.splitlines()):
        call = json.loads(line)
        if call["verb"] in ROLE_OF:
            for one in requests(call):
                resource = re.sub(r"[^/]*(ServiceRole)-[A-Z0-9]+", r"\1", one.resource)
                context = {
                    key: [
                        re.sub(r"[^/]*(ServiceRole)-[A-Z0-9]+", r"\1", text)
                        for text in ([value] if isinstance(value, str) else value)
                    ]
                    for key, value in one.context.items()
                }
                found.add((ROLE_OF[call["verb"]], one.action, resource, json.dumps(context, sort_keys=True)))
    return [
        {"role": role, "action": action, "resource": resource, "context": json.loads(context)}
        for role, action, resource, context in sorted(found)
    ]


def noted() -> list[tuple[str, Request]]:
    """(role, request) of calls.json."""
    return [
        (
            one["role"],
            Request(
                one["action"],
                one["resource"],
                {key: value if "LeadingKeys" in key else value[0] for key, value in one["context"].items()},
            ),
        )
        for one in json.loads(FILE.read_text(encoding="utf-8"))
    ]


def pushed() -> list[Request]:
    """What the registry asks for while an image is pushed."""
    return [
        Request(action, f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{PROJECT}")
        for actions in HTTP.values()
        for action in actions
    ]


def read() -> list[Request]:
    """What the registry asks for while a deploy looks who has signed."""
    return [
        Request(action, f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{PROJECT}")
        for actions in READ.values()
        for action in actions
    ]


FUNCTION = {
    "ecs.run_task": ("ecs:RunTask", "ecs", "task-definition/{cluster}_release:1", {"ecs:cluster": "cluster/{cluster}"}),
    "ecs.describe_tasks": ("ecs:DescribeTasks", "ecs", "task/{cluster}/1", {}),
    "ecs.stop_task": ("ecs:StopTask", "ecs", "task/{cluster}/1", {}),
    "ecs.list_tasks": ("ecs:ListTasks", "", "*", {"ecs:cluster": "cluster/{cluster}"}),
    "ecs.describe_task_definition": ("ecs:DescribeTaskDefinition", "", "*", {}),
    "ecs.register_task_definition": ("ecs:RegisterTaskDefinition", "ecs", "task-definition/{cluster}_release:*", {}),
    "ecs.deregister_task_definition": ("ecs:DeregisterTaskDefinition", "", "*", {}),
    "logs.get_log_events": (
        "logs:GetLogEvents",
        "logs",
        "log-group:/lastgood/shop/production/1:log-stream:release/release/1",
        {},
    ),
    "cloudformation.describe_stacks": (
        "cloudformation:DescribeStacks",
        "cloudformation",
        "stack/shop-production/1",
        {},
    ),
    "table.get_item": ("dynamodb:GetItem", "dynamodb", "table/lastgood-shop", {"dynamodb:LeadingKeys": "operation#1"}),
    "table.transact_write_items": (
        "dynamodb:PutItem",
        "dynamodb",
        "table/lastgood-shop",
        {"dynamodb:LeadingKeys": "environment#production"},
    ),
    "table.update_item": (
        "dynamodb:UpdateItem",
        "dynamodb",
        "table/lastgood-shop",
        {"dynamodb:LeadingKeys": "operation#1"},
    ),
    "table.get_item of a build": (
        "dynamodb:GetItem",
        "dynamodb",
        "table/lastgood-shop",
        {"dynamodb:LeadingKeys": "build#sha256:1"},
    ),
    "open.put_item in a transaction": ("dynamodb:PutItem", "dynamodb", "table/lastgood-shop-open", {}),
    "open.get_item": ("dynamodb:GetItem", "dynamodb", "table/lastgood-shop-open", {}),
    "open.delete_item": ("dynamodb:DeleteItem", "dynamodb", "table/lastgood-shop-open", {}),
    "open.scan": ("dynamodb:Scan", "dynamodb", "table/lastgood-shop-open", {}),
}


def function() -> dict[str, Request]:
    """What the function asks for, by the call in its source."""
    made = {}
    for call, (action, service, resource, context) in FUNCTION.items():
        base = f"arn:aws:{service}:eu-central-1:123456789012:"
        ecs = "arn:aws:ecs:eu-central-1:123456789012:"
        brought = {
            key: value if "LeadingKeys" in key else ecs + value.format(cluster="shop_production")
            for key, value in context.items()
        }
        made[call] = Request(
            action, resource if resource == "*" else base + resource.format(cluster="shop_production"), brought
        )
    return made


def called_by_the_function() -> set[str]:
    """The calls in the function's sources: `client("ecs").run_task(…)`, `table().get_item(…)`, and `open.get_item` of its own table."""
    found = set()
    for file in (CI / "cloudformation" / "migration_resource").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            maker = node.func.value
            while isinstance(maker, ast.Attribute):  # table().meta.client
                maker = maker.value
            if not (isinstance(maker, ast.Call) and isinstance(maker.func, ast.Name)):
                continue
            named = [str(one.value) for one in maker.args if isinstance(one, ast.Constant)]
            if maker.func.id == "client":
                found.add(f"{named[0]}.{node.func.attr}")
            elif maker.func.id == "table":
                found.add(f"{'open' if named == ['OPEN_OPERATIONS'] else 'table'}.{node.func.attr}")
    return found
