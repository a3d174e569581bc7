"""service.yml with what the project's tables say: a pure function, and what AWS gets has nothing wrong in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fixtures.template import Resolved
from lastgood.config.project import Job, Process, Shape
from lastgood.deploy import template
from lastgood.deploy.template import Given
from lastgood.errors import UsageError

BASE = (Path(__file__).resolve().parents[2] / "ci/cloudformation/service.yml").read_text(encoding="utf-8")
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"
WORKER = Process("worker", ("celery", "-A", "shop", "worker"), count=2, memory=1024, stop_timeout=120)
BEAT = Process("mail-beat", ("python3", "manage.py", "beat"), single=True)
WEB = Process("web", ("gunicorn", "shop.wsgi"), port=8080, count=3, health="/ok", cpu=512)
JOBS = (Job("nightly", ("python", "manage.py", "clean"), "cron(0 3 * * ? *)", memory=2048), Job("asked", ("clean.py",)))
WHOLE = Shape(
    (WEB, WORKER, BEAT),
    JOBS,
    {"EMAIL_HOST": "mail", "DB": "{database.host}:{database.port}/{x}", "SENTRY_DSN": "own", "SITE": "{site.url}"},
    {"STRIPE_KEY": f"{SECRET}:stripe-AbCdEf:key::", "PW": "{database.password}", "SECRET_KEY": "/shop/key"},
)
RDS = {"DatabaseHost": "db", "DatabaseName": "shop"}
SHAPES = {
    "whole": (WHOLE, RDS),
    "listener": (WHOLE, {"ListenerArn": "arn:l", "Domain": "a.example"}),
    "certificate": (WHOLE, {"CertificateArn": "arn:c", "Domain": "a.example", "HostedZoneId": "Z1"}),
    "a job": (Shape(jobs=JOBS[:1]), {"TmpSize": "64"}),
    "a variable": (Shape(variables={"A": "b"}), {"CacheUrl": "redis://c"}),
    "a worker": (Shape((WORKER,)), {"TaskSecurityGroups": "sg-1"}),
}


def rendered(shape: Shape, parameters: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(template.render(BASE, shape, Given(parameters or {})))
    return found


def container(found: dict[str, Any], name: str) -> dict[str, Any]:
    one: dict[str, Any] = found["Resources"][name]["Properties"]["ContainerDefinitions"][0]
    return one


def test_a_shape_that_says_nothing_leaves_service_yml_as_it_is() -> None:
    assert template.render(BASE, Shape()) is BASE


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_cfn_lint_finds_nothing(name: str, known: bool, tmp_path: Path) -> None:
    shape, parameters = SHAPES[name]
    file = tmp_path / "template.json"
    file.write_text(template.render(BASE, shape, Given(parameters if known else {})), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--non-zero-exit-code", "informational", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_a_further_process_is_a_service_that_waits_for_the_migration_and_goes_back_by_itself() -> None:
    found = rendered(WHOLE)
    service = found["Resources"]["ProcessWorkerService"]
    assert service["DependsOn"] == "Migration"
    properties = service["Properties"]
    assert properties["ServiceName"] == {"Fn::Sub": "${Project}_${Environment}_worker"}
    assert properties["TaskDefinition"] == {"Ref": "ProcessWorkerTaskDefinition"}
    assert properties["DesiredCount"] == 2
    assert properties["DeploymentConfiguration"] == {
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
    }
    assert {"LoadBalancers", "HealthCheckGracePeriodSeconds"} & set(properties) == set()
    definition = found["Resources"]["ProcessWorkerTaskDefinition"]
    assert (definition["DeletionPolicy"], definition["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert (definition["Properties"]["Cpu"], definition["Properties"]["Memory"]) == ("256", "1024")
    worker = container(found, "ProcessWorkerTaskDefinition")
    assert (worker["Name"], worker["Command"], worker["StopTimeout"]) == (
        "worker",
        ["-m", "celery", "-A", "shop", "worker"],
        120,
    )
    assert "PortMappings" not in worker
    assert worker["LogConfiguration"]["Options"]["awslogs-stream-prefix"] == "worker"
    # What keeps the web's tasks safe keeps these.
    for name in ("Image", "User", "ReadonlyRootFilesystem", "LinuxParameters", "MountPoints"):
        assert worker[name] == container(found, "TaskDefinition")[name]
    assert found["Outputs"]["Processes"] == {"Value": "worker,mail-beat"}


def test_a_single_one_is_stopped_before_the_next_one_starts() -> None:
    properties = rendered(WHOLE)["Resources"]["ProcessMailBeatService"]["Properties"]
    assert properties["DesiredCount"] == 1
    assert properties["DeploymentConfiguration"] == {
        "MinimumHealthyPercent": 0,
        "MaximumPercent": 100,
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
    }


def test_web_as_the_tables_say() -> None:
    found = rendered(WHOLE)
    web = container(found, "TaskDefinition")
    assert (web["Name"], web["Command"], web["PortMappings"]) == (
        "web",
        ["-m", "gunicorn", "shop.wsgi"],
        [{"ContainerPort": 8080, "Protocol": "tcp"}],
    )
    assert {"Name": "PORT", "Value": "8080"} in web["Environment"]
    target = found["Resources"]["TargetGroup"]["Properties"]
    assert (target["Port"], target["HealthCheckPath"]) == (8080, "/ok")
    service = found["Resources"]["Service"]["Properties"]
    assert (service["DesiredCount"], service["LoadBalancers"][0]["ContainerPort"]) == (3, 8080)
    properties = found["Resources"]["TaskDefinition"]["Properties"]
    assert (properties["Cpu"], properties["Memory"]) == ("512", "1024")
    # The release task's size is the environment's.
    assert found["Resources"]["ReleaseTaskDefinition"]["Properties"]["Cpu"] == {"Ref": "Cpu"}


def test_jobs_share_a_task_definition_and_follow_the_release() -> None:
    found = rendered(WHOLE)
    schedules = [name for name, one in found["Resources"].items() if one["Type"] == "AWS::Scheduler::Schedule"]
    assert schedules == ["JobNightlySchedule"]
    schedule = found["Resources"]["JobNightlySchedule"]
    assert schedule["DependsOn"] == "Migration"
    properties = schedule["Properties"]
    assert (properties["Name"], properties["GroupName"]) == ("nightly", {"Ref": "ScheduleGroup"})
    target = properties["Target"]
    assert target["EcsParameters"]["TaskDefinitionArn"] == {"Ref": "JobTaskDefinition"}
    assert target["RoleArn"] == {"Ref": "ScheduleRoleArn"}
    assert json.loads(target["Input"]) == {
        "containerOverrides": [{"name": "job", "command": ["manage.py", "clean"]}],
        "cpu": "256",
        "memory": "2048",
    }
    assert {"ScheduleGroup", "ScheduleRoleArn"} <= set(found["Parameters"])
    assert found["Outputs"]["Jobs"] == {"Value": "nightly,asked"}
    assert "ScheduleGroup" not in rendered(Shape(jobs=JOBS[1:]))["Parameters"]


def test_every_task_gets_the_variables_and_secrets() -> None:
    found = Resolved(
        rendered(WHOLE, RDS),
        **{"Project": "shop", "Environment": "live", "DatabaseSecret": f"{SECRET}:rds!db-AbCdEf", **RDS},
        SecretKeySecret=f"{SECRET}:key-AbCdEf",
    )
    names = [name for name, one in found.resources.items() if one["Type"] == "AWS::ECS::TaskDefinition"]
    assert names == [
        "TaskDefinition",
        "ReleaseTaskDefinition",
        "ProcessWorkerTaskDefinition",
        "ProcessMailBeatTaskDefinition",
        "JobTaskDefinition",
    ]
    for name in names:
        one = found.resources[name]["Properties"]["ContainerDefinitions"][0]
        values = {entry["Name"]: entry["Value"] for entry in one["Environment"]}
        assert len(values) == len(one["Environment"])
        assert {key: values[key] for key in ("EMAIL_HOST", "DB", "SENTRY_DSN", "SITE")} == {
            "EMAIL_HOST": "mail",
            "DB": "db:5432/{x}",
            "SENTRY_DSN": "own",
            "SITE": "http://<['LoadBalancer', 'DNSName']>",
        }
        assert {entry["Name"]: entry["ValueFrom"] for entry in one["Secrets"]} == {
            "DATABASE_USER": f"{SECRET}:rds!db-AbCdEf:username::",
            "DATABASE_PASSWORD": f"{SECRET}:rds!db-AbCdEf:password::",
            "STRIPE_KEY": f"{SECRET}:stripe-AbCdEf:key::",
            "PW": f"{SECRET}:rds!db-AbCdEf:password::",
            "SECRET_KEY": "/shop/key",
        }


def test_ecs_may_read_what_the_tables_name() -> None:
    policy = rendered(WHOLE)["Resources"]["ExecutionRole"]["Properties"]["Policies"][0]
    by_action = {one["Action"]: one for one in policy["PolicyDocument"]["Statement"] if isinstance(one["Action"], str)}
    assert by_action["secretsmanager:GetSecretValue"]["Resource"][-1] == f"{SECRET}:stripe-AbCdEf"
    own = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/shop/key"
    assert by_action["ssm:GetParameters"]["Resource"] == [{"Fn::Sub": own}]


def test_what_stands_in_braces_on_the_one_machine_cloud() -> None:
    values = {"database.host": "postgres", "database.password": f"{SECRET}:pw-AbCdEf"}
    shape = Shape(variables={"A": "<{database.host}>"}, secrets={"B": "{database.password}", "C": "/c"})
    found = json.loads(template.render(BASE, shape, Given({}, values, {"C": f"{SECRET}:c-AbCdEf"})))
    web = container(found, "TaskDefinition")
    assert {"Name": "A", "Value": "<postgres>"} in web["Environment"]
    assert web["Secrets"][-2:] == [
        {"Name": "B", "ValueFrom": f"{SECRET}:pw-AbCdEf"},
        {"Name": "C", "ValueFrom": f"{SECRET}:c-AbCdEf"},
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("gunicorn shop.wsgi", ["-m", "gunicorn", "shop.wsgi"]),
        ("python manage.py work", ["manage.py", "work"]),
        ("/usr/bin/python3.13 -m shop", ["-m", "shop"]),
        ("manage.py work", ["manage.py", "work"]),
        ("-m shop", ["-m", "shop"]),
        ("django-admin check", ["-m", "django", "check"]),
        ("pythonic x", ["-m", "pythonic", "x"]),
    ],
)
def test_the_images_python_runs_it(command: str, words: list[str]) -> None:
    assert template.arguments(command.split()) == words


@pytest.mark.parametrize("name", ["worker", "mail-beat", "a", "a1-b2"])
def test_a_service_tells_its_process(name: str) -> None:
    assert template.process(template.service(name)) == name
    assert template.process("Service") == "web"


def test_what_parameters_decide_is_decided_and_what_nobody_names_is_gone() -> None:
    found = rendered(Shape((WORKER,)), {"TaskSecurityGroups": "sg-1"})
    text = json.dumps(found["Resources"])
    assert '"Fn::If"' not in text
    assert {"HttpsListener", "ListenerRule", "Record"} & set(found["Resources"]) == set()
    assert set(found["Conditions"]) == set(re.findall(r'"Condition": "(\w+)"', text))
    assert "Url" in found["Outputs"]


def test_a_template_that_is_too_long_is_refused() -> None:
    shape = Shape((WORKER,), variables={f"VARIABLE_{number}": "x" * 200 for number in range(70)})
    with pytest.raises(UsageError) as caught:
        template.render(BASE, shape)
    assert re.fullmatch(
        r"the template of these processes, jobs, variables and secrets has [\d,]+ bytes, and CloudFormation takes 51,200: move "
        r"variables that are long or many into the settings, or into one secret's JSON",
        str(caught.value),
    )


def test_eight_services_and_ten_jobs_with_twenty_variables_fit() -> None:
    processes = tuple(
        Process(f"worker{letter}", ("celery", "-A", "shop", "worker", "-Q", letter)) for letter in "abcdefgh"
    )
    jobs = tuple(Job(f"job{letter}", ("manage.py", "work", letter), "rate(1 hour)") for letter in "abcdefghij")
    shape = Shape(processes, jobs, {f"VARIABLE_{number}": "x" * 20 for number in range(20)})
    assert len(template.render(BASE, shape)) <= template.LARGEST
