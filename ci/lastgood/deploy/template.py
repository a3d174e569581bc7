"""The environment's template: service.yml with the processes, jobs, variables and secrets of the project's tables. A pure function.

A shape that says nothing leaves service.yml as it is, to the letter. Anything else becomes JSON, as small as it goes: CloudFormation takes
51,200 bytes in a call. So what the parameters decide is decided here (pruned.py), and what people read of them is in service.yml.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lastgood.config.project import WEB, Job, Process, Shape
from lastgood.config.sizes import size
from lastgood.deploy import pruned
from lastgood.errors import UsageError

LARGEST = 51_200  # bytes
PORT = 8000
DECIDED = ("ScheduleGroup", "ScheduleRoleArn")  # outputs of the access stack, which only jobs with a schedule need
# Outputs of a rendered template.
PROCESSES, JOBS, SHAPE = "Processes", "Jobs", "Shape"
JOB = "job"  # the container of jobs, and what their log streams begin with
_BRACES = re.compile(r"\{([a-z.-]+)\}")
_PYTHON = re.compile(r"(.*/)?python(3(\.\d+)?)?")
_NOTHING = {"Ref": "AWS::NoValue"}
_HANDED: Mapping[str, Any] = {
    "database.url": {"Ref": "DatabaseSecret"},
    "database.user": {"Fn::Sub": "${DatabaseSecret}:username::"},
    "database.password": {"Fn::Sub": "${DatabaseSecret}:password::"},
    "secret-key": {"Ref": "SecretKeySecret"},
}


@dataclass(frozen=True)
class Given:
    """What the place decides.

    `parameters` are service.yml's, as far as they are known; `values` what braces stand for where the stack itself does not know it (the
    one-machine cloud's database); `places` the secrets' places by variable, where they are others than the tables say.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


def render(template: str, shape: Shape, given: Given | None = None) -> str:
    """service.yml with what a shape says. Raises UsageError where CloudFormation could not take it."""
    given = given or Given()
    if shape == Shape():
        return template
    document = read(template)
    document.pop("Metadata")
    for parameter in (*document["Parameters"].values(), *document["Outputs"].values()):
        del parameter["Description"]
    pruned.decide(document, given.parameters)
    resources = document["Resources"]
    _hand_over(document, shape, given)
    further = [one for one in shape.processes if one.name != WEB]
    plain = copy.deepcopy({name: resources[name] for name in ("TaskDefinition", "Service")})
    for process in shape.processes:
        if process.name == WEB:
            _web(resources, process)
        else:
            _process(resources, plain, process)
    if shape.jobs:
        _jobs(document, plain, shape.jobs)
    outputs = document["Outputs"]
    for name, names in ((PROCESSES, [one.name for one in further]), (JOBS, [one.name for one in shape.jobs])):
        if names:
            outputs[name] = {"Value": ",".join(names)}
    outputs[SHAPE] = {"Value": mark(shape.text())}
    pruned.unused(document)
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > LARGEST:
        raise UsageError(
            f"the template of these processes, jobs, variables and secrets has {len(text):,} bytes, and "
            f"CloudFormation takes {LARGEST:,}: move variables that are long or many into the settings, or into one secret's JSON"
        )
    return text


def read(template: str) -> dict[str, Any]:
    """A template in YAML as JSON has it, with CloudFormation's functions by their long names."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML with CloudFormation's short forms."""

    def short(loader: Any, suffix: str, node: Any) -> Any:
        name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
            return {name: value.split(".", 1) if suffix == "GetAtt" else value}
        if isinstance(node, yaml.SequenceNode):
            return {name: loader.construct_sequence(node, deep=True)}
        return {name: loader.construct_mapping(node, deep=True)}

    Loader.add_multi_constructor("!", short)
    found: dict[str, Any] = yaml.load(template, Loader)  # noqa: S506  # a SafeLoader
    return found


def mark(shape: str) -> str:
    """What tells one shape, as the record has it, from another; empty for one that says nothing. An output of the stack has it."""
    return hashlib.sha256(shape.encode()).hexdigest()[:16] if shape else ""


def arguments(command: Sequence[str]) -> list[str]:
    """What the image's Python is given to run a command: it is the entry point, and images hold no programs but it."""
    first, *rest = command
    if _PYTHON.fullmatch(first):
        return rest
    if first.startswith("-") or first.endswith(".py"):
        return list(command)
    return ["-m", "django" if first == "django-admin" else first, *rest]


