"""What is handed to the tasks: whether every secret is there and may be read, and all braces stand for something, before all else."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lastgood.aws import local_cloud
from lastgood.aws.errors import code
from lastgood.aws.session import Session
from lastgood.config.project import WEB, Shape
from lastgood.deploy import template
from lastgood.deploy.place import Place
from lastgood.errors import Refused, UsageError
from lastgood.report.terminal import say


def check(place: Place, shape: Shape) -> None:
    """Raises Refused, with every secret, variable and port that tasks of this shape could not have, by name. Reads no secret's value."""
    if shape == Shape():
        return
    found = list(_on_this_machine(place.session, shape) if place.session.cloud else _on_aws(place, shape))
    if any(job.schedule for job in shape.jobs) and not set(template.DECIDED) <= set(place.stack.decided):
        found.append(f"jobs have schedules, and nobody has decided who may start them: {anew(place.name)}")
    if found:
        raise Refused(f"environment {place.name} can't run this yet:" + "".join(f"\n  {one}" for one in found))


def anew(environment: str) -> str:
    """What an administrator does where what is decided is not what is wanted."""
    return f"run `lastgood bootstrap --environment {environment}` as an administrator"


def places(session: Session, shape: Shape) -> dict[str, str]:
    """On the one-machine cloud, the ARNs of the secrets by variable, each with the value that this machine's file has; on AWS none."""
    if session.cloud is None:
        return {}
    values, manager = local_values(session), session.client("secretsmanager")
    return {name: _kept(manager, _name(session, name), values[name]) for name in _own(shape) if name in values}


def local_values(session: Session) -> dict[str, str]:
    """The secrets of this machine, by variable. Raises UsageError where their file is damaged."""
    if session.cloud is None or not session.cloud.secrets_file:
        return {}
    file = Path(session.cloud.secrets_file)
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f'{file} can\'t be read ({error}): it has one line NAME = "value" for each secret') from None
    return {name: str(value) for name, value in found.items()}


def keep(session: Session, name: str, value: str) -> Path:
    """Writes one secret of this machine; returns the file, which only its owner may read."""
    assert session.cloud
    file = Path(session.cloud.secrets_file)
    values = local_values(session) | {name: value}
    # A TOML string in quotation marks is written as JSON writes one, but for DEL.
    lines = (f"{key} = {json.dumps(one).replace(chr(127), chr(92) + 'u007F')}" for key, one in sorted(values.items()))
    local_cloud.write_private(file, "\n".join(lines) + os.linesep)
    return file


def _own(shape: Shape) -> list[str]:
    """The variables whose secrets are the project's own."""
    return [name for name, place in shape.secrets.items() if not place.startswith("{")]


def _name(session: Session, variable: str) -> str:
    return f"lastgood/{session.project}/local/secrets/{variable}"


def _kept(manager: Any, name: str, value: str) -> str:
    try:
        found = manager.describe_secret(SecretId=name)
    except manager.exceptions.ResourceNotFoundException:
        return str(manager.create_secret(Name=name, SecretString=value)["ARN"])
    if manager.get_secret_value(SecretId=name)["SecretString"] != value:
        manager.put_secret_value(SecretId=name, SecretString=value)
    return str(found["ARN"])


def _on_this_machine(session: Session, shape: Shape) -> Iterator[str]:
    if session.cloud and not session.cloud.secrets_file:
        yield "the one-machine cloud was brought up by an older lastgood: run `lastgood local up`"
        return
    values = local_values(session)
    for name in _own(shape):
        if name not in values:
            yield f"secret {name} has no value on this machine: `lastgood secret set {name}` takes it from standard input"


def _on_aws(place: Place, shape: Shape) -> Iterator[str]:
    environment = place.session.environment
    yield from unknown(shape, environment.parameters, environment.name)
    decided = place.stack.access.parameters() if place.stack.access else {}
    port = next((one.port for one in shape.processes if one.name == WEB and one.port), template.PORT)
    if str(port) != decided.get("TaskPort", str(template.PORT)):
        yield f"web listens on port {port}, where its security group lets nobody in: {anew(place.name)}"
    for name, at in shape.secrets.items():
        if at.startswith("{"):
            continue
        wrong = "" if readable(at, decided) else f"the tasks may not read it: {anew(place.name)}"
        yield from (f"secret {name} ({at}): {text}" for text in (_missing(place.session, at) or wrong,) if text)


def unknown(shape: Shape, parameters: Mapping[str, str], environment: str) -> Iterator[str]:
    """The variables and secrets that stand for what the stack knows only of a database whose secret RDS keeps."""
    if parameters.get("DatabaseHost"):
        return
    where = f"set DatabaseHost and DatabaseName in parameters below [tool.lastgood.environments.{environment}]"
    for kind, values in (("variable", shape.variables), ("secret", shape.secrets)):
        for name, text in values.items():
            for part in ("host", "port", "name", "user", "password"):
                if f"{{database.{part}}}" in text:
                    yield f"{kind} {name} stands for {{database.{part}}}, which DATABASE_URL alone knows here: {where}"


def readable(place: str, decided: Mapping[str, str]) -> bool:
    """Whether an administrator has decided that the tasks may read a secret; `decided` are the access stack's parameters."""
    if ":secretsmanager:" in place:
        return ":".join(place.split(":")[:7]) in decided.get("SecretArns", "").split(",")
    arns = decided.get("ParameterArns", "").split(",")
    return place in arns or any(arn.endswith(f":parameter{place}") for arn in arns)


def _missing(session: Session, place: str) -> str:
    """Why a secret is not to be had at its place; empty where it is there, or nobody may look."""
    try:
        if ":secretsmanager:" in place:
            found = session.client("secretsmanager").describe_secret(SecretId=":".join(place.split(":")[:7]))
            return "it is about to be deleted: restore it" if found.get("DeletedDate") else ""
        path = place.partition(":parameter")[2] or place
        names = [path, path[1:]] if path.count("/") == 1 else [path]
        filters = [{"Key": "Name", "Option": "Equals", "Values": names}]
        listed = session.client("ssm").describe_parameters(ParameterFilters=filters)["Parameters"]
        return "" if listed else "there is no such parameter in this account and region: make it"
    except Exception as error:
        if code(error) == "ResourceNotFoundException":
            return "there is no such secret: make it"
        if code(error).startswith("AccessDenied"):
            say(f"· whether {place} is there could not be seen ({code(error)})")
            return ""
        raise
