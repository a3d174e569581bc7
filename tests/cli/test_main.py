"""The command line as a person or a CI job meets it: exit status, what is on which stream, one sentence for an error."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ReadTimeoutError
from lastgood import __version__, cli
from lastgood.errors import FailedNotRestored, FailedRestored, Refused, UsageError

VERBS = (
    "init", "lock", "lock-base", "build", "scan", "sbom", "push", "attest", "cache", "deploy", "rollback", "status", "history",
    "diff",
    "lock-status", "unlock", "prune", "template", "run", "job", "logs", "secret", "bootstrap", "local", "demo", "doctor",
    "completion",
)  # fmt: skip
HEAVY = ("boto3", "botocore", "docker", "debian", "pysequoia", "pip", "piptools", "dockerfile_parse", "django",
         "msgspec", "argcomplete", "elftools", "detect_secrets", "pip_audit", "cyclonedx", "squarify", "zstandard",
         "sigstore", "cryptography", "pydantic")  # fmt: skip

OURS = ("lastgood.config.project", "lastgood.report.terminal")  # nor before the verb is known


@pytest.fixture(autouse=True)
def keep_the_signal_handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`main` takes SIGTERM over for its process; pytest's is not its own."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project without a build."""
    (tmp_path / "manage.py").touch()
    text = '[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    return tmp_path


def lastgood(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "lastgood", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])} | variables,
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lastgood import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as end: print(end.code)\n"
        f"print([name for name in {(*HEAVY, *OURS)!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]


def test_help_names_every_verb_with_a_sentence() -> None:
    done = lastgood("--help", COLUMNS="200")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if re.match(r" {4}\S", line)]
    assert [line[0] for line in lines] == list(VERBS)
    sentences = " ".join(done.stdout.split())
    assert [verb.name for verb in cli.verbs() if not verb.help or verb.help not in sentences] == []
    assert "exit status: 0 done or good · 1 refused, nothing touched · 2 usage or configuration" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"usage: lastgood {verb} [-h] [--project FOLDER] [--json]")
    assert said.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"lastgood {__version__}\n"


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ship"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lastgood: argument VERB: invalid choice: 'ship' (choose from ")
    assert said.err.endswith("completion') (see `lastgood --help`)\n") or said.err.endswith(
        "completion) (see `lastgood --help`)\n"
    )
    assert said.err.count("\n") == 1


def test_no_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "lastgood: the following arguments are required: VERB (see `lastgood --help`)\n"


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--fast"]) == 2
    assert capsys.readouterr().err == "lastgood: unrecognized arguments: --fast (see `lastgood build --help`)\n"


def test_an_option_of_the_wrong_type_names_the_verbs_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history", "--limit", "many"]) == 2
    expected = "lastgood: argument --limit: invalid int value: 'many' (see `lastgood history --help`)\n"
    assert capsys.readouterr().err == expected


def test_an_error_is_one_sentence_on_standard_error(shop: Path) -> None:
    done = lastgood("scan", "--project", str(shop))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"lastgood: nothing was built here yet ({shop}/.lastgood/build.json does not exist): run `lastgood build`\n"
    )


def test_an_error_keeps_standard_output_empty_for_json_too(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scan", "--json", "--project", str(shop)]) == 2
    assert capsys.readouterr().out == ""


def test_an_error_is_an_annotation_on_github(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_folder: Path) -> None:
        raise UsageError("100% wrong:\nline two")

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setattr("lastgood.config.project.load", fails)
    assert cli.main(["scan", "--project", str(shop)]) == 2
    expected = "lastgood: 100% wrong:\nline two\n::error title=lastgood::100%25 wrong:%0Aline two\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (Refused("no"), 1, "lastgood: no\n"),
        (UsageError("no"), 2, "lastgood: no\n"),
        (FailedRestored("no"), 3, "lastgood: no\n"),
        (FailedNotRestored("no"), 4, "lastgood: no\n"),
        (KeyboardInterrupt(), 130, "lastgood: interrupted\n"),
        (
            OSError(28, "No space left on device", "/cache/x"),
            2,
            "lastgood: No space left on device (/cache/x): nothing half done was kept; mend that and run the command again\n",
        ),
        # Of whatever verb: push, deploy and scan ask the record before anything else.
        (
            NoCredentialsError(),
            2,
            "lastgood: AWS could not be asked: Unable to locate credentials; check the credentials and the region\n",
        ),
        (
            ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "GetItem"),
            2,
            (
                "lastgood: there is no release record in this account and region: run `lastgood bootstrap` once, or set the environment's "
                "region\n"
            ),
        ),
        (
            ReadTimeoutError(endpoint_url="https://x"),  # an OSError, too
            2,
            'lastgood: AWS could not be asked: Read timeout on endpoint URL: "https://x"; check the credentials and the region\n',
        ),
    ],
)
def test_exit_statuses(
    raised: BaseException,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_folder: Path) -> None:
        raise raised

    monkeypatch.setattr("lastgood.config.project.load", fails)
    assert cli.main(["scan"]) == status
    assert capsys.readouterr().err == said


