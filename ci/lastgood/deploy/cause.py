"""Why a task did not come up: one sentence of what it was and what to do, out of what ECS, the log and the load balancer say.

A pure function over texts. It says nothing where it does not know: then the texts stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

PORT = 8000  # where service.yml's load balancer asks, unless web has a port of its own
SEEN = 200  # lines of a log that are read for a cause


@dataclass(frozen=True)
class Told:
    """What is known of a task. Empty or None is what nobody knows.

    `reason` is why ECS says it ended, `status` its container's exit status, `lines` the last of its log, `health` what the load balancer's
    health checks got, as ECS's events say it, and `port` where they ask: None for a process that nobody asks anything.
    """

    reason: str = ""
    status: int | None = None
    lines: Sequence[str] = ()
    health: str = ""
    port: int | None = PORT

    @property
    def log(self) -> str:
        """The log as one text."""
        return "\n".join(self.lines)


def cause(told: Told) -> str:
    """The first of these that is known: the image, the secrets, the machine, the start of the application, where it listens, its health."""
    return next((found for look in _LOOKS for found in look(told)), "")


def cause_of_settings(said: str) -> str:
    """The same of what a release task says, which is the first to load the settings; empty where it is not they that keep it."""
    found = re.search(r"(?:does not import|do not load): (.+)", said)
    # A key in capitals that settings lack is one of the environment, though no frame is there to tell.
    return cause(Told(lines=("os.environ", found[1]))) if found else ""


# AWS's words: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
_PULL = r"CannotPull\w*Error.*"
_INIT = r"ResourceInitializationError.*"
_FETCH = rf"{_INIT}failed to fetch secret (?P<key>\S+) from secrets manager: "
_AWAY = r"(?:i/o timeout|deadline exceeded|connection issue|no route|dial tcp|TLS handshake|RequestCanceled)"
_PUBLIC = 'AssignPublicIp = "ENABLED"'
_ALLOW = "run `lastgood bootstrap` again, which lets it, and look at the policies of the secret and of its key"
_REASONS = {
    rf"{_PULL}(?:descriptor matching platform|no match(?:ing manifest)? for platform)": (
        "the image is not made for the processors that the task runs on: set the parameter Architecture to the image's, or add the "
        "platform to [tool.lastgood.image] platforms"
    ),
    rf"{_PULL}(?:not found|does not exist|manifest unknown)": (
        "the image is not in the registry any more: build and push it again"
    ),
    rf"{_PULL}(?:AccessDenied|not authorized|denied|403)": (
        "the task may not pull its image: its execution role needs the repository, and so do the policies of the repository and of its "
        "endpoint; run `lastgood bootstrap` again"
    ),
    rf"(?:{_PULL}|pull registry auth from Amazon ECR.*){_AWAY}": (
        "the image's registry can't be reached from the task's subnets: they need a NAT gateway, endpoints for ECR and S3, or "
        f"{_PUBLIC}"
    ),
    rf"{_INIT}did not contain json key (?P<key>[\w.-]+)": (
        "a secret's JSON has no key {key}: add it to the secret, or mend the key at the end of its ARN"
    ),
    rf"{_FETCH}AccessDenied": f"the task may not read the secret {{key}}: {_ALLOW}",
    rf"{_FETCH}(?:ResourceNotFound|.*can't find the specified secret)": (
        "the secret {key} does not exist: make it, or mend its ARN"
    ),
    rf"{_INIT}(?:secret|ssm|asm).*{_AWAY}": (
        "the task's secrets can't be reached from its subnets: they need a NAT gateway, an endpoint for Secrets Manager, or "
        f"{_PUBLIC}"
    ),
    rf"{_INIT}(?:AccessDenied|not authorized).*(?:secretsmanager|ssm|kms)": (
        f"the task may not read one of its secrets: {_ALLOW}"
    ),
    rf"{_INIT}log group.*does not exist": "the log group of the task is gone: deploy again with --force, which makes it",
}


def _by_reason(told: Told) -> Iterator[str]:
    for pattern, sentence in _REASONS.items():
        found = re.search(pattern, told.reason, re.DOTALL | re.IGNORECASE)
        if found:
            yield sentence.format(**found.groupdict())


_MORE = "raise the parameter Memory, or the `memory` of the process, or start fewer workers"


def _by_machine(told: Told) -> Iterator[str]:
    if re.search(r"exec format error|cannot execute binary file", f"{told.reason}\n{told.log}", re.IGNORECASE):
        yield (
            "the image is made for other processors than the task runs on (exec format error): set the parameter Architecture to the "
            "image's, or [tool.lastgood.image] platforms to the task's"
        )
    if re.search(r"OutOfMemory|out of memory", told.reason, re.IGNORECASE) or re.search(
        r"Perhaps out of memory|^MemoryError\b|Cannot allocate memory", told.log, re.MULTILINE
    ):
        yield f"the container needs more memory than it has: {_MORE}"
    # What ECS stops by itself it kills, too, after a while.
    stopped = re.search(r"health check|scaling activity|deployment|stopped by", told.reason, re.IGNORECASE)
    if told.status == 137 and not stopped:
        yield f"the container was killed (exit status 137), as one is that needs more memory than it has: {_MORE}"


_NAME = r"[A-Z][A-Z0-9_]*"
_OWN = "(?:ImproperlyConfigured|RuntimeError|ValueError|EnvironmentError)"
_VARIABLE = "the variable {name} is not set: give it to the task, or the settings a default"
_VARIABLES = (
    # os.environ["NAME"], whose frames have no text where sources are left out
    rf"^KeyError: '(?P<name>{_NAME})'$",
    # django-environ
    rf"ImproperlyConfigured: Set the (?P<name>{_NAME}) environment variable",
    # python-decouple
    rf"UndefinedValueError: (?P<name>{_NAME}) not found",
    # environs
    rf"EnvError: Environment variable \"(?P<name>{_NAME})\" not set",
    # and what people write themselves
    rf"{_OWN}\b.*?\b(?P<name>{_NAME})\b[\"'`]? (?:is|are|was) (?:not set|missing|required|not defined)",
    rf"{_OWN}\b.*?(?:missing|required|undefined|unset|set the|define)\b[^.\n]*?\b(?P<name>[A-Z][A-Z0-9]*_[A-Z0-9_]+)\b",
)


def _by_start(told: Told) -> Iterator[str]:
    """By the last errors in the log."""
    for text in _errors(told.lines):
        for pattern in _VARIABLES:
            found = re.search(pattern, text)
            if found and (not text.startswith("KeyError") or _environ(told.lines)):
                yield _VARIABLE.format(name=found["name"])
        if "SECRET_KEY setting must not be empty" in text:
            yield "the setting SECRET_KEY is empty: read it from the variable SECRET_KEY, which the task has"
        found = re.search(r"No module named '?([\w.]+)", text)
        if found:
            yield (
                f"the module {found[1]} is not in the image: mend its name, or name the package that has it in requirements.in, run "
                "`lastgood lock`, and commit both files"
            )
        found = re.search(r"Read-only file system: '?([^'\n]+)", text)
        if found:
            yield f"it writes to {found[1]}, and its file system is read-only but for /tmp: write there, or to a bucket or the database"
        if re.search(
            r"Failed to find (?:attribute|application object)|Error loading ASGI app|No application module", text
        ):
            yield f"the server does not find the application ({_told(text)}): mend the module that it is started with"
        if re.search(r"Address already in use|Can't connect to \('", text):
            yield f"its port is taken or not allowed ({_told(text)}): one server a task, on a port over 1023"
        if re.search(r"connection to server at|could not translate host name|could not connect to server", text):
            yield (
                f"it does not come to its database ({_told(text)}): look at the address in the secret, and at the database's security "
                "group"
            )
        if "ImproperlyConfigured" in text:
            yield f"the settings refuse to start ({_told(text)}): mend them, or set what they ask for"


_ERROR = (
    r"^(?:[\w.]+\.)?\w*(?:Error|Exception|ImproperlyConfigured|Interrupt)\b|Error: |Failed to find|Error loading ASGI app|"
    r"No module named|No application module|Can't connect to"
)


def _errors(lines: Sequence[str]) -> list[str]:
    """The last lines that name an error, the last one first: one that was caught may be the cause of the next, and few more are."""
    return [line.strip() for line in reversed(lines) if re.search(_ERROR, line.strip())][:3]


def _environ(lines: Sequence[str]) -> bool:
    """Whether a KeyError in the log is one of the environment: its frame is Python's own, which has no text in an image."""
    return any(re.search(r"environ\b|<frozen os>|/os\.py\"", line) for line in lines)