def logical(name: str) -> str:
    """What a process or a job is called in the names of its resources: `mail-worker` is MailWorker."""
    return "".join(part.capitalize() for part in name.split("-"))


def service(name: str) -> str:
    """The resource that is the service of a process beside web."""
    return f"Process{logical(name)}Service"


def process(resource: str) -> str:
    """The process whose service a resource is."""
    found = re.fullmatch(r"Process(\w+)Service", resource)
    return "-".join(re.findall(r"[A-Z][a-z0-9]*", found[1])).lower() if found else WEB


def overrides(job: Job) -> dict[str, Any]:
    """What a run of a job has otherwise than the task definition that all jobs share, as ECS takes it."""
    found: dict[str, Any] = {"containerOverrides": [{"name": JOB, "command": arguments(job.command)}]}
    sized = size(job.cpu, job.memory)
    return found | (dict(zip(("cpu", "memory"), map(str, sized), strict=True)) if sized else {})


def secret_arns(places: Mapping[str, str]) -> list[str]:
    """The secrets of Secrets Manager, without what ECS takes behind them."""
    return sorted({":".join(one.split(":")[:7]) for one in places.values() if ":secretsmanager:" in one})


def parameter_names(places: Mapping[str, str]) -> list[str]:
    """The parameters of Systems Manager, by ARN or by name, as the tables have them."""
    return sorted({one for one in places.values() if one.startswith("/") or ":ssm:" in one})


