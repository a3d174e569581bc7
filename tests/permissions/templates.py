"""The templates as CloudFormation would make them of given parameters: every function evaluated, roles ready to be asked."""

from __future__ import annotations

import functools
import json
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lastgood.config.project import Job, Process, Shape
from lastgood.deploy import access
from lastgood.deploy import template as rendering
from lastgood.deploy.bootstrap import with_names

from permissions.policy import Role

FOLDER = Path(__file__).resolve().parents[2] / "ci" / "cloudformation"
REGION, ACCOUNT = "eu-central-1", "123456789012"
_NOTHING = object()

# What processes.yml is rendered from: service.yml with one of everything.
SHAPE = Shape(
    (Process("worker", ("celery",)), Process("beat", ("celery",), single=True)),
    (Job("nightly", ("manage.py",), "rate(1 day)"), Job("asked", ("manage.py",))),
    {"EMAIL_HOST": "mail", "SITE": "{site.url}"},
    {
        "STRIPE_KEY": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-production/stripe-AbCdEf",
        "MAIL_KEY": "/shop/mail",
    },
)


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _short(loader: Any, suffix: str, node: Any) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short)


@functools.cache
def load(name: str) -> dict[str, Any]:
    """A template as it is written; nobody changes it."""
    text = (FOLDER / name.replace("processes", "service")).read_text(encoding="utf-8")
    if name == "processes.yml":
        return typing.cast("dict[str, Any]", json.loads(rendering.render(text, SHAPE)))
    if name == "bootstrap.yml":
        text = with_names(text, "shop")
    found: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506
    return found


class Made:
    """A stack of a template: `resources` by logical name, with the properties that CloudFormation would give to their handlers."""

    def __init__(
        self, name: str, stack: str, given: Mapping[str, str], *, region: str = REGION, account: str = ACCOUNT
    ) -> None:
        self.template = load(name)
        self.pseudo = {
            "AWS::Partition": "aws",
            "AWS::Region": region,
            "AWS::AccountId": account,
            "AWS::StackName": stack,
            "AWS::StackId": f"arn:aws:cloudformation:{region}:{account}:stack/{stack}/1",
            "AWS::NoValue": _NOTHING,
        }
        unknown = set(given) - set(self.template["Parameters"])
        assert not unknown, unknown
        self.values: dict[str, Any] = {}
        for key, parameter in self.template["Parameters"].items():
            value = str(given[key] if key in given else parameter["Default"])
            allowed = parameter.get("AllowedPattern")
            assert allowed is None or re.fullmatch(allowed, value), (key, value)
            is_list = "List" in parameter["Type"]
            self.values[key] = value.split(",") if is_list else value
        self.conditions = {key: self._is(value) for key, value in self.template.get("Conditions", {}).items()}
        self.resources = {
            key: {"Type": one["Type"], "Properties": self.of(one.get("Properties", {}))}
            for key, one in self.template["Resources"].items()
            if self.conditions.get(one.get("Condition", ""), True)
        }
        self.outputs = {
            key: self.of(one["Value"])
            for key, one in self.template["Outputs"].items()
            if self.conditions.get(one.get("Condition", ""), True)
        }

    def _is(self, value: Any) -> bool:
        ((name, inside),) = value.items()
        if name == "Fn::Equals":
            return bool(self.of(inside[0]) == self.of(inside[1]))
        if name == "Fn::Not":
            return not self._is(inside[0])
        if name == "Condition":
            return self._is(self.template["Conditions"][inside])
        assert name in ("Fn::And", "Fn::Or"), name
        return (all if name == "Fn::And" else any)(self._is(one) for one in inside)

    def of(self, value: Any) -> Any:
        """A value with its functions evaluated."""
        if isinstance(value, list):
            return [found for found in map(self.of, value) if found is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, inside),) = value.items()
            if name == "Ref":
                return self._ref(inside)
            if name.startswith("Fn::"):
                return getattr(self, f"_{name[4:].lower()}")(inside)
        pairs = ((key, self.of(one)) for key, one in value.items())
        return {key: one for key, one in pairs if one is not _NOTHING}

    def _ref(self, name: str) -> Any:
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.values:
            return self.values[name]
        one = self.template["Resources"][name]
        return (
            self.arn(name) if one["Type"] == "AWS::IAM::ManagedPolicy" or "ECS::Task" in one["Type"] else f"{name}-id"
        )

    def _sub(self, inside: Any) -> str:
        text, own = (inside, {}) if isinstance(inside, str) else (inside[0], self.of(inside[1]))

        def put(found: re.Match[str]) -> str:
            name = found[1]
            return str(own[name] if name in own else self._getatt(name) if "." in name else self._ref(name))

        return re.sub(r"\$\{([A-Za-z:.]+)\}", put, text)

    def _getatt(self, inside: Any) -> Any:
        name, _, attribute = inside.partition(".") if isinstance(inside, str) else (inside[0], "", inside[1])
        return self.arn(name) if attribute == "Arn" else f"{name}-{attribute}"

    def _if(self, inside: Any) -> Any:
        return self.of(inside[1] if self.conditions[inside[0]] else inside[2])

    def _select(self, inside: Any) -> Any:
        return self.of(inside[1])[int(inside[0])]

    def _join(self, inside: Any) -> str:
        return str(inside[0]).join(self.of(inside[1]))

    def _split(self, inside: Any) -> list[str]:
        return str(self.of(inside[1])).split(inside[0])

    def arn(self, name: str) -> str:
        """The ARN of a resource, with the logical name where AWS makes one up."""
        one = self.template["Resources"][name]
        properties, region, account = one["Properties"], self.pseudo["AWS::Region"], self.pseudo["AWS::AccountId"]
        path = self.of(properties.get("Path", "/"))
        kinds = {
            "AWS::IAM::Role": lambda: f"arn:aws:iam::{account}:role{path}{name}",
            "AWS::IAM::ManagedPolicy": lambda: f"arn:aws:iam::{account}:policy{path}{name}",
            "AWS::DynamoDB::Table": lambda: (
                f"arn:aws:dynamodb:{region}:{account}:table/{self.of(properties['TableName'])}"
            ),
            "AWS::ECR::Repository": lambda: (
                f"arn:aws:ecr:{region}:{account}:repository/{self.of(properties['RepositoryName'])}"
            ),
            "AWS::Logs::LogGroup": lambda: (
                f"arn:aws:logs:{region}:{account}:log-group:{self.of(properties['LogGroupName'])}:*"
            ),
            "AWS::Lambda::Function": lambda: (
                f"arn:aws:lambda:{region}:{account}:function:{self.of(properties['FunctionName'])}"
            ),
            "AWS::Events::Rule": lambda: f"arn:aws:events:{region}:{account}:rule/{self.of(properties['Name'])}",
            "AWS::ECS::Cluster": lambda: f"arn:aws:ecs:{region}:{account}:cluster/{self.of(properties['ClusterName'])}",
            "AWS::ECS::TaskDefinition": lambda: (
                f"arn:aws:ecs:{region}:{account}:task-definition/{self.of(properties['Family'])}:1"
            ),
        }
        return kinds[one["Type"]]()

    def role(self, name: str, boundaries: Mapping[str, Any] | None = None) -> Role:
        """A role of the stack; `boundaries` are policy documents by ARN, for roles that have one."""
        properties = self.resources[name]["Properties"]
        boundary = properties.get("PermissionsBoundary")
        return Role(
            self.arn(name),
            properties["AssumeRolePolicyDocument"],
            [one["PolicyDocument"] for one in properties.get("Policies", [])],
            (boundaries or {})[boundary] if boundary else None,
        )