def _told(text: str) -> str:
    """An error's words, without its class."""
    words = re.sub(r"^(?:[\w.]+\.)?\w+(?:Error|Exception|Configured): ", "", text)
    return words if len(words) <= 200 else f"{words[:199]}…"


# What gunicorn, uvicorn, hypercorn, daphne, uwsgi and Django's own server say of where they listen.
_LISTENS = (
    r"(?:Listening at:|running on|Running on|Listening on TCP address|bound to TCP address|development server at) (?:https?://)?"
    r"(?P<host>\[[\da-f:]+\]|[\w.-]+):(?P<port>\d+)"
)


def _by_address(told: Told) -> Iterator[str]:
    found = [one for line in told.lines for one in re.finditer(_LISTENS, line)]
    if told.port is None or not found or (told.status not in (None, 0, 137, 143) and not told.health):
        return
    if all(one["host"] in ("127.0.0.1", "localhost", "[::1]") for one in found):
        host, port = found[-1]["host"], found[-1]["port"]
        yield (
            f"the server listens on {host} alone, where nobody outside of its container reaches it: have it listen on 0.0.0.0:{told.port}"
            + (f", not on port {port}" if int(port) != told.port else "")
        )
    elif all(int(one["port"]) != told.port for one in found):
        yield (
            f"the server listens on port {found[-1]['port']}, and the load balancer asks port {told.port}: have it listen on "
            f"0.0.0.0:{told.port}"
        )