def _hand_over(document: dict[str, Any], shape: Shape, given: Given) -> None:
    """Variables and secrets, to every task; and the right to read them, to ECS."""
    resources, outputs = document["Resources"], document["Outputs"]
    url = outputs["Url"]["Value"]
    known = {
        "database.host": {"Ref": "DatabaseHost"},
        "database.port": {"Ref": "DatabasePort"},
        "database.name": {"Ref": "DatabaseName"},
        "site.url": url,
        "site.host": url["Fn::Sub"][1]["Host"],
    } | dict(given.values)
    places = {name: given.places.get(name, place) for name, place in shape.secrets.items()}
    named = {*shape.variables, *places}
    for resource in ("TaskDefinition", "ReleaseTaskDefinition"):
        container = resources[resource]["Properties"]["ContainerDefinitions"][0]
        for key in ("Environment", "Secrets"):
            container[key] = [one for one in container[key] if _name(one) not in named]
        container["Environment"] += [
            {"Name": name, "Value": _filled(value, known)} for name, value in shape.variables.items()
        ]
        container["Secrets"] += [
            {"Name": name, "ValueFrom": _filled(place, {**_HANDED, **given.values})} for name, place in places.items()
        ]
    statements = resources["ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    readable = next(one for one in statements if one["Action"] == "secretsmanager:GetSecretValue")
    readable["Resource"] += secret_arns(places)
    if parameter_names(places):
        statements += _parameters(parameter_names(places))


def _parameters(names: Sequence[str]) -> list[dict[str, Any]]:
    own = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter"
    arns = [{"Fn::Sub": f"{own}{name}"} if name.startswith("/") else name for name in names]
    via = {"StringEquals": {"kms:ViaService": {"Fn::Sub": "ssm.${AWS::Region}.amazonaws.com"}}}
    return [
        {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": arns},
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", "Condition": via},
    ]


def _name(entry: Mapping[str, Any]) -> str:
    """The variable that an entry of a container sets, also where it does so under a condition."""
    if "Name" in entry:
        return str(entry["Name"])
    return next((_name(one) for one in entry["Fn::If"][1:] if one != _NOTHING), "")


def _filled(text: str, known: Mapping[str, Any]) -> Any:
    """A text with what stands for its braces; those that are nothing of ours stay as they are."""
    parts = list(_parts(text, known))
    if all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return parts[0] if len(parts) == 1 else {"Fn::Join": ["", parts]}


def _parts(text: str, known: Mapping[str, Any]) -> Iterator[Any]:
    at = 0
    for found in _BRACES.finditer(text):
        if found[1] in known:
            if found.start() > at:
                yield text[at : found.start()]
            yield copy.deepcopy(known[found[1]])
            at = found.end()
    if at < len(text):
        yield text[at:]


def _web(resources: dict[str, Any], process: Process) -> None:
    """The process behind the load balancer."""
    definition, service = resources["TaskDefinition"]["Properties"], resources["Service"]["Properties"]
    container = definition["ContainerDefinitions"][0]
    port = process.port or PORT
    container["PortMappings"] = [{"ContainerPort": port, "Protocol": "tcp"}]
    container["Environment"] = [one for one in container["Environment"] if _name(one) != "PORT"]
    container["Environment"].append(
        {"Name": "PORT", "Value": str(port)}
    )  # by which gunicorn and others listen on all addresses
    service["LoadBalancers"][0]["ContainerPort"] = port
    target = resources["TargetGroup"]["Properties"]
    target["Port"] = port
    if process.health:
        target["HealthCheckPath"] = process.health
    _sized(definition, process)
    _run(container, process)
    if process.count is not None:
        service["DesiredCount"] = process.count


def _process(resources: dict[str, Any], plain: Mapping[str, Any], process: Process) -> None:
    """A task definition and a service without a load balancer."""
    prefix = f"Process{logical(process.name)}"
    definition = _definition(plain, process.name)
    container = definition["Properties"]["ContainerDefinitions"][0]
    _sized(definition["Properties"], process)
    _run(container, process)
    made = copy.deepcopy(plain["Service"])
    del made["Metadata"]
    own = made["Properties"]
    del own["LoadBalancers"], own["HealthCheckGracePeriodSeconds"]
    own["ServiceName"] = {"Fn::Sub": f"${{Project}}_${{Environment}}_{process.name}"}
    own["TaskDefinition"] = {"Ref": f"{prefix}TaskDefinition"}
    own["DesiredCount"] = 1 if process.count is None else process.count
    if process.single:
        own["DeploymentConfiguration"] |= {"MinimumHealthyPercent": 0, "MaximumPercent": 100}
    resources |= {f"{prefix}TaskDefinition": definition, service(process.name): made}


def _definition(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The task definition of the web process, for another container."""
    definition: dict[str, Any] = copy.deepcopy(plain["TaskDefinition"])
    definition["Properties"]["Family"] = {"Fn::Sub": f"${{Project}}_${{Environment}}_{name}"}
    container = definition["Properties"]["ContainerDefinitions"][0]
    container["Name"] = name
    del container["PortMappings"]
    container["LogConfiguration"]["Options"]["awslogs-stream-prefix"] = name
    return definition


def _sized(definition: dict[str, Any], one: Process) -> None:
    found = size(one.cpu, one.memory)
    if found:
        definition["Cpu"], definition["Memory"] = map(str, found)


def _run(container: dict[str, Any], process: Process) -> None:
    container["StopTimeout"] = process.stop_timeout
    if process.command is not None:
        container["Command"] = arguments(process.command)


def _jobs(document: dict[str, Any], plain: Mapping[str, Any], jobs: Sequence[Job]) -> None:
    """One task definition for all jobs, of which each run says its command; and a schedule for each that has one."""
    resources = document["Resources"]
    resources["JobTaskDefinition"] = _definition(plain, JOB)
    document["Outputs"]["JobTaskDefinition"] = {"Value": {"Ref": "JobTaskDefinition"}}
    scheduled = [job for job in jobs if job.schedule is not None]
    if scheduled:
        document["Parameters"] |= {name: {"Type": "String"} for name in DECIDED}
    for job in scheduled:
        resources[f"Job{logical(job.name)}Schedule"] = {
            "Type": "AWS::Scheduler::Schedule",
            "DependsOn": "Migration",
            "Properties": {
                "Name": job.name,
                "GroupName": {"Ref": "ScheduleGroup"},
                "ScheduleExpression": job.schedule,
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": {"Fn::GetAtt": ["Cluster", "Arn"]},
                    "RoleArn": {"Ref": "ScheduleRoleArn"},
                    "Input": json.dumps(overrides(job), separators=(",", ":")),
                    "EcsParameters": {
                        "TaskDefinitionArn": {"Ref": "JobTaskDefinition"},
                        "LaunchType": "FARGATE",
                        "NetworkConfiguration": copy.deepcopy(plain["Service"]["Properties"]["NetworkConfiguration"]),
                    },
                    # What could not be started within the hour is not started: the next run comes by the schedule.
                    "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 20},
                },
            },
        }
