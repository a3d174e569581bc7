"""Processes, jobs, variables and secrets: what the tables say together, and what does not go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lastgood.config import project
from lastgood.config.project import Job, Process, Shape
from lastgood.config.sizes import size
from lastgood.errors import UsageError

RIGHT = '[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n'
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/stripe-AbCdEf:key::"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str) -> Path:
        (tmp_path / ".git").mkdir(exist_ok=True)
        (tmp_path / "manage.py").touch()
        (tmp_path / "pyproject.toml").write_text(RIGHT + text, encoding="utf-8")
        return tmp_path

    return make


def refusal(folder: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        project.load(folder)
    return str(caught.value).splitlines()


def test_a_project_that_says_nothing_has_no_shape(write: Write) -> None:
    shape = project.load(write("[tool.lastgood.environments.production]\n")).environments["production"].shape
    assert (shape, shape.text(), Shape.of("")) == (Shape(), "", Shape())


def test_what_the_issue_sketches(write: Write) -> None:
    found = project.load(
        write(f"""
[tool.lastgood.processes]
web = {{ command = "gunicorn shop.wsgi", smoke = ["/", "/accounts/login/"] }}
worker = {{ command = "celery -A shop worker -c 4", count = 2, memory = 1024, stop-timeout = 120 }}
beat = {{ command = ["celery", "-A", "shop", "beat"], single = true }}

[tool.lastgood.jobs]
nightly = {{ command = "python manage.py clearsessions", schedule = "cron(0 3 * * ? *)" }}

[tool.lastgood.variables]
EMAIL_HOST = "mail.example.org"
DB_HOST = "{{database.host}}"

[tool.lastgood.secrets]
DB_PASSWORD = "{{database.password}}"

[tool.lastgood.environments.production]
variables = {{ EMAIL_HOST = "mail.internal" }}
secrets = {{ STRIPE_KEY = "{SECRET}" }}
processes.worker = {{ count = 4 }}
""")
    )
    shape = found.environments["production"].shape
    assert shape == Shape(
        (
            Process("web", ("gunicorn", "shop.wsgi"), smoke=("/", "/accounts/login/")),
            Process("worker", ("celery", "-A", "shop", "worker", "-c", "4"), count=4, memory=1024, stop_timeout=120),
            Process("beat", ("celery", "-A", "shop", "beat"), single=True),
        ),
        (Job("nightly", ("python", "manage.py", "clearsessions"), "cron(0 3 * * ? *)"),),
        {"EMAIL_HOST": "mail.internal", "DB_HOST": "{database.host}"},
        {"DB_PASSWORD": "{database.password}", "STRIPE_KEY": SECRET},
    )
    assert Shape.of(shape.text()).text() == shape.text()
    local = found.environments["local"].shape
    assert (local.processes[1].count, local.variables["EMAIL_HOST"]) == (2, "mail.example.org")
    assert list(local.secrets) == ["DB_PASSWORD", "STRIPE_KEY"]


@pytest.mark.parametrize(
    ("own", "web", "expected"),
    [
        ("", "", None),
        ('smoke = ["/a/"]', "", ("/a/",)),
        ("", 'web = { smoke = ["/b/"] }', ("/b/",)),
        ('smoke = ["/a/"]', 'web = { smoke = ["/b/"] }', ("/b/",)),
        ('smoke = ["/a/"]', "web = { smoke = [] }", ()),
        ('smoke = ["/a/"]', "web = { port = 8080 }", ("/a/",)),
    ],
)
def test_webs_pages_come_before_the_projects(
    write: Write, own: str, web: str, expected: tuple[str, ...] | None
) -> None:
    found = project.load(write(f"{own}\n[tool.lastgood.processes]\n{web}\n"))
    assert found.environments["local"].smoke == expected


def test_an_environments_own_word_counts(write: Write) -> None:
    found = project.load(
        write(f"""
[tool.lastgood.variables]
A = "1"
B = "2"
[tool.lastgood.environments.production.secrets]
A = "{SECRET}"
[tool.lastgood.environments.local.variables]
B = "3"
""")
    )
    production, local = (found.environments[name].shape for name in ("production", "local"))
    assert (production.variables, list(production.secrets)) == ({"B": "2"}, ["A"])
    assert (local.variables, local.secrets) == ({"A": "1", "B": "3"}, {})


def test_all_that_is_wrong_is_said_at_once(write: Write) -> None:
    text = """
