"""What an AWS account has before lastgood comes to it: a network, and the secrets of the application."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lastgood.aws import local_cloud
from lastgood.local.adapters.settings import REGION

DESIRED_COUNT = "1"
GRACE_PERIOD = "20"  # seconds; an application that needs longer here would need far longer on Fargate


def passwords(folder: Path) -> dict[str, str]:
    """The instance's own random secrets, made once: `database` and `secret_key`. Never printed."""
    file = folder / "secrets.json"
    try:
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {"database": secrets.token_urlsafe(24), "secret_key": secrets.token_urlsafe(50)}
        local_cloud.write_private(file, json.dumps(found))
    return found


def client(service: str, endpoint: str) -> Any:
    """A boto3 client of the emulator at `endpoint`."""
    import boto3
    from botocore.config import Config

    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106  the emulator takes any
        config=Config(retries={"max_attempts": 3}, connect_timeout=5, read_timeout=30),
    )


def prepare(endpoint: str, project: str, values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Makes the network and the secrets where they are missing. Returns parameters of service.yml, and the secrets' ARNs by name.

    `values` are the secrets' contents by name: `database-url`, `migration-database-url` and `secret-key` among them.
    """
    network = client("ec2", endpoint)
    networks = network.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    identity = networks[0]["VpcId"] if networks else network.create_default_vpc()["Vpc"]["VpcId"]
    subnets = network.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [identity]}])["Subnets"]
    names = sorted(subnet["SubnetId"] for subnet in subnets)[:2]
    manager = client("secretsmanager", endpoint)
    arns = {name: _secret(manager, f"lastgood/{project}/local/{name}", value) for name, value in values.items()}
    parameters = {
        "VpcId": identity,
        "Subnets": ",".join(names),
        "DatabaseSecret": arns["database-url"],
        "MigrationDatabaseSecret": arns["migration-database-url"],
        "SecretKeySecret": arns["secret-key"],
        "DesiredCount": DESIRED_COUNT,
        "HealthCheckGracePeriod": GRACE_PERIOD,
    }
    return parameters, arns


def _secret(manager: Any, name: str, value: str) -> str:
    try:
        found = manager.describe_secret(SecretId=name)
    except manager.exceptions.ResourceNotFoundException:
        return str(manager.create_secret(Name=name, SecretString=value)["ARN"])
    if manager.get_secret_value(SecretId=name)["SecretString"] != value:
        manager.put_secret_value(SecretId=name, SecretString=value)
    return str(found["ARN"])
