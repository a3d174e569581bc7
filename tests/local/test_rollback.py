"""A stack with a migration and a service, deployed for real: what fails comes back, and the site answers all along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lastgood.aws.session import Session
from lastgood.config.project import Environment
from lastgood.deploy.stack import STUCK, Stack, Unreverted

pytestmark = [pytest.mark.docker, pytest.mark.slow]

BREAKER = (
    "Resource handler returned message: \"Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'.\" "
    "(HandlerErrorCode: GeneralServiceException)"
)


@pytest.fixture
def deployed(site: Any) -> Iterator[Any]:
    """Version 1 is deployed, in an empty account."""
    assert site.deploy("create", Version="1") == "CREATE_COMPLETE"
    yield site
    site.delete()


def test_container_runs_as_its_definition_says(deployed: Any) -> None:
    host = deployed.cloud.site_url.removeprefix("http://")
    assert deployed.ask() == ["1", "from-the-secret", "65532:65532", "read-only", host]


def test_good_update_loses_no_request(deployed: Any) -> None:
    with deployed.visited() as visitor:
        assert deployed.deploy(Version="2") == "UPDATE_COMPLETE"
    assert visitor.failures == []
    assert set(visitor.versions) == {"1", "2"}
    assert deployed.ask()[0] == "2"
    assert deployed.history() == ["Create - -> 1", "Update 1 -> 2"]


def test_crashing_service_comes_back_and_the_old_version_answers_all_along(deployed: Any) -> None:
    with deployed.visited() as visitor:
        assert deployed.deploy(Version="2", Mode="crash") == "UPDATE_ROLLBACK_COMPLETE"
    assert visitor.failures == []
    assert set(visitor.versions) == {"1"}
    assert deployed.history() == ["Create - -> 1", "Update 1 -> 2", "Update 2 -> 1"]
    assert deployed.reason("Service", "UPDATE_FAILED") == BREAKER


def test_service_that_starts_but_is_ill_comes_back(deployed: Any) -> None:
    with deployed.visited() as visitor:
        assert deployed.deploy(Version="2", Mode="ill", Grace="2") == "UPDATE_ROLLBACK_COMPLETE"
    assert visitor.failures == []
    assert set(visitor.versions) == {"1"}


def test_failed_migration_comes_back_with_its_last_log_line(deployed: Any) -> None:
    with deployed.visited() as visitor:
        assert deployed.deploy(Version="2", MigrationStatus="5") == "UPDATE_ROLLBACK_COMPLETE"
    assert visitor.failures == []
    assert set(visitor.versions) == {"1"}
    assert deployed.reason("Migration", "UPDATE_FAILED") == "exit 5: migrated by 2 to 2"
    assert deployed.history() == ["Create - -> 1", "Update 1 -> 2", "Update 2 -> 1"]


def test_failed_revert_stops_the_rollback_until_it_is_continued_without_it(deployed: Any) -> None:
    """The tool's own reading of a rollback that stops once, twice, for good: what may be skipped, and what CloudFormation refuses to."""
    stack = Stack(Session("probe", Environment("local", deployed.stack), deployed.cloud), deployed.stack)
    with deployed.visited() as visitor:
        assert deployed.deploy(Version="2", Mode="crash", ReverseStatus="5") == STUCK
        assert deployed.reason("Migration", "UPDATE_FAILED") == "exit 5: migrated by 2 to 1"
        assert deployed.reason("Definition", "DELETE_FAILED") == "waits until the rollback is continued"
        assert deployed.ask()[0] == "1"  # the circuit breaker has brought the tasks back by itself
        # The service shows UPDATE_FAILED, too, but from the way forward: the rollback has not come to it.
        assert deployed.reason("Service", "UPDATE_FAILED") == BREAKER
        migration = Unreverted("Migration", "Custom::Migration", "exit 5: migrated by 2 to 1")
        assert stack.unreverted() == [migration]
        with pytest.raises(ClientError, match=r"Resource\(s\) \[Service\] cannot be skipped"):
            stack.continue_rollback(["Migration", "Service"])

        stack.continue_rollback()
        assert stack.watch(lambda _events: None) == STUCK
        assert stack.unreverted() == [migration]

        stack.continue_rollback(["Migration"])
        assert stack.watch(lambda _events: None) == "UPDATE_ROLLBACK_COMPLETE"
        assert stack.unreverted() == []
    assert visitor.failures == []
    assert set(visitor.versions) == {"1"}
    assert deployed.deploy(Version="3") == "UPDATE_COMPLETE"  # and the stack takes updates again
    assert deployed.ask()[0] == "3"


