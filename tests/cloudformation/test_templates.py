"""The templates: valid for AWS, as narrow as they say, and the function inside is what the files beside them make."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.template import Resolved
from lastgood.deploy import inline

FOLDER = Path(__file__).resolve().parents[2] / "ci" / "cloudformation"
NAMES = ("bootstrap.yml", "environment.yml", "service.yml")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, as {"Ref": …} and {"Fn::Sub": …}."""


def _short(loader: Any, suffix: str, node: Any) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short)


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((FOLDER / name).read_text(encoding="utf-8"), _Loader)  # noqa: S506
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--non-zero-exit-code", "informational", str(FOLDER / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_tasks_run_on_the_processors_that_the_environment_names() -> None:
    template = read("service.yml")
    parameter = template["Parameters"]["Architecture"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("X86_64", ["X86_64", "ARM64"])
    for name in ("TaskDefinition", "ReleaseTaskDefinition"):
        assert template["Resources"][name]["Properties"]["RuntimePlatform"] == {
            "CpuArchitecture": {"Ref": "Architecture"},
            "OperatingSystemFamily": "LINUX",
        }


def test_the_function_inside_is_what_the_files_make() -> None:
    """By its meaning: another Python writes some of it in other letters."""
    inside = inline.embedded((FOLDER / "bootstrap.yml").read_text(encoding="utf-8"))
    assert ast.dump(ast.parse(inside)) == ast.dump(ast.parse(inline.source()))
    assert read("bootstrap.yml")["Resources"]["MigrationFunction"]["Properties"]["Code"]["ZipFile"] == inside


def test_a_template_without_its_place() -> None:
    with pytest.raises(ValueError, match=r"^bootstrap.yml has no `ZipFile: \|` block: restore it"):
        inline.render("Resources: {}\n", "pass\n")


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_sent_without_a_bucket_and_keeps_its_letters(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert text.isascii()  # CloudFormation turns other letters into question marks
    assert len(text) <= 51_200


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_explained_and_shown_in_a_group(name: str) -> None:
    template = read(name)
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [parameter for group in groups for parameter in group["Parameters"]]
    assert sorted(shown) == sorted(template["Parameters"])
    assert [key for key, value in template["Parameters"].items() if not value.get("Description")] == []
    assert [key for key, value in template["Outputs"].items() if not value.get("Description")] == []


def test_no_image_with_a_tag_expires() -> None:
    repository = read("bootstrap.yml")["Resources"]["Repository"]
    rules = json.loads(repository["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"]
    assert repository["Properties"]["ImageTagMutability"] == "IMMUTABLE"


def test_images_and_record_outlive_their_stack() -> None:
    resources = read("bootstrap.yml")["Resources"]
    for name in ("Repository", "ReleaseRecord"):
        assert (resources[name]["DeletionPolicy"], resources[name]["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_function_hears_of_release_tasks_of_its_project_alone() -> None:
    pattern = read("bootstrap.yml")["Resources"]["ReleaseTaskEnded"]["Properties"]["EventPattern"]
    assert pattern == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {"lastStatus": ["STOPPED"], "group": [{"Fn::Sub": "lastgood-${Project}"}]},
    }


def test_the_service_waits_for_the_migration_and_goes_back_by_itself() -> None:
    resources = read("service.yml")["Resources"]
    assert resources["Service"]["DependsOn"] == "Migration"
    configuration = resources["Service"]["Properties"]["DeploymentConfiguration"]
    assert configuration == {
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
    }


def test_both_tasks_run_one_image_and_may_write_nowhere_but_in_tmp() -> None:
    resources = read("service.yml")["Resources"]
    containers = [
        resources[name]["Properties"]["ContainerDefinitions"][0] for name in ("TaskDefinition", "ReleaseTaskDefinition")
    ]
    for name in ("Image", "User", "ReadonlyRootFilesystem", "MountPoints", "Environment", "LinuxParameters"):
        assert containers[0][name] == containers[1][name]
    more = [one for one in containers[1]["Secrets"] if one not in containers[0]["Secrets"]]
    own = {"Name": "MIGRATION_DATABASE_URL", "ValueFrom": {"Ref": "MigrationDatabaseSecret"}}
    assert more == [{"Fn::If": ["HasMigrationDatabase", own, {"Ref": "AWS::NoValue"}]}]
    assert containers[0]["User"] == "65532:65532"
    assert containers[0]["ReadonlyRootFilesystem"] is True


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for policy in role["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]


def access(**parameters: str) -> Resolved:
    given = {"Project": "board", "Environment": "staging", "StackName": "board-staging", "VpcId": "vpc-1"}
    return Resolved(read("environment.yml"), **given | parameters)


def web(**parameters: str) -> dict[str, Any]:
    """The container of the service's tasks."""
    found: dict[str, Any] = service(**parameters).resources["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    return found


def service(**parameters: str) -> Resolved:
    given = {
        "Project": "board",
        "Environment": "staging",
        "DatabaseSecret": f"{SECRET}:db-AbCdEf",
        "SecretKeySecret": f"{SECRET}:key-AbCdEf",
    }
    return Resolved(read("service.yml"), **given | parameters)


def test_tmp_is_on_the_disk_or_in_memory() -> None:
    on_disk, in_memory = web(), web(TmpSize="64")
    assert on_disk["MountPoints"] == [{"SourceVolume": "tmp", "ContainerPath": "/tmp", "ReadOnly": False}]
    assert "Tmpfs" not in on_disk["LinuxParameters"]
    assert "MountPoints" not in in_memory
    # Size is in MiB; the mode is said, for an image whose own /tmp is root's alone.
    assert in_memory["LinuxParameters"]["Tmpfs"] == [
        {"ContainerPath": "/tmp", "Size": "64", "MountOptions": ["mode=1777"]}
    ]


def test_the_log_outlives_a_creation_that_failed_and_is_not_in_the_next_ones_way() -> None:
    group = service().resources["LogGroup"]
    assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert group["Properties"]["LogGroupName"] == "/lastgood/board/staging/0a1b2c3d-1"


def test_no_database_is_asked_before_it_lets_the_tasks_in() -> None:
    """The access stack is there before the first deploy, and lets the group in that it makes itself."""
    assert "DatabaseIngress" not in access().resources
    ordered = access(DatabaseSecurityGroup="sg-0a1b2c3d", DatabasePort="5433")
    assert ordered.resources["DatabaseIngress"]["Properties"] == {
        "GroupId": "sg-0a1b2c3d",
        "IpProtocol": "tcp",
        "FromPort": "5433",
        "ToPort": "5433",
        "SourceSecurityGroupId": "<TaskSecurityGroup.GroupId>",
        "Description": "Tasks of board staging",
    }
    assert "AWS::EC2::SecurityGroup" not in {one["Type"] for one in service().resources.values()}


CERTIFICATE = {"CertificateArn": "arn:c", "Domain": "board.example.com"}
LISTENER = {"ListenerArn": "arn:l", "Domain": "board.example.com"}


@pytest.mark.parametrize(
    ("parameters", "waits", "url"),
    [
        ({}, "Listener", "http://<LoadBalancer.DNSName>"),
        ({"Domain": "board.example.com"}, "Listener", "http://board.example.com"),
        (CERTIFICATE, "HttpsListener", "https://board.example.com"),
        (CERTIFICATE | {"HostedZoneId": "Z1"}, "HttpsListener", "https://board.example.com"),
        (LISTENER, "ListenerRule", "https://board.example.com"),
    ],
)
def test_the_service_waits_for_what_leads_to_it(parameters: dict[str, str], waits: str, url: str) -> None:
    found = service(**parameters)
    assert found.broken() == []
    assert found.after("Service") & {"Listener", "HttpsListener", "ListenerRule"} == {waits}
    assert found.outputs["Url"] == url
    assert ("Record" in found.resources) == ("HostedZoneId" in parameters)
    made = {"LoadBalancer", "Listener"} & set(found.resources)
    assert len(made) == (0 if "ListenerArn" in parameters else 2)
    unknown = set(re.findall(r"<(\w+)", repr([found.resources, found.outputs]))) - set(found.resources)
    assert unknown == set(), "nothing refers to what is not made"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"CertificateArn": "arn:c"}, ["A certificate covers a domain of yours, never the load balancer's own name - set Domain"]),
        ({"HostedZoneId": "Z1"}, ["HostedZoneId is where Domain is pointed at the load balancer - set Domain"]),
        (
            LISTENER | {"HostedZoneId": "Z1"},
            ["The load balancer is not this stack's - point the domain at it yourself and leave HostedZoneId empty"],
        ),
        ({"DatabaseHost": "db"}, ["With DatabaseHost the database's name is not in the secret - set DatabaseName"]),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_made(
    parameters: dict[str, str], said: list[str]
) -> None:
    assert service(**parameters).broken() == said


@pytest.mark.parametrize(
    ("parameters", "source"),
    [
        ({}, "<LoadBalancerSecurityGroup.GroupId>"),
        ({"ListenerArn": "arn:l", "ListenerSecurityGroup": "sg-0a1b2c3d"}, "sg-0a1b2c3d"),
    ],
)
def test_the_tasks_let_in_their_load_balancer_alone(parameters: dict[str, str], source: str) -> None:
    (ingress,) = access(**parameters).resources["TaskSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert ingress["SourceSecurityGroupId"] == source


def test_what_an_administrator_must_say_together() -> None:
    assert access(ListenerArn="arn:l", HostedZoneId="Z1", GitHubProviderArn="arn:p").broken() == [
        "GitHubRepositoryId is needed with GitHubProviderArn",
        "GitHubEnvironment is needed with GitHubProviderArn",
        "The tasks let nobody in but the load balancer - set ListenerSecurityGroup to its security group",
        "HostedZoneId is where Domain is pointed at the load balancer - set Domain",
    ]


SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"


def readable(found: Resolved) -> list[str]:
    """The secrets that ECS may read to start a task."""
    (one,) = [
        one for one in statements(found.resources["ExecutionRole"]) if one["Action"] == "secretsmanager:GetSecretValue"
    ]
    return list(one["Resource"])


def test_a_key_of_a_secret_is_ecs_business_and_the_secret_iams() -> None:
    parameters = {"DatabaseSecret": f"{SECRET}:board/staging-AbCdEf:url::", "CacheUrlSecret": f"{SECRET}:cache-AbCdEf"}
    assert web(**parameters)["Secrets"] == [
        {"Name": "DATABASE_URL", "ValueFrom": f"{SECRET}:board/staging-AbCdEf:url::"},
        {"Name": "SECRET_KEY", "ValueFrom": f"{SECRET}:key-AbCdEf"},
        {"Name": "CACHE_URL", "ValueFrom": f"{SECRET}:cache-AbCdEf"},
    ]
    assert readable(service(**parameters)) == [
        f"{SECRET}:board/staging-AbCdEf",
        f"{SECRET}:key-AbCdEf",
        f"{SECRET}:cache-AbCdEf",
    ]
    assert readable(service()) == [f"{SECRET}:db-AbCdEf", f"{SECRET}:key-AbCdEf"]


def test_an_address_for_migrations_is_the_release_tasks_alone() -> None:
    parameters = {"MigrationDatabaseSecret": f"{SECRET}:owner-AbCdEf:url::"}
    found = service(**parameters).resources
    release = found["ReleaseTaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    own = {"Name": "MIGRATION_DATABASE_URL", "ValueFrom": f"{SECRET}:owner-AbCdEf:url::"}
    assert [one for one in release["Secrets"] if one not in web()["Secrets"]] == [own]
    holders = [name for name, one in found.items() if "owner-AbCdEf" in json.dumps(one)]
    assert sorted(holders) == ["ExecutionRole", "ReleaseTaskDefinition"]
    assert readable(service(**parameters)) == [f"{SECRET}:db-AbCdEf", f"{SECRET}:key-AbCdEf", f"{SECRET}:owner-AbCdEf"]


def test_a_secret_that_rds_keeps() -> None:
    rds = f"{SECRET}:rds!db-0a1b-AbCdEf"
    parameters = {"DatabaseSecret": rds, "DatabaseHost": "db.example", "DatabaseName": "board"}
    container = web(**parameters)
    assert container["Secrets"][:2] == [
        {"Name": "DATABASE_USER", "ValueFrom": f"{rds}:username::"},
        {"Name": "DATABASE_PASSWORD", "ValueFrom": f"{rds}:password::"},
    ]
    assert [one for one in container["Environment"] if one["Name"].startswith("DATABASE_")] == [
        {"Name": "DATABASE_HOST", "Value": "db.example"},
        {"Name": "DATABASE_PORT", "Value": "5432"},
        {"Name": "DATABASE_NAME", "Value": "board"},
    ]
    assert readable(service(**parameters))[0] == rds


def test_whatever_key_encrypts_them_opens_secrets_alone() -> None:
    (one,) = [one for one in statements(service().resources["ExecutionRole"]) if "kms:Decrypt" in one["Action"]]
    assert one["Condition"] == {"StringEquals": {"kms:ViaService": "secretsmanager.eu-central-1.amazonaws.com"}}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("DatabaseSecret", [f"{SECRET}:a/b-AbCdEf", f"{SECRET}:a-AbCdEf:key::", f"{SECRET}:rds!cluster-1-AbCdEf"],
         ["", "a/b", f"{SECRET}:a", f"{SECRET}:a-AbCdEf:key", "postgresql://u:p@h/d"]),
        ("MigrationDatabaseSecret", ["", f"{SECRET}:a-AbCdEf:key::"], ["a/b", "postgresql://u:p@h/d"]),
        ("CacheUrlSecret", ["", f"{SECRET}:a-AbCdEf"], ["redis://h/0"]),
        ("CacheUrl", ["", "redis://cache.internal:6379/0"], ["redis://:hunter2@cache/0", "rediss://user@cache/0"]),
        ("Domain", ["", "board.example.com"], ["https://board.example.com", "board", "board.example.com/x"]),
    ],
)  # fmt: skip
def test_what_a_parameter_takes(name: str, good: list[str], bad: list[str]) -> None:
    pattern = read("service.yml")["Parameters"][name]["AllowedPattern"]
    assert [one for one in good if not re.fullmatch(pattern, one)] == []
    assert [one for one in bad if re.fullmatch(pattern, one)] == []


def test_the_load_balancer_asks_what_knows_nothing_of_the_database() -> None:
    assert service().resources["TargetGroup"]["Properties"]["HealthCheckPath"] == "/livez"


def test_what_the_function_reads_is_what_the_template_sends() -> None:
    sent = read("service.yml")["Resources"]["Migration"]["Properties"]
    source = inline.source()
    read_names = {
        name for name in ("Cluster", "TaskDefinition", "Subnets", "SecurityGroups", "AssignPublicIp", "LogGroup")
        if f'["{name}"]' in source
    }  # fmt: skip
    assert read_names <= set(sent)
    assert {"Project", "Environment", "Build", "ImageDigest", "Image", "ManifestSha", "Release"} <= set(sent)


LONGEST = {
    "Project": "p" * 40,
    "Environment": "e" * 40,
    "StackName": "s" * 128,
    "Id": "12345678-1234-1234-1234-123456789012",
}
LIMITS = {  # what AWS takes, in characters
    ("AWS::ECR::Repository", "RepositoryName"): 256,
    ("AWS::DynamoDB::Table", "TableName"): 255,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::Events::Rule", "Name"): 64,
    ("AWS::IAM::Role", "RoleName"): 64,
    ("AWS::IAM::Role", "Path"): 512,
    ("AWS::IAM::Role", "Description"): 1000,
    ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"): 128,
    ("AWS::IAM::ManagedPolicy", "Path"): 512,
    ("AWS::IAM::ManagedPolicy", "Description"): 1000,
    ("AWS::ECS::Cluster", "ClusterName"): 255,
    ("AWS::ECS::Service", "ServiceName"): 255,
    ("AWS::ECS::TaskDefinition", "Family"): 255,
    ("AWS::EC2::SecurityGroup", "GroupName"): 255,
    ("AWS::EC2::SecurityGroup", "GroupDescription"): 255,
    ("AWS::EC2::SecurityGroupIngress", "Description"): 255,
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"): 32,
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"): 32,
    ("AWS::SecretsManager::Secret", "Name"): 512,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::SNS::Topic", "TopicName"): 256,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::SSM::Parameter", "Name"): 1011,
}


def named(name: str) -> list[tuple[str, str, str]]:
    """What a template derives from the project's and the environment's name: resource, property, and the text for the longest names."""
    found = []
    for logical, resource in read(name)["Resources"].items():
        for key, value in resource.get("Properties", {}).items():
            if isinstance(value, dict) and value.keys() & {"Fn::Sub", "Ref"}:
                text = value.get("Fn::Sub") or "${" + value["Ref"] + "}"
                text = text[0] if isinstance(text, list) else text
                if key.endswith(("Name", "Family", "Description", "Path")) and re.search(
                    r"\$\{(Project|Environment)\}", text
                ):
                    whole = re.sub(r"\$\{(\w+)\}", lambda found: LONGEST[found[1]], text)
                    found.append((logical, f"{resource['Type']} {key}", whole))
    return found


@pytest.mark.parametrize(
    ("logical", "what", "text"), [one for name in NAMES for one in named(name)], ids=lambda value: str(value)[:40]
)
def test_the_longest_names_are_short_enough_for_aws(logical: str, what: str, text: str) -> None:
    kind, key = what.split()
    if (kind, key) == ("AWS::Lambda::Permission", "FunctionName"):
        return
    assert (kind, key) in LIMITS, f"{logical}: look up how long a {key} of {kind} may be, and write it down in LIMITS"
    assert len(text) <= LIMITS[kind, key], f"{logical}: {text} has {len(text)} characters"


def test_the_longest_names_are_those_that_the_configuration_takes() -> None:
    for name in NAMES:
        for parameter in ("Project", "Environment"):
            pattern = read(name)["Parameters"].get(parameter, {}).get("AllowedPattern")
            if pattern:
                assert re.fullmatch(pattern, LONGEST[parameter])
                assert not re.fullmatch(pattern, LONGEST[parameter] + "x")


def test_the_log_outlives_the_stack_and_is_not_in_the_way_of_the_next() -> None:
    group = read("service.yml")["Resources"]["LogGroup"]
    assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("Retain", "Retain")
    identity = {"Id": {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}}
    assert group["Properties"]["LogGroupName"] == {"Fn::Sub": ["/lastgood/${Project}/${Environment}/${Id}", identity]}


def test_the_release_tasks_log_drops_no_line() -> None:
    """Since 2025-06 ECS drops lines where a buffer is full, and the last line is the task's result."""
    container = read("service.yml")["Resources"]["ReleaseTaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    assert container["LogConfiguration"]["Options"]["mode"] == "blocking"


def test_the_answers_addresses_are_the_functions_alone() -> None:
    resources = read("bootstrap.yml")["Resources"]
    own = {"Fn::GetAtt": "OpenOperations.Arn"}
    using = [one["Sid"] for one in statements(resources["MigrationRole"]) if one["Resource"] == own]
    assert using == ["OpenOperations"]
    for name in ("bootstrap.yml", "environment.yml", "service.yml"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert text.count("OpenOperations.Arn") == (1 if name == "bootstrap.yml" else 0)
        assert text.count("${Project}-open") == (1 if name == "bootstrap.yml" else 0)
        assert "table/*" not in text
        assert "lastgood-${Project}*" not in text


def test_the_function_looks_every_minute() -> None:
    resources = read("bootstrap.yml")["Resources"]
    assert resources["EveryMinute"]["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    assert resources["EveryMinutePermission"]["Properties"]["SourceArn"] == {"Fn::GetAtt": "EveryMinute.Arn"}