[tool.lastgood.processes]
web = { single = true, count = 0 }
worker = { command = "a | b", memory = 512, cpu = 1024 }
beat = { command = "x", single = true, count = 2 }
mute = { port = 8001 }
release = { command = "x" }
Two = { command = "x" }
three = { command = 5, cpu = 300, smoke = ["login"] }
four = { command = "celery", stop-during-migration = true }
[tool.lastgood.jobs]
nightly = { schedule = "daily" }
[tool.lastgood.variables]
A = "{database.hosst}"
B = "{database.password}"
LASTGOOD_X = "x"
[tool.lastgood.environments.production.secrets]
STRIPE = "sk_live_1234567890"
"""
    keys = "command, port, count, cpu, memory, stop-timeout, single, health, smoke"
    assert [line.removeprefix("pyproject.toml:") for line in refusal(write(text))] == [
        "6: [tool.lastgood.processes.web] count: is 0: nobody would answer visitors, nor the smoke test",
        "6: [tool.lastgood.processes.web] single: web is replaced while it serves; only what visitors never ask can be single",
        "7: [tool.lastgood.processes.worker] command: no shell runs it, so '|' means nothing: name one program, or write it as a list",
        "8: [tool.lastgood.processes.beat] count: is 2, and single means never two at a time: take one of the two away",
        "9: [tool.lastgood.processes.mute] command: is not there: only web has one by the image; add what it runs",
        "9: [tool.lastgood.processes.mute] port: only web has one: nobody asks other processes anything",
        "10: [tool.lastgood.processes.release] command: a process can't be called 'release': that is the release task's name",
        "11: [tool.lastgood.processes] Two: 'Two' must be 1 to 40 lower-case letters, digits and single hyphens, with a letter after each",
        "12: [tool.lastgood.processes.three] command: must be a command, as text or as a list, not 5",
        "12: [tool.lastgood.processes.three] cpu: 300 must be CPU units as Fargate has them, 256 to 16384",
        "12: [tool.lastgood.processes.three] smoke: 'login' must be a path that begins with a slash",
        f"13: [tool.lastgood.processes.four] stop-during-migration: there is no such key; it takes {keys}",
        "15: [tool.lastgood.jobs.nightly] has no 'command': add it (docs/configuration.md)",
        (
            "15: [tool.lastgood.jobs.nightly] schedule: 'daily' must be a schedule, as rate(1 hour), cron(0 3 * * ? *) or "
            "at(2027-01-31T03:00:00)"
        ),
        (
            "17: [tool.lastgood.variables] A: {database.hosst} is nothing known (did you mean 'database.host'?); there are database.host, "
            "database.port, database.name, site.url, site.host"
        ),
        "18: [tool.lastgood.variables] B: {database.password} is a secret: a variable's value can be read by many; name it below secrets",
        (
            "19: [tool.lastgood.variables] LASTGOOD_X: 'LASTGOOD_X' must be a variable's name: letters, digits and underscores, no digit "
            "first, and not LASTGOOD_…, which is ours"
        ),
        (
            "21: [tool.lastgood.environments.production.secrets] STRIPE: must be a place, never a value: a secret's whole ARN with its six "
            "letters at the end (ARN:key:: for a key of its JSON), a parameter's ARN or its name with a slash first, or one of "
            "{database.url}, {database.user}, {database.password}, {secret-key}"
        ),
    ]


def test_what_tables_say_of_one_another(write: Write) -> None:
    text = """
[tool.lastgood.processes]
worker = { command = "x" }
[tool.lastgood.variables]
X = "1"
[tool.lastgood.secrets]
X = "/shop/x"
[tool.lastgood.environments.production.processes]
wroker = { count = 4 }
[tool.lastgood.environments.staging]
processes.worker = { cpu = 512, memory = 512 }
"""
    assert [line.removeprefix("pyproject.toml:") for line in refusal(write(text))] == [
        "8: [tool.lastgood.variables] X: is a secret, too: a task takes a name once",
        "12: [tool.lastgood.environments.production.processes] wroker: there is no such process (did you mean 'worker'?)",
        "14: [tool.lastgood.environments.staging.processes.worker] memory: is 512, and with cpu = 512 Fargate has 1024 to 4096",
    ]


@pytest.mark.parametrize(
    ("cpu", "memory", "whole"),
    [
        (None, None, None),
        (512, None, (512, 1024)),
        (None, 512, (256, 512)),
        (None, 8192, (1024, 8192)),
        (1024, 4096, (1024, 4096)),
    ],
)
def test_the_size_of_a_task(cpu: int | None, memory: int | None, whole: tuple[int, int] | None) -> None:
    assert size(cpu, memory) == whole