def test_all_that_is_wrong_with_the_configuration(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (shop / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write('[tool.lastgood.image]\nbugdet = "3 MB"\nplatforms = []\n[tool.lastgood.local]\nport = 0\n')
    assert cli.main(["status", "--project", str(shop)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "lastgood: pyproject.toml:5: [tool.lastgood.image] bugdet: there is no such key (did you mean 'budget'?); it takes compression, "
        "sources, static, mirror, snapshot, dockerfile, platforms, packages, build-packages, aws-services, languages, exclude, keep, "
        "before-static, before-static-makes, without, "
        "accept, budget, environment\n"
        "pyproject.toml:6: [tool.lastgood.image] platforms: must name one of linux/amd64, linux/arm64\n"
        "pyproject.toml:8: [tool.lastgood.local] port: 0 must be a port, 1 to 65535\n"
    )


def test_doctor_as_json_is_one_document(shop: Path) -> None:
    done = lastgood("doctor", "--json", "--project", str(shop), LASTGOOD_DEBIAN_MIRROR="http://mirror.invalid/debian")
    facts = {entry["what"]: entry for entry in json.loads(done.stdout)}
    assert list(facts) == ["python", "git", "machine", "docker", "debian mirror", "project", "credentials"]
    assert facts["debian mirror"] == {"what": "debian mirror", "ok": True, "text": "named by LASTGOOD_DEBIAN_MIRROR"}
    assert facts["project"] == {"what": "project", "ok": True, "text": "shop, environments local"}
    assert done.returncode == (0 if all(entry["ok"] for entry in facts.values()) else 2)


def test_doctor_names_what_is_wrong_with_the_project(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    done = lastgood("doctor", "--json", "--project", str(tmp_path))
    facts = {entry["what"]: entry for entry in json.loads(done.stdout)}
    assert done.returncode == 2
    assert facts["project"]["text"] == (
        f"there is no pyproject.toml in {tmp_path} or above it: run lastgood in a project that has one, or point to it with --project"
    )


def test_doctor_shows_each_mistake_of_the_project_on_a_line(shop: Path) -> None:
    with (shop / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("[tool.lastgood.local]\nport = 0\nsite_port = 0\n")
    lines = lastgood("doctor", "--project", str(shop)).stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "project" in line)
    assert lines[at : at + 2] == [
        "✗ project       pyproject.toml:5: [tool.lastgood.local] port: 0 must be a port, 1 to 65535",
        "                pyproject.toml:6: [tool.lastgood.local] site_port: 0 must be a port, 1 to 65535",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """A mirror that never answers holds the command; the signal is sent when it has asked."""
    seeds = tmp_path / "seeds.toml"
    seeds.write_text('suite = "trixie"\n[runtime]\npackages = ["tzdata"]\n', encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        mirror.settimeout(30)
        address = f"http://127.0.0.1:{mirror.getsockname()[1]}/debian"
        running = subprocess.Popen(
            [sys.executable, "-m", "lastgood", "lock-base", "--seeds", str(seeds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LASTGOOD_DEBIAN_MIRROR": address, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        )
        asked = mirror.accept()[0]
        running.send_signal(number)
        out, error = running.communicate(timeout=30)
        asked.close()
    assert (running.returncode, out) == (130, "")
    assert error.splitlines()[0].startswith("✗ resolve seeds.toml")
    assert error.splitlines()[1:] == ["lastgood: interrupted"]
    assert [file.name for file in tmp_path.iterdir()] == ["seeds.toml"]


@pytest.mark.parametrize("verb", ["push", "deploy", "scan"])
def test_without_credentials_it_is_one_sentence(verb: str, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks the record outside of a release, too: nothing ends in botocore's traceback."""
    file = shop / "pyproject.toml"
    staging = '[tool.lastgood.environments.staging]\nregion = "eu-central-1"\n'
    file.write_text(file.read_text(encoding="utf-8") + staging, encoding="utf-8")
    code = (
        "import sys; from lastgood import cli\n"
        "from lastgood.image import build, built\n"
        "from types import SimpleNamespace as Any\n"
        "from pathlib import Path\n"
        "image = Any(digest='sha256:x', build='b', folder=Path('/nowhere'))\n"
        "build.last = built.last = lambda state: image\n"
        "from lastgood.scan import verdict\n"
        "verdict.demand = lambda image: None\n"
        "options = ['--against', 'last-good'] if sys.argv[1] == 'scan' else []\n"
        "sys.exit(cli.main([*sys.argv[1:], '-e', 'staging', *options]))"
    )
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(shop), "GITHUB_ACTIONS": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--project", str(shop)],
        capture_output=True,
        text=True,
        check=False,
        env=hidden | nowhere,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Unable to locate credentials" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("lastgood: ")
