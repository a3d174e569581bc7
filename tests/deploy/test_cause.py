"""Why a task did not come up: texts as ECS, servers and libraries write them, and the sentence that each comes to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lastgood.deploy.cause import Told, cause, cause_of_settings
from lastgood.deploy.progress import Progress

EXITED = "Essential container in task exited"
UNHEALTHY = "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1)"
BOOT = """\
  File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
  File "/app/shop/settings.py", line 3, in <module>
    STRIPE = os.environ["STRIPE_KEY"]
             ~~~~~~~~~~^^^^^^^^^^^^^^
  File "<frozen os>", line 679, in __getitem__
KeyError: 'STRIPE_KEY'
"""
GUNICORN = f"""{BOOT}'STRIPE_KEY'
[2026-11-25 20:26:42 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-11-25 20:26:43 +0000] [1] [ERROR] Worker (pid:7) exited with code 3.
[2026-11-25 20:26:43 +0000] [1] [ERROR] Shutting down: Master
[2026-11-25 20:26:43 +0000] [1] [ERROR] Reason: Worker failed to boot."""
UWSGI = f"""{BOOT}unable to load app 0 (mountpoint='') (callable not found or import error)
*** no app loaded. going in full dynamic mode ***
spawned uWSGI worker 1 (and the only) (pid: 9, cores: 1)"""
STRIPE = "the variable STRIPE_KEY is not set: give it to the task, or the settings a default"
LOOPBACK = (
    "the server listens on {} alone, where nobody outside of its container reaches it: have it listen on 0.0.0.0:8000"
)
MEMORY = "raise the parameter Memory, or the `memory` of the process, or start fewer workers"
NEEDS = f"the container needs more memory than it has: {MEMORY}"
LIVEZ = "have HealthCheckPath be /livez, which the image answers before that"
SECRET = "arn:aws:secretsmanager:eu-west-1:1:secret:shop/db-AbCdEf"
ASM = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable "
    "to retrieve secret "
    "from asm: service call has been retried 1 time(s): "
)
ALLOW = "run `lastgood bootstrap` again, which lets it, and look at the policies of the secret and of its key"
EVENT = (
    "(service shop_live) (task 1) (port 8000) is unhealthy in (target-group x) due to (reason Health checks failed{})."
)


def unhealthy(code: str) -> str:
    return EVENT.format(f" with these codes: [{code}]")


def lines(text: str) -> list[str]:
    return text.splitlines()


TEXTS: dict[str, tuple[Told, str]] = {
    # The application's start.
    "KeyError, gunicorn": (Told(EXITED, 3, lines(GUNICORN)), STRIPE),
    "KeyError, uvicorn, daphne and hypercorn": (Told(EXITED, 1, lines(BOOT)), STRIPE),
    "KeyError, uwsgi, which goes on": (Told(UNHEALTHY, 0, lines(UWSGI), unhealthy("500")), STRIPE),
    "KeyError of no variable": (Told(EXITED, 1, ["    COLOURS['RED']", "KeyError: 'RED'"]), ""),
    "django-environ": (
        Told(EXITED, 1, ["django.core.exceptions.ImproperlyConfigured: Set the STRIPE_KEY environment variable"]),
        STRIPE,
    ),
    "python-decouple": (
        Told(EXITED, 1, ["decouple.UndefinedValueError: STRIPE_KEY not found. Declare it as envvar or define a default value."]),
        STRIPE,
    ),
    "environs": (Told(EXITED, 1, ['environs.exceptions.EnvError: Environment variable "STRIPE_KEY" not set']), STRIPE),
    "in words of its own": (
        Told(EXITED, 1, ["django.core.exceptions.ImproperlyConfigured: The process can't start: STRIPE_KEY is not set."]),
        STRIPE,
    ),
    "and in others": (Told(EXITED, 1, ["RuntimeError: missing required setting STRIPE_KEY"]), STRIPE),
    "no secret key": (
        Told(EXITED, 1, ["django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty."]),
        "the setting SECRET_KEY is empty: read it from the variable SECRET_KEY, which the task has",
    ),
    "what settings say": (
        Told(EXITED, 1, ["django.core.exceptions.ImproperlyConfigured: CACHE_URL is not a redis:// URL"]),
        "the settings refuse to start (CACHE_URL is not a redis:// URL): mend them, or set what they ask for",
    ),
    "a module": (
        Told(EXITED, 3, ["ModuleNotFoundError: No module named 'shop.nowhere'", "No module named 'shop.nowhere'", "[INFO] x"]),
        ("the module shop.nowhere is not in the image: mend its name, or name the package that has it in "
        "requirements.in, run `lastgood lock`, "
        "and commit both files"),
    ),
    "gunicorn finds no application": (
        Told(EXITED, 4, ["Failed to find attribute 'app' in 'shop.wsgi'.", "[ERROR] Reason: App failed to load."]),
        ("the server does not find the application (Failed to find attribute 'app' in 'shop.wsgi'.): mend the module "
        "that it is started with"),
    ),
    "uvicorn finds no application": (
        Told(EXITED, 1, ['ERROR:    Error loading ASGI app. Could not import module "shop.nowhere".']),
        ('the server does not find the application (ERROR:    Error loading ASGI app. Could not import module "shop.nowhere".): mend the '
        "module that it is started with"),
    ),
    "a file": (
        Told(EXITED, 1, ["OSError: [Errno 30] Read-only file system: '/app/media'"]),
        "it writes to /app/media, and its file system is read-only but for /tmp: write there, or to a bucket or the database",
    ),
    "the database": (
        Told(EXITED, 1, ['psycopg.OperationalError: connection failed: connection to server at "10.0.0.9", port 5432 failed: timeout']),
        ('it does not come to its database (connection failed: connection to server at "10.0.0.9", port 5432 failed: '
        'timeout): look at the '
        "address in the secret, and at the database's security group"),
    ),
    "an error that nobody knows": (Told(EXITED, 1, ["shop.errors.ShopError: closed"]), ""),
    "nothing": (Told(), ""),
    # Where it listens.
    **{
        f"loopback, {server}": (Told(UNHEALTHY, 0, [text], EVENT.format("")), LOOPBACK.format("127.0.0.1"))
        for server, text in {
            "gunicorn": "[2026-11-25 20:26:53 +0000] [1] [INFO] Listening at: http://127.0.0.1:8000 (1)",
            "uvicorn": "INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)",
            "daphne": "2026-11-25 14:27:03,394 INFO     Listening on TCP address 127.0.0.1:8000",
            "hypercorn": "[2026-11-25 14:27:07 -0600] [1] [INFO] Running on http://127.0.0.1:8000 (CTRL + C to quit)",
            "uwsgi": "uwsgi socket 0 bound to TCP address 127.0.0.1:8000 fd 3",
            "runserver": "Starting development server at http://127.0.0.1:8000/",
        }.items()
    },
    "loopback, killed, and no event to see": (
        Told(UNHEALTHY, 137, ["[INFO] Listening at: http://127.0.0.1:5000 (1)"]),
        f"{LOOPBACK.format('127.0.0.1')}, not on port 5000",
    ),
    "another port": (
        Told(UNHEALTHY, 143, ["[INFO] Listening at: http://0.0.0.0:5000 (1)"]),
        "the server listens on port 5000, and the load balancer asks port 8000: have it listen on 0.0.0.0:8000",
    ),
    "the port that is asked": (Told("", 0, ["[INFO] Listening at: http://0.0.0.0:5000 (1)"], port=5000), ""),
    "a crash of one that listened on loopback": (Told(EXITED, 1, ["[INFO] Listening at: http://127.0.0.1:8000 (1)"]), ""),
    # Its health.
    "ALLOWED_HOSTS": (
        Told(UNHEALTHY, 0, [], unhealthy("400")),
        ("the load balancer's health check got 400 Bad Request: the project answers at its path, and takes the task's IP "
        "address for no name of "
        f"its own (ALLOWED_HOSTS); {LIVEZ}"),
    ),
    "SECURE_SSL_REDIRECT": (
        Told(UNHEALTHY, 0, [], unhealthy("301")),
        ("the load balancer's health check got 301: it asks by plain http and follows no redirect (SECURE_SSL_REDIRECT, APPEND_SLASH); "
        f"{LIVEZ}"),
    ),
    "no such page": (
        Told(UNHEALTHY, 0, [], unhealthy("404")),
        f"the load balancer's health check got 404: the project has no page at its path; {LIVEZ}",
    ),
    "503": (
        Told(UNHEALTHY, 0, [], unhealthy("503")),
        "the load balancer's health check got 503, not 200: look at what the application does at HealthCheckPath",
    ),
    "no answer": (
        Told(UNHEALTHY, 0, [], "(service x) is unhealthy in (target-group x) due to (reason Request timed out)."),
        ("the load balancer's health check got no answer in time: the application is slow to start "
        "(HealthCheckGracePeriod), all its workers are "
        "busy, or nothing listens on 0.0.0.0:8000"),
    ),
    # The machine.
    "out of memory": (Told("OutOfMemoryError: Container killed due to memory usage", 137), NEEDS),
    "out of memory, by its exit status": (
        Told(EXITED, 137),
        f"the container was killed (exit status 137), as one is that needs more memory than it has: {MEMORY}",
    ),
    "a worker out of memory": (
        Told(UNHEALTHY, 0, ["[ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?"]),
        NEEDS,
    ),
    "killed because it was stopped": (Told("Scaling activity initiated by (deployment ecs-svc/1)", 137), ""),
    "other processors": (
        Told(EXITED, 255, ["exec /usr/bin/python3.13: exec format error"]),
        ("the image is made for other processors than the task runs on (exec format error): set the parameter "
        "Architecture to the image's, or "
        "[tool.lastgood.image] platforms to the task's"),
    ),
    # What ECS could not fetch.
    "no such platform": (
        Told("CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/arm64'"),
        ("the image is not made for the processors that the task runs on: set the parameter Architecture to the image's, "
        "or add the platform to "
        "[tool.lastgood.image] platforms"),
    ),
    "no such image": (
        Told("CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref "
        "1.dkr.ecr/shop@sha256:1: not found"),
        "the image is not in the registry any more: build and push it again",
    ),
    "no way to the registry": (
        Told("CannotPullContainerError: ref pull has been retried 5 time(s): failed to do request: dial tcp 10.0.0.1:443: i/o timeout"),
        ("the image's registry can't be reached from the task's subnets: they need a NAT gateway, endpoints for ECR and "
        "S3, or AssignPublicIp = "
        '"ENABLED"'),
    ),
    "no way to it, in ECS's newer words": (
        Told(
            "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth "
            "from Amazon ECR: There is a "
            "connection issue between the task and Amazon ECR. Check your task network configuration."
        ),
        ("the image's registry can't be reached from the task's subnets: they need a NAT gateway, endpoints for ECR and "
        "S3, or AssignPublicIp = "
        '"ENABLED"'),
    ),
    "a secret that may not be read": (
        Told(f"{ASM}failed to fetch secret {SECRET} from secrets manager: AccessDeniedException: User: x is not authorized"),
        f"the task may not read the secret {SECRET}: {ALLOW}",
    ),
    "a secret that is not there": (
        Told(
            f"{ASM}failed to fetch secret {SECRET} from secrets manager: ResourceNotFoundException: Secrets Manager "
            f"can't find the specified secret."
        ),
        f"the secret {SECRET} does not exist: make it, or mend its ARN",
    ),
    "a key that it has not": (
        Told("ResourceInitializationError: unable to pull secrets: retrieved secret from Secrets Manager did not "
        "contain json key username"),
        "a secret's JSON has no key username: add it to the secret, or mend the key at the end of its ARN",
    ),
    "no way to the secrets": (
        Told(f'{ASM}RequestCanceled: request context canceled caused by: context deadline exceeded'),
        ("the task's secrets can't be reached from its subnets: they need a NAT gateway, an endpoint for Secrets "
        "Manager, or AssignPublicIp = "
        '"ENABLED"'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_cause(name: str) -> None:
    told, expected = TEXTS[name]
    assert cause(told) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("forward by build b: the settings module shop.settings does not import: KeyError: 'STRIPE_KEY'", STRIPE),
        (
            "forward by build b: the apps of shop.settings do not load: ImproperlyConfigured: Set the STRIPE_KEY environment variable",
            STRIPE,
        ),
        ("forward by build b: shop.0002_price: KeyError: 'STRIPE_KEY'", ""),
    ],
)
def test_settings_that_a_release_task_can_not_load(said: str, expected: str) -> None:
    assert cause_of_settings(said) == expected


def test_it_is_said_of_the_migration() -> None:
    said = "forward by build b: the settings module shop.settings does not import: KeyError: 'STRIPE_KEY'"
    reason = f"Received response status [FAILED] from custom resource. Message returned: {said}\nlast log lines (RequestId: 1)"
    event: Any = SimpleNamespace(type="Custom::Migration", reason=reason)
    assert Cluster("", 1, "").progress._why(event) == f"the migration failed: {STRIPE} ({said})\nlast log lines"


class Cluster:
    """ECS and CloudWatch with one task of the build, which has ended so."""

    def __init__(
        self, log: str, status: int | None, reason: str, event: str = "", *, name: str = "web", port: int | None = None
    ) -> None:
        self.log, self.name, self.port = log, name, port
        container = {"name": name, "image": "r@sha256:1", "exitCode": status}
        self.task = {"taskArn": "t/1", "taskDefinitionArn": "d", "stoppedReason": reason, "containers": [container]}
        self.event = event

    def list_tasks(self, **_: Any) -> dict[str, Any]:
        return {"taskArns": ["t/1"]}

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        return {"tasks": [self.task]}

    def describe_services(self, **_: Any) -> dict[str, Any]:
        return {"services": [{"events": [{"message": "has started 1 tasks"}, {"message": self.event}]}]}

    def describe_task_definition(self, **_: Any) -> dict[str, Any]:
        logged = {"options": {"awslogs-group": "/lastgood/shop"}}
        ports = {"portMappings": [{"containerPort": self.port}]} if self.port else {}
        container = {"name": self.name, "logConfiguration": logged} | ports
        return {"taskDefinition": {"containerDefinitions": [container]}}

    def get_log_events(self, **_: Any) -> dict[str, Any]:
        return {"events": [{"message": line} for line in self.log.splitlines()]}

    @property
    def progress(self) -> Progress:
        session: Any = SimpleNamespace(project="shop", cluster="shop_live", client=lambda _: self)
        return Progress(session, SimpleNamespace(operation=lambda: None), "sha256:1")  # type: ignore[arg-type]


def test_it_is_said_first_and_its_proof_below() -> None:
    told = Cluster("before\n" * 30 + GUNICORN, 3, EXITED).progress.crash()
    first, title, *shown = told.split("\n")
    assert first == f"{STRIPE} (its container ended with exit status 3 ({EXITED}))"
    assert title == "last log lines:"
    assert len(shown) == 15
    assert shown[-1] == "[2026-11-25 20:26:43 +0000] [1] [ERROR] Reason: Worker failed to boot."


def test_a_cause_above_the_lines_that_are_shown() -> None:
    told = Cluster(BOOT + "after\n" * 30, 1, EXITED).progress.crash()
    assert told.startswith(f"{STRIPE} (its container ended with exit status 1")
    assert "KeyError" not in told.partition("\n")[2]


def test_what_the_health_check_got() -> None:
    told = Cluster("", 0, UNHEALTHY, unhealthy("404")).progress.crash()
    assert told == (
        f"the load balancer's health check got 404: the project has no page at its path; {LIVEZ} "
        f"(its container ended with exit status 0 ({UNHEALTHY}))"
    )


def test_what_a_site_that_answers_badly_says_in_its_log() -> None:
    assert Cluster(BOOT, None, "").progress.answering() == (f": {STRIPE}\nlast log lines:\n" + "\n".join(lines(BOOT)))
    assert Cluster("", None, "").progress.answering() == ""


LISTENS = "[1] [INFO] Listening at: http://0.0.0.0:8080 (1)"


def test_it_is_asked_at_the_port_that_web_has() -> None:
    told = "the server listens on port 8080, and the load balancer asks port 8000: have it listen on 0.0.0.0:8000"
    assert Cluster(LISTENS, 0, "").progress.crash().startswith(f"{told} (")
    assert Cluster(LISTENS, 0, "", port=8080).progress.crash().startswith("its container ended with exit status 0")
    assert Cluster(LISTENS, None, "").progress.answering().startswith(f": {told}\n")
    assert Cluster(LISTENS, None, "", port=8080).progress.answering().startswith("\nlast log lines:\n")


def test_a_process_that_nobody_asks_is_told_no_address_and_no_health() -> None:
    worker = Cluster(LISTENS, 0, "", unhealthy("404"), name="worker")
    assert worker.progress.crash("worker") == f"its container ended with exit status 0\nlast log lines:\n{LISTENS}"
    assert Cluster(BOOT, 1, EXITED, name="worker").progress.crash("worker").startswith(f"{STRIPE} (")
