"""The questions to AWS: each only reads, and an answer that is no is an answer, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lastgood import bundle
from lastgood.aws.errors import code, message
from lastgood.aws.session import Session
from lastgood.deploy.bootstrap import with_names
from lastgood.preflight import account, entrance, network, quotas, secrets
from lastgood.preflight.line import Facts, Refusal, listed


class _Asked:
    """The answers so far, by operation."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.answers: dict[str, Any] = {}

    def ask(
        self, name: str, behind: str = "", read: Callable[[Any], Any] = lambda answer: answer, **arguments: Any
    ) -> Any:
        """Asks `service:Operation`, which may not be allowed; None where it was refused."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        service, _, operation = name.partition(":")
        client = {"elasticloadbalancing": "elbv2", "servicequotas": "service-quotas"}.get(service, service)
        key = f"{name} {behind}" if behind else name
        try:
            found = read(getattr(self._session.client(client), xform_name(operation))(**arguments))
        except ClientError as error:
            self.answers[key] = Refusal(code(error), message(error))
            return None
        except BotoCoreError as error:
            self.answers[key] = Refusal(type(error).__name__, str(error))
            return None
        self.answers[key] = found
        return found


def facts(session: Session) -> Facts:
    """Asks an environment's account all that the modules beside this one decide by. Takes a few seconds, changes nothing.

    botocore's errors come through where no region is known, or the credentials can't even be looked for: the command line tells them.
    """
    environment, asked = session.environment, _Asked(session)
    parameters = dict(environment.parameters)
    region = str(session.client("cloudformation").meta.region_name)
    if asked.ask(account.IDENTITY):
        template = bundle.path("cloudformation/service.yml").read_text(encoding="utf-8")
        known = asked.ask("cloudformation:GetTemplateSummary", TemplateBody=template) or {"Parameters": []}
        parameters = {one["ParameterKey"]: one.get("DefaultValue", "") for one in known["Parameters"]} | parameters
        _account(session, asked)
        _network(asked, parameters)
        _secrets(asked, parameters, region)
        _entrance(asked, parameters)
        _quotas(asked)
    bootstrap = with_names(bundle.path("cloudformation/bootstrap.yml").read_text(encoding="utf-8"), session.project)
    return Facts(session.project, environment.name, region, environment.url, parameters, asked.answers, bootstrap)


def _account(session: Session, asked: _Asked) -> None:
    name = f"lastgood-{session.project}"
    if asked.ask("cloudformation:DescribeStacks", name, StackName=name):
        asked.ask("cloudformation:GetTemplate", name, StackName=name, TemplateStage="Original")
    own = f"{session.project}-{session.environment.name}"
    asked.ask("cloudformation:DescribeStacks", own, StackName=session.environment.stack)
    asked.ask("ecr:DescribeRepositories", repositoryNames=[session.project])
    for role in (account.ECS, account.BALANCING):
        asked.ask("iam:GetRole", role, RoleName=role)


def _network(asked: _Asked, parameters: dict[str, str]) -> None:
    names = {*listed(parameters, "Subnets"), *listed(parameters, "LoadBalancerSubnets")}
    if names:
        asked.ask(network.SUBNETS, SubnetIds=sorted(names))
    if parameters.get("VpcId"):
        here = [{"Name": "vpc-id", "Values": [parameters["VpcId"]]}]
        asked.ask(network.ROUTES, Filters=here)
        asked.ask(network.ENDPOINTS, Filters=here)
    groups = [parameters.get(name) for name in ("DatabaseSecurityGroup", "ListenerSecurityGroup")]
    groups = [*filter(None, groups), *listed(parameters, "TaskSecurityGroups")]
    if groups:
        asked.ask(network.GROUPS, GroupIds=groups)


def _secrets(asked: _Asked, parameters: dict[str, str], region: str) -> None:
    for name in secrets.NAMES:
        found = secrets.named(parameters.get(name, ""))
        if found and found[1] == region:
            there = asked.ask("secretsmanager:DescribeSecret", found[0], SecretId=found[0])
            if there and secrets.own_key(there):
                asked.ask("kms:DescribeKey", secrets.own_key(there), KeyId=secrets.own_key(there))
            if there and secrets.wanted(name, parameters):
                asked.ask("secretsmanager:GetSecretValue", found[0], read=_keys, SecretId=found[0])


def _keys(answer: Any) -> dict[str, list[str]]:
    """The keys of a secret's JSON: its value goes no further than this."""
    try:
        found = json.loads(answer["SecretString"])
    except (KeyError, ValueError):
        found = {}
    return {"keys": sorted(found) if isinstance(found, dict) else []}


def _entrance(asked: _Asked, parameters: dict[str, str]) -> None:
    if parameters.get("CertificateArn"):
        asked.ask(entrance.CERTIFICATE, CertificateArn=parameters["CertificateArn"])
    if parameters.get("HostedZoneId"):
        asked.ask(entrance.ZONE, Id=parameters["HostedZoneId"])
    if parameters.get("ListenerArn") and asked.ask(entrance.LISTENER, ListenerArns=[parameters["ListenerArn"]]):
        asked.ask(entrance.RULES, ListenerArn=parameters["ListenerArn"])


def _quotas(asked: _Asked) -> None:
    for service, quota in (quotas.PROCESSORS, quotas.BALANCERS):
        asked.ask("servicequotas:GetServiceQuota", quota, ServiceCode=service, QuotaCode=quota)
    asked.ask("elasticloadbalancing:DescribeLoadBalancers")