def test_service_that_can_not_go_back_is_skipped_once_it_runs_what_it_should(deployed: Any, wait_for: Any) -> None:
    """Somebody breaks a secret while an update goes back: last good can't start, until the secret is mended."""
    ecs, ssm = deployed.client("ecs"), deployed.client("ssm")
    stack = Stack(Session("probe", Environment("local", deployed.stack), deployed.cloud), deployed.stack)

    def secret(value: str) -> None:
        ssm.put_parameter(Name="/password", Value=value, Type="SecureString", Overwrite=True)

    def running() -> list[str]:
        return [str(arn) for arn in ecs.list_tasks(cluster=deployed.stack, serviceName=deployed.stack)["taskArns"]]

    def service() -> dict[str, Any]:
        found: dict[str, Any] = ecs.describe_services(cluster=deployed.stack, services=[deployed.stack])["services"][0]
        return found

    before = running()
    deployed.begin(Version="2", Mode="crash")
    try:
        secret("crash")
        for arn in before:
            ecs.stop_task(cluster=deployed.stack, task=arn)
        assert deployed.end() == STUCK
        assert [one.name for one in stack.unreverted()] == ["Service"]

        stack.continue_rollback()
        assert stack.watch(lambda _events: None) == STUCK
        assert [one.name for one in stack.unreverted()] == ["Service"]
    finally:
        secret("from-the-secret")
    # A person mends the service by hand; the circuit breaker has given it up, so that it does not try again by itself.
    definition = service()["taskDefinition"]
    ecs.update_service(
        cluster=deployed.stack, service=deployed.stack, taskDefinition=definition, forceNewDeployment=True
    )
    wait_for(lambda: service()["deployments"][0]["rolloutState"] == "COMPLETED", "the service")
    assert deployed.ask()[0] == "1"
    assert [one.name for one in stack.unreverted()] == ["Service"]
    stack.continue_rollback(["Service"])
    assert stack.watch(lambda _events: None) == "UPDATE_ROLLBACK_COMPLETE"
    assert deployed.ask()[0] == "1"


def test_failed_create_deletes_what_was_half_created(site: Any) -> None:
    try:
        assert site.deploy("create", Version="1", Mode="crash") == "ROLLBACK_COMPLETE"
        assert site.reason("Service", "CREATE_FAILED") == BREAKER
        assert site.history() == ["Create - -> 1", "Delete - -> 1"]
        assert site.reason("Service", "DELETE_COMPLETE") == ""
        assert site.client("ecs").list_clusters()["clusterArns"] == []
    finally:
        site.delete()


def test_stopped_task_has_its_own_exit_status(deployed: Any, wait_for: Any) -> None:
    ecs = deployed.client("ecs")
    definition = ecs.describe_services(cluster=deployed.stack, services=[deployed.stack])["services"][0][
        "taskDefinition"
    ]
    overrides = {"containerOverrides": [{"name": "main", "command": ["wait"]}]}
    request = {"cluster": deployed.stack, "taskDefinition": definition, "overrides": overrides, "clientToken": "one"}
    arn, again = (ecs.run_task(**request)["tasks"][0]["taskArn"] for _ in range(2))
    assert arn == again  # the same token is the same task

    stream = f"task/main/{arn.rsplit('/', 1)[-1]}"
    wait_for(lambda: deployed.log(stream) == ["waiting"], "the task's first line")
    asked = ecs.stop_task(cluster=deployed.stack, task=arn, reason="enough")["task"]
    assert (asked["lastStatus"], asked["desiredStatus"]) == ("RUNNING", "STOPPED")  # it is not waited for

    def described() -> Any:
        return ecs.describe_tasks(cluster=deployed.stack, tasks=[arn])["tasks"][0]

    wait_for(lambda: described()["lastStatus"] == "STOPPED", "the task's end")
    task = described()
    assert (task["lastStatus"], task["stoppedReason"], task["containers"][0]["exitCode"]) == ("STOPPED", "enough", 7)


def test_inactive_definition_is_refused(deployed: Any) -> None:
    ecs = deployed.client("ecs")
    made = ecs.register_task_definition(family="gone", containerDefinitions=[{"name": "main", "image": "none"}])
    definition = made["taskDefinition"]["taskDefinitionArn"]
    ecs.deregister_task_definition(taskDefinition=definition)
    with pytest.raises(ecs.exceptions.InvalidParameterException, match="TaskDefinition is inactive"):
        ecs.run_task(cluster=deployed.stack, taskDefinition=definition)