_LIVEZ = "have HealthCheckPath be /livez, which the image answers before that"


def _by_health(told: Told) -> Iterator[str]:
    if "health" not in f"{told.health}\n{told.reason}".lower():
        return
    codes = re.search(r"codes: \[(\d{3})", told.health)
    status = codes[1] if codes else ""
    if status == "400" or re.search(r"Invalid HTTP_HOST header", told.log):
        yield (
            "the load balancer's health check got 400 Bad Request: the project answers at its path, and takes the task's IP address for "
            f"no name of its own (ALLOWED_HOSTS); {_LIVEZ}"
        )
    if status in ("301", "302", "307", "308"):
        yield (
            f"the load balancer's health check got {status}: it asks by plain http and follows no redirect (SECURE_SSL_REDIRECT, "
            f"APPEND_SLASH); {_LIVEZ}"
        )
    if status == "404":
        yield f"the load balancer's health check got 404: the project has no page at its path; {_LIVEZ}"
    if status:
        yield f"the load balancer's health check got {status}, not 200: look at what the application does at HealthCheckPath"
    if re.search(r"timed out", told.health, re.IGNORECASE):
        yield (
            "the load balancer's health check got no answer in time: the application is slow to start (HealthCheckGracePeriod), all its "
            f"workers are busy, or nothing listens on 0.0.0.0:{told.port}"
        )


_LOOKS: tuple[Callable[[Told], Iterator[str]], ...] = (_by_reason, _by_machine, _by_start, _by_address, _by_health)
