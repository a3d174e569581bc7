"""The templates: valid for AWS, as narrow as they say, and the function inside is what the files beside them make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
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
    template = (FOLDER / "bootstrap.yml").read_text(encoding="utf-8")
    source = inline.source()
    assert inline.render(template, source) == template
    assert read("bootstrap.yml")["Resources"]["MigrationFunction"]["Properties"]["Code"]["ZipFile"] == source


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
    assert resources["Service"]["DependsOn"] == ["Migration", "Listener"]
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
    for name in ("Image", "User", "ReadonlyRootFilesystem", "MountPoints", "Environment", "Secrets", "LinuxParameters"):
        assert containers[0][name] == containers[1][name]
    assert containers[0]["User"] == "65532:65532"
    assert containers[0]["ReadonlyRootFilesystem"] is True
    assert containers[0]["MountPoints"] == [{"SourceVolume": "tmp", "ContainerPath": "/tmp", "ReadOnly": False}]
    assert [one["Name"] for one in containers[0]["Secrets"]] == ["DATABASE_URL", "SECRET_KEY"]


def test_what_the_function_reads_is_what_the_template_sends() -> None:
    sent = read("service.yml")["Resources"]["Migration"]["Properties"]
    source = inline.source()
    read_names = {
        name for name in ("Cluster", "TaskDefinition", "Subnets", "SecurityGroups", "AssignPublicIp", "LogGroup")
        if f'["{name}"]' in source
    }  # fmt: skip
    assert read_names <= set(sent)
    assert {"Project", "Environment", "Build", "ImageDigest", "Image", "ManifestSha", "Release"} <= set(sent)


LONGEST = {"Project": "p" * 40, "Environment": "e" * 40, "Id": "12345678-1234-1234-1234-123456789012"}
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
