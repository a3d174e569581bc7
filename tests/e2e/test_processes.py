"""A project with a worker, a scheduler, a job, variables and a secret on the one-machine cloud: released, broken, taken back."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]

TABLES = """
[tool.lastgood.processes]
web = { smoke = ["/"] }
worker = { command = "python manage.py work --as worker", stop-timeout = 5 }
beat = { command = ["manage.py", "work", "--as", "beat"], single = true, stop-timeout = 5 }

[tool.lastgood.jobs]
nightly = { command = "python manage.py say job", schedule = "cron(0 3 * * ? *)" }

[tool.lastgood.variables]
GREETING = "good morning from {database.host}:{database.port}"

[tool.lastgood.environments.production.secrets]
STRIPE_KEY = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/stripe-AbCdEf:key::"
"""
WORK = """
from __future__ import annotations

import time

from django.core.management.base import BaseCommand
from releases.models import Release


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--as", dest="name")

    def handle(self, **options):
        print(f"{options['name']} has begun, {Release.objects.count()} releases", flush=True)
        WHEN_IT_ENDS
        while True:
            time.sleep(1)
"""
SAY = """
from __future__ import annotations

import os
import sys

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("what")
        parser.add_argument("--status", type=int, default=0)

    def handle(self, **options):
        print(options["what"], "|", os.environ["GREETING"], "|", len(os.environ["STRIPE_KEY"]), flush=True)
        sys.exit(options["status"])
"""
COMMANDS = "app/releases/management/commands"


def commit(home: Path, ending: str) -> None:
    """A build whose worker does what `ending` says once it has begun."""
    (home / COMMANDS / "work.py").write_text(WORK.replace("WHEN_IT_ENDS", ending), encoding="utf-8")
    (home / COMMANDS / "say.py").write_text(SAY, encoding="utf-8")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@lastgood.invalid"]
    subprocess.run([*git, "add", "-A"], cwd=home, check=True)
    subprocess.run([*git, "commit", "-q", "-m", ending], cwd=home, check=True)


def facts(done: Any) -> Any:
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def deployed(home: Path, lastgood: Any) -> dict[str, Any]:
    """The first release, which is good."""
    file = home / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8") + TABLES, encoding="utf-8")
    commit(home, "pass")
    for verb in (("local", "up"), ("bootstrap",), ("build",), ("scan",), ("push",)):
        done = lastgood(*verb)
        assert done.returncode == 0, done.stderr[-4000:]
    refused = lastgood("deploy")
    assert (refused.returncode, refused.stderr.splitlines()[-2:]) == (
        1,
        [
            "lastgood: environment local can't run this yet:",
            "  secret STRIPE_KEY has no value on this machine: `lastgood secret set STRIPE_KEY` takes it from standard input",
        ],
    )
    assert json.loads(lastgood("history", "--json").stdout) == []
    assert lastgood("secret", "set", "STRIPE_KEY", stdin="hunter22").returncode == 0
    found: dict[str, Any] = facts(lastgood("deploy", "--json"))
    return found


def processes(lastgood: Any) -> dict[str, Any]:
    found = facts(lastgood("status", "--json"))
    return {one["name"]: (one["running"], one["desired"], one["digest"]) for one in found["processes"]} | {
        "verdict": found["verdict"]
    }


def test_every_process_runs_the_build(deployed: dict[str, Any], lastgood: Any) -> None:
    assert deployed["state"] == "good"
    one = (1, 1, deployed["digest"])
    assert processes(lastgood) == {"web": one, "worker": one, "beat": one, "verdict": "as last good"}
    text = lastgood("logs", "worker", "--grep", "begun").stdout
    assert "worker has begun, 0 releases" in text
    assert "beat has begun" not in text


def test_a_command_and_a_job_run_beside_it(deployed: dict[str, Any], lastgood: Any) -> None:
    done = lastgood("run", "--process", "worker", "--", "python", "manage.py", "say", "hello", "--status", "7")
    assert (done.returncode, done.stdout) == (7, "hello | good morning from postgres:5432 | 8\n"), done.stderr
    done = lastgood("job", "run", "nightly")
    assert (done.returncode, done.stdout) == (0, "job | good morning from postgres:5432 | 8\n"), done.stderr
    wrong = lastgood("job", "run", "nightli")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "lastgood: last good of environment local has no job 'nightli' (did you mean 'nightly'?): it has nightly\n",
    )


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("raise RuntimeError('no queue')", "RuntimeError: no queue"),
        ("time.sleep(2.5); raise RuntimeError('queue lost')", "RuntimeError: queue lost"),
    ],
)
def test_a_worker_that_ends_is_a_failed_release_and_everything_comes_back(
    deployed: dict[str, Any], home: Path, lastgood: Any, ending: str, said: str
) -> None:
    commit(home, f"if options['name'] == 'worker': {ending}")
    for verb in ("build", "scan", "push"):
        done = lastgood(verb)
        assert done.returncode == 0, done.stderr[-4000:]
    failed = lastgood("deploy")
    assert failed.returncode == 3, failed.stderr[-4000:]
    assert said in failed.stderr, failed.stderr[-4000:]
    assert "worker did not" in failed.stderr
    assert f"last good is back and verified: build {deployed['build']}" in failed.stderr
    one = (1, 1, deployed["digest"])
    assert processes(lastgood) == {"web": one, "worker": one, "beat": one, "verdict": "as last good"}


def test_a_single_one_is_never_there_twice(deployed: dict[str, Any], home: Path, lastgood: Any) -> None:
    """Its containers are counted all the time while a new build is released."""
    import docker

    commit(home, "pass  # another build")
    for verb in ("build", "scan", "push"):
        done = lastgood(verb)
        assert done.returncode == 0, done.stderr[-4000:]
    instance = json.loads(lastgood("local", "status", "--json").stdout)["instance"]
    engine = docker.DockerClient.from_env()
    seen: dict[str, list[int]] = {"beat": [], "worker": []}
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            running = [
                one["Names"][0] for one in engine.api.containers(filters={"label": f"lastgood.instance={instance}"})
            ]
            for name, counts in seen.items():
                counts.append(sum(one.endswith(f"-{name}") for one in running))
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        found = facts(lastgood("deploy", "--json"))
    finally:
        over.set()
        watching.join()
        engine.close()
    assert found["state"] == "good"
    assert processes(lastgood)["beat"] == (1, 1, found["digest"])
    assert (min(seen["beat"]), max(seen["beat"])) == (0, 1)
    assert min(seen["worker"]) >= 1  # which is no single one: the new one is there before the old one leaves
