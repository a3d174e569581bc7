"""The secrets that ECS hands to the tasks. Of their values only the names of keys are known here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lastgood.preflight.line import GOOD, UNKNOWN, WRONG, Facts, Line

NAMES = ("DatabaseSecret", "MigrationDatabaseSecret", "SecretKeySecret", "CacheUrlSecret")
OPTIONAL = ("MigrationDatabaseSecret", "CacheUrlSecret")
_ARN = re.compile(r"(arn:[^:]+:secretsmanager:([^:]+):\d{12}:secret:[^:]+-[A-Za-z0-9]{6})(?::([^:]*):[^:]*:[^:]*)?")


def named(value: str) -> tuple[str, str, str] | None:
    """(the secret's ARN, its region, the key of its JSON or "") of what a parameter says; None where it is no whole ARN."""
    found = _ARN.fullmatch(value)
    return (found[1], found[2], found[3] or "") if found else None


def wanted(name: str, parameters: dict[str, str]) -> list[str]:
    """The keys that a parameter's secret must have in its JSON; none where its whole value is meant."""
    found = named(parameters.get(name, ""))
    if name == "DatabaseSecret" and parameters.get("DatabaseHost"):
        return ["username", "password"]
    return [found[2]] if found and found[2] else []


def own_key(secret: Mapping[str, Any]) -> str:
    """The KMS key of one's own that encrypts a secret, as DescribeSecret says it; empty where it is AWS's."""
    key = str(secret.get("KmsKeyId", ""))
    return "" if "alias/aws/secretsmanager" in key else key


def lines(facts: Facts) -> list[Line]:
    """One line a secret."""
    return [_secret(facts, name) for name in NAMES if facts.parameters.get(name) or name not in OPTIONAL]


def _secret(facts: Facts, name: str) -> Line:
    value = facts.parameters.get(name, "")
    found = named(value)
    where = f"below [tool.lastgood.environments.{facts.environment}]"
    if not found:
        text = "it is not set" if not value else "it is no whole ARN of a secret, with its six letters at the end"
        return Line(name, WRONG, text, f"make the secret in Secrets Manager and set its ARN in parameters {where}")
    arn, region, part = found
    if region != facts.region:
        return Line(
            name, WRONG, f"the secret is of {region}, the tasks of {facts.region}", "make it there, or replicate it"
        )
    if part and name == "DatabaseSecret" and facts.parameters.get("DatabaseHost"):
        return Line(
            name,
            WRONG,
            f"with DatabaseHost the whole secret is meant, not its key {part}",
            f"take :{part}:: from its end",
        )
    unknown = facts.unknown(name, f"secretsmanager:DescribeSecret {arn}")
    if unknown:
        return unknown
    secret = facts.answer(f"secretsmanager:DescribeSecret {arn}")
    if secret is None:
        return Line(name, WRONG, f"Secrets Manager has no {arn}", "make it, or set the ARN of one that there is")
    if secret.get("DeletedDate"):
        return Line(name, WRONG, "the secret is about to be deleted", "restore it: aws secretsmanager restore-secret")
    key = facts.answer(f"kms:DescribeKey {own_key(secret)}")
    if key and key["KeyMetadata"]["KeyState"] != "Enabled":
        text = f"the key that encrypts it is {key['KeyMetadata']['KeyState']}: ECS could not read it"
        return Line(name, WRONG, text, "enable the key in KMS, or encrypt the secret with another")
    return _keys(facts, name, arn)


def _keys(facts: Facts, name: str, arn: str) -> Line:
    keys = wanted(name, dict(facts.parameters))
    if not keys:
        return Line(name, GOOD, "there")
    answer = facts.answer(f"secretsmanager:GetSecretValue {arn}")
    if answer is None:
        return Line(
            name,
            UNKNOWN,
            f"there; whether it has {' and '.join(keys)} can't be seen",
            "look yourself: ECS starts no task without",
        )
    lacks = [key for key in keys if key not in answer["keys"]]
    if lacks:
        return Line(
            name,
            WRONG,
            f"its JSON has no {' and no '.join(lacks)}",
            "add it, or name a key that is there, as ARN:key::",
        )
    return Line(name, GOOD, f"there, with {' and '.join(keys)}")
