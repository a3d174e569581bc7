from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from board import aws, deployment
from board.config import remote
from board.config.boot import Secret
from board.config.remote import Manager, Parameter, StackOutput, Unresolved
from botocore.exceptions import ClientError

pytestmark = pytest.mark.usefixtures("forgotten")


class Billing(Manager):
    url = StackOutput("billing-{environment}", "ApiUrl")
    region = StackOutput("billing-{environment}", "Region", local="nowhere")
    key = Parameter("/{project}/{environment}/key", secret=True, local="local-key")
    plan = Parameter("/{project}/{environment}/plan")


class Fake:
    """Both clients, and a list of what they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - the SDK's name
        self.asked.append(StackName)
        if self.failure:
            raise self.failure
        outputs = {"ApiUrl": "https://billing.example", "Region": "eu-west-1"}
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]}]}

    def get_parameter(self, Name: str, WithDecryption: bool) -> dict[str, Any]:  # noqa: N803 - the SDK's names
        assert WithDecryption
        self.asked.append(Name)
        return {"Parameter": {"Value": "p4ram"}}


@pytest.fixture
def fake(settings: Any) -> Iterator[Fake]:
    settings.ENVIRONMENT = "staging"
    clients = Fake()
    with aws.override(cloudformation=clients, ssm=clients):
        yield clients


def test_nothing_is_asked_before_the_first_use_and_once_for_a_stack(fake: Fake) -> None:
    billing = Billing()
    assert fake.asked == []
    assert (billing.url, billing.region, Billing().url) == (
        "https://billing.example",
        "eu-west-1",
        "https://billing.example",
    )
    assert fake.asked == ["billing-staging"]


def test_parameters(fake: Fake) -> None:
    assert Billing().plan == "p4ram"
    assert Billing().key == Secret("p4ram")
    assert (Billing().key, fake.asked) == (Secret("p4ram"), ["/board/staging/plan", "/board/staging/key"])


def test_the_class_has_the_declaration(fake: Fake) -> None:
    assert str(Billing.url) == "output ApiUrl of stack billing-staging"
    assert str(Billing.plan) == "parameter /board/staging/plan"
    assert fake.asked == []


def test_local_values_are_for_local_and_test_only(fake: Fake, settings: Any) -> None:
    assert Billing().region == "eu-west-1"
    settings.ENVIRONMENT = "test"
    assert (Billing().region, Billing().key) == ("nowhere", Secret("local-key"))
    settings.ENVIRONMENT = "local"
    assert (Billing().region, Billing().url) == ("nowhere", "https://billing.example")
    assert fake.asked == ["billing-staging", "billing-local"]


def test_in_tests_nothing_else_is_asked() -> None:
    with pytest.raises(Unresolved) as caught:
        _ = Billing().url
    assert str(caught.value) == (
        "output ApiUrl of stack billing-test is not asked for in tests: use `with Billing.override(url=…):`."
    )


def test_override_nests_and_ends() -> None:
    with Billing.override(url="a", plan="p"), Billing.override(url="b"):
        assert (Billing().url, Billing().plan, Billing().region) == ("b", "p", "nowhere")
    with pytest.raises(Unresolved):
        _ = Billing().plan
    with (
        pytest.raises(TypeError, match=r"^Billing has no value uri: it has url, region, key, plan$"),
        Billing.override(uri=""),
    ):
        pass


def test_an_output_that_does_not_exist(fake: Fake) -> None:
    class Wrong(Manager):
        url = StackOutput("billing-{environment}", "Url")

    with pytest.raises(Unresolved) as caught:
        _ = Wrong().url
    assert str(caught.value) == "output Url of stack billing-staging does not exist: the stack has ApiUrl, Region."


def test_a_failure_is_remembered_for_a_while(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"Error": {"Code": "ValidationError", "Message": "Stack with id billing-staging does not exist"}}
    fake.failure = ClientError(error, "DescribeStacks")
    for _ in range(3):
        with pytest.raises(Unresolved) as caught:
            _ = Billing().url
        assert str(caught.value) == (
            "output ApiUrl of stack billing-staging can't be read: ClientError: An error occurred (ValidationError) when"
            " calling the DescribeStacks operation: Stack with id billing-staging does not exist"
        )
    assert fake.asked == ["billing-staging"]
    fake.failure = None
    monkeypatch.setattr(remote, "RETRY_AFTER", 0.0)
    assert Billing().url == "https://billing.example"


def test_one_thread_asks_while_the_others_wait(settings: Any) -> None:
    settings.ENVIRONMENT = "staging"
    second = threading.Event()

    class Slow(Fake):
        def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - the SDK's name
            answer = super().describe_stacks(StackName)
            if len(self.asked) > 1:
                second.set()
            second.wait(0.3)  # long enough for another thread to come here, if it may
            return answer

    slow = Slow()
    start = threading.Barrier(10)

    def ask(_: int) -> str:
        start.wait(10)
        return str(Billing().url)

    with aws.override(cloudformation=slow), ThreadPoolExecutor(10) as pool:
        assert set(pool.map(ask, range(10))) == {"https://billing.example"}
    assert slow.asked == ["billing-staging"]


def test_the_page_goes_without_the_address_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "board.deployment"):
        assert (deployment.url(), deployment.url()) == ("", "")
    assert [record.getMessage() for record in caplog.records] == [
        (
            "The page goes without the environment's address: output Url of stack board-test is not asked for in tests:"
            " use `with Deployment.override(url=…):`."
        )
    ]
