"""What is asked of AWS: only what reads, as botocore knows the operations, and a secret's value stays where it is."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoRegionError
from botocore.model import StringShape
from botocore.validate import ParamValidator
from lastgood.aws.errors import explained
from lastgood.aws.session import Session
from lastgood.config.project import Environment
from lastgood.preflight import ask, examine
from lastgood.preflight.line import Refusal
from preflight.conftest import ANSWERS, DATABASE, PARAMETERS, REGION, SECRET_KEY, WRITTEN

BEHIND = ("StackName", "RoleName", "SecretId", "QuotaCode")
SUMMARY = {
    "Parameters": [
        {"ParameterKey": "Cpu", "DefaultValue": "512"},
        {"ParameterKey": "DesiredCount", "DefaultValue": "2"},
    ]
}


@functools.cache
def _client(service: str) -> Any:
    """Clients take a while to make: one for all tests."""
    return boto3.Session("test", "test", region_name=REGION).client(service)  # type: ignore[call-overload]


class Aws:
    """Answers of AWS to real clients: the request is checked by the service's model before it comes here, the answer before it goes."""

    def __init__(self, request: pytest.FixtureRequest, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self._undo: list[Callable[[], None]] = []
        request.addfinalizer(self.close)

    def session(self, **parameters: str) -> Session:
        made = Session("board", Environment("staging", "board-staging", REGION, parameters=PARAMETERS | parameters))
        made.__dict__["_boto"] = self  # in place of the cached property
        return made

    def client(self, service: str, **_: Any) -> Any:
        found = _client(service)
        found.meta.events.register("before-call", self._call, unique_id="aws")
        self._undo.append(lambda: found.meta.events.unregister("before-call", unique_id="aws"))
        return found

    def close(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _call(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        service = {"elastic-load-balancing-v2": "elasticloadbalancing", "service-quotas": "servicequotas"}
        place = service.get(model.service_model.service_id.hyphenize(), model.service_model.service_id.hyphenize())
        place = place.replace("secrets-manager", "secretsmanager").replace("route-53", "route53")
        name = f"{place}:{model.name}"
        sent = params["body"] if isinstance(params["body"], dict) else json.loads(params["body"] or "{}")
        behind = next((str(sent[key]) for key in BEHIND if key in sent), "")
        self.asked.append(f"{name} {behind}".strip())
        answer = self.answers.get(f"{name} {behind}".strip(), self.answers.get(name))
        if answer is None or isinstance(answer, Refusal):
            refused = answer or Refusal("AccessDenied", f"not authorized to perform: {name}")
            return _Http(400), {"Error": {"Code": refused.code, "Message": refused.message}, "ResponseMetadata": {}}
        shape = model.output_shape
        assert not isinstance(shape, StringShape)
        report = ParamValidator().validate(answer, shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"
        return _Http(200), {**answer, "ResponseMetadata": {}}


class _Http:
    def __init__(self, status: int) -> None:
        self.status_code = status


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> None:
    read = ask.bundle.path

    class File:
        def __init__(self, name: str) -> None:
            self.name = name

        def read_text(self, encoding: str) -> str:
            return WRITTEN if self.name.endswith("bootstrap.yml") else read(self.name).read_text(encoding=encoding)

    monkeypatch.setattr(ask.bundle, "path", File)


def test_everything_is_asked_once_and_only_read(request: pytest.FixtureRequest) -> None:
    aws = Aws(request, ANSWERS | {"cloudformation:GetTemplateSummary": SUMMARY})
    facts = ask.facts(aws.session())
    assert sorted(aws.asked) == sorted({*aws.asked}), "nothing is asked twice"
    verbs = {one.partition(":")[2].partition(" ")[0] for one in aws.asked}
    assert [verb for verb in verbs if not verb.startswith(("Describe", "Get"))] == []
    assert {name.partition(" ")[0] for name in facts.answers} == {one.partition(" ")[0] for one in aws.asked}
    assert facts.parameters["Cpu"] == "256", "the project's own comes before the template's default"
    assert examine.ready(examine.examine(facts))
    assert [line.what for line in examine.examine(facts) if line.state != "good"] == []


def test_without_any_permission(request: pytest.FixtureRequest) -> None:
    aws = Aws(request, {"sts:GetCallerIdentity": ANSWERS["sts:GetCallerIdentity"]})
    lines = examine.examine(ask.facts(aws.session()))
    assert {line.state for line in lines} == {"good", "unknown"}


def test_with_bad_credentials_one_question_is_enough(request: pytest.FixtureRequest) -> None:
    aws = Aws(
        request,
        {
            "sts:GetCallerIdentity": Refusal(
                "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        },
    )
    (line,) = examine.examine(ask.facts(aws.session()))
    assert aws.asked == ["sts:GetCallerIdentity"]
    assert line.text == "AWS does not take them (The security token included in the request is invalid.)"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('{"url": "postgresql://u:hunter2@h/d", "a": 1}', ["a", "url"]),
        ("postgresql://u:hunter2@h/d", []),
        ('["hunter2"]', []),
    ],
)
def test_of_a_secret_only_the_names_of_keys_are_kept(
    request: pytest.FixtureRequest, text: str, keys: list[str]
) -> None:
    value = {"ARN": DATABASE, "Name": "board/staging/database", "SecretString": text}
    aws = Aws(request, ANSWERS | {f"secretsmanager:GetSecretValue {DATABASE}": value})
    facts = ask.facts(aws.session(DatabaseSecret=f"{DATABASE}:url::"))
    assert facts.answers[f"secretsmanager:GetSecretValue {DATABASE}"] == {"keys": keys}
    assert "hunter2" not in repr(facts)


def test_a_secret_that_is_meant_whole_is_not_read(request: pytest.FixtureRequest) -> None:
    aws = Aws(request, ANSWERS)
    ask.facts(aws.session(CacheUrlSecret=SECRET_KEY))
    assert [one for one in aws.asked if "GetSecretValue" in one] == []


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    session = Session("board", Environment("staging", "board-staging"))
    with pytest.raises(NoRegionError) as error:
        ask.facts(session)
    assert str(explained(error.value)) == (
        "AWS could not be asked: You must specify a region.; check the credentials and the region"
    )
