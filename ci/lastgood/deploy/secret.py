"""A secret's value, set where the project's tables say that it is. It comes from standard input and goes nowhere else."""

from __future__ import annotations

import json

from lastgood.config.near import nearest
from lastgood.deploy import handed
from lastgood.deploy.place import Place
from lastgood.errors import UsageError


def put(place: Place, name: str, value: str) -> str:
    """Sets the secret that comes as the variable `name`; returns where. Tasks have it from their next start on.

    Of a key of a secret's JSON the other keys stay. Raises UsageError where the tables have no such secret, or it is the stack's own.
    """
    session = place.session
    secrets = session.environment.shape.secrets
    if name not in secrets:
        raise UsageError(
            f"environment {place.name} has no secret {name!r}{nearest(name, secrets)}: it has {', '.join(secrets) or 'none'}; add its "
            f"place below [tool.lastgood.environments.{place.name}.secrets]"
        )
    at = secrets[name]
    if at.startswith("{"):
        raise UsageError(
            f"secret {name} is {at}, which is not this project's to set: it is what the stack's own parameters name"
        )
    if not value:
        raise UsageError(f"standard input was empty: secret {name} stays as it is")
    if session.cloud:
        return str(handed.keep(session, name, value))
    if ":secretsmanager:" not in at:
        path = at.partition(":parameter")[2] or at
        session.client("ssm").put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)
        return at
    parts = at.split(":")
    arn, key = ":".join(parts[:7]), parts[7] if len(parts) > 7 else ""
    manager = session.client("secretsmanager")
    if key:
        value = json.dumps(_keys(manager.get_secret_value(SecretId=arn).get("SecretString", ""), at) | {key: value})
    manager.put_secret_value(SecretId=arn, SecretString=value)
    return at


def _keys(text: str, at: str) -> dict[str, object]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"what is at {at} is no JSON with keys: set the whole secret, or name another")
    return found