SECRETS = {
    "DatabaseSecret": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:{}/database-AbCdEf:url::",
    "SecretKeySecret": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:{}/key-AbCdEf",
}
BUNDLE, REPOSITORY = "acme/lastgood", "1234567"


def account(project: str = "shop", *, region: str = REGION, account: str = ACCOUNT) -> Made:
    """The stack of what an account has once for a project."""
    return Made("bootstrap.yml", f"lastgood-{project}", {"Project": project}, region=region, account=account)


def environment(
    name: str = "production", project: str = "shop", *, region: str = REGION, account: str = ACCOUNT, **more: str
) -> Made:
    """The access stack of an environment, as `lastgood bootstrap` would make it."""
    secrets = [value.format(f"{project}-{name}") for value in SECRETS.values()]
    secrets += ["arn:aws:ssm:eu-central-1:123456789012:parameter/shop/mail"]
    github = access.GitHub(
        REPOSITORY, BUNDLE, environment=name, provider=f"arn:aws:iam::{account}:oidc-provider/{GITHUB}"
    )
    given = access.network({"VpcId": "vpc-1"}, name) | access.readable(secrets) | github.values()
    given |= {"Project": project, "Environment": name, "StackName": f"{project}-{name}"} | more
    return Made("environment.yml", f"lastgood-{project}-{name}", given, region=region, account=account)


GITHUB = "token.actions.githubusercontent.com"


def service(of: Made, template: str = "service.yml", **more: str) -> Made:
    """The environment's own stack, as a deploy would make it over that access stack."""
    project, name = of.values["Project"], of.values["Environment"]
    given = {
        **{key: value.format(f"{project}-{name}") for key, value in SECRETS.items()},
        "VpcId": "vpc-1",
        "Subnets": "subnet-1,subnet-2",
        "Project": project,
        "Environment": name,
        "Image": f"{of.pseudo['AWS::AccountId']}.dkr.ecr.{of.pseudo['AWS::Region']}.amazonaws.com/{project}@sha256:{'0' * 64}",
        "ImageDigest": f"sha256:{'0' * 64}",
        **dict.fromkeys(("Build", "Commit", "Version", "ManifestSha"), "a"),
        "ServiceToken": f"arn:aws:lambda:{of.pseudo['AWS::Region']}:{of.pseudo['AWS::AccountId']}:function:lastgood-{project}-migration",
        **{key: of.outputs[key] for key in ("PermissionsBoundary", "LoadBalancerSecurityGroup", "TaskSecurityGroup")},
        **{key: of.outputs[key] for key in rendering.DECIDED},
    }
    given = {key: value for key, value in given.items() if key in load(template)["Parameters"]}
    region, account = str(of.pseudo["AWS::Region"]), str(of.pseudo["AWS::AccountId"])
    return Made(template, of.values["StackName"], given | more, region=region, account=account)


def boundaries(of: Made) -> dict[str, Any]:
    """The boundary of an access stack, by its ARN."""
    return {of.arn("Boundary"): of.resources["Boundary"]["Properties"]["PolicyDocument"]}
