"""A repository that is named and filled to be run by accident: nothing of it is, where an identity could be near."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from lastgood.python import merge

from .conftest import ROOT, commit

pytestmark = pytest.mark.slow

# What Python or one of our programs would take for its own, found in the folder that it is started in.
NAMES = (
    "pip", "venv", "ensurepip", "sitecustomize", "usercustomize", "site", "json", "subprocess", "argparse", "signal", "typing", "docker",
    "boto3", "botocore", "piptools", "packaging", "setuptools", "zstandard", "lastgood", "migrator", "tomllib",
)  # fmt: skip
SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY, USE_TZ, STATIC_URL, STATIC_ROOT = "x", True, "/static/", BASE_DIR.parent / "static"
import json, os
with open({seen!r}, "a") as file:
    file.write(json.dumps(dict(os.environ)) + "\\n")
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""


# What a job with an identity has in its environment.
SECRETS = dict.fromkeys(
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GH_TOKEN"), "canary"
)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository. Whatever of it is run as a stand-in writes its own name into the file `ran` beside it."""
    root = tmp_path_factory.mktemp("stranger") / "repository"
    (root / "web/shop").mkdir(parents=True)
    trap = f"import os\nwith open({str(root.parent / 'ran')!r}, 'a') as file:\n    file.write(__file__ + '\\n')\n"
    for name in NAMES:
        (root / f"{name}.py").write_text(trap, encoding="utf-8")
    (root / "lastgood.py").unlink()
    (root / "lastgood").mkdir()
    for name in ("__init__", "__main__", "cli"):
        (root / f"lastgood/{name}.py").write_text(trap, encoding="utf-8")
    (root / "web/manage.py").touch()
    (root / "web/shop/__init__.py").touch()
    seen = str(root.parent / "seen")
    (root / "web/shop/settings.py").write_text(SETTINGS.replace("{seen!r}", repr(seen)), encoding="utf-8")
    (root / "pyproject.toml").write_text(
        '[tool.lastgood]\nproject = "shop"\napp = "web"\nsettings = "shop.settings"\n'
        '[tool.lastgood.environments.staging]\nregion = "eu-central-1"\n',
        encoding="utf-8",
    )
    entries = merge.entries((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    # An input of the lock may have any name, and is copied to where pip-compile is started, which imports click.
    (root / "requirements.in").write_text("-r click.py\n", encoding="utf-8")
    wanted = [entry.spec for entry in entries if entry.name in ("django", "gunicorn")]
    (root / "click.py").write_text("".join(f"{spec}\n" for spec in wanted), encoding="utf-8")
    (root / "docker").mkdir()
    commit(root, "Version 1")
    return root


def run(command: list[str], cwd: Path, extra: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a command as a step of a job would: with the runner's variables, and a PYTHONPATH that points into the repository."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "LASTGOOD"))
    }
    # No engine: in a container, settings could not even tell us what they see (tests/image/test_build.py has that).
    nothing = {"DOCKER_HOST": "unix:///nowhere"}
    cache = nothing | {"LASTGOOD_CACHE": os.environ.get("LASTGOOD_CACHE") or str(ROOT / ".lastgood/cache")}
    environment = kept | cache | {"PYTHONPATH": str(cwd), "PYTHONSTARTUP": str(cwd / "site.py")} | dict(extra)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def command(stranger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """`lastgood` as the set-up action installs it when it is started amid the stranger's files."""
    action = yaml.safe_load((ROOT / ".github/actions/setup/action.yml").read_text(encoding="utf-8"))
    step = next(step for step in action["runs"]["steps"] if step["name"] == "Install lastgood")
    folder = tmp_path_factory.mktemp("runner")
    (folder / "path").touch()
    extra = {
        "GITHUB_ACTION_PATH": str(ROOT / ".github/actions/setup"),
        "GITHUB_PATH": str(folder / "path"),
        "INTERPRETER": str(Path(sys.base_prefix) / "bin/python3"),
        "TARGET": str(folder / "lastgood"),
    }
    done = run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], stranger, extra)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"lastgood \d+\.\d+\.\d+\n", done.stdout)
    return f"{(folder / 'path').read_text(encoding='utf-8').strip()}/lastgood"


SAID = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"digest": {"sha256": "aa"}}],
    "predicateType": "x",
    "predicate": {},
}
STATEMENT = {"dsseEnvelope": {"payload": base64.b64encode(json.dumps(SAID).encode()).decode()}}


@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    """The address of an AWS that answers everything with a refusal."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b'{"__type": "AccessDenied", "message": "no"}'
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ran(stranger: Path) -> list[str]:
    """The stand-ins that ran."""
    file = stranger.parent / "ran"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_the_traps_work(stranger: Path) -> None:
    """Started the way that is wrong, they run: else the tests below would prove nothing."""
    run([sys.executable, "-m", "venv", "--help"], stranger, {})
    assert f"{stranger}/venv.py" in ran(stranger)
    (stranger.parent / "ran").unlink()


def test_the_command_is_set_up_amid_them(stranger: Path, command: str) -> None:
    assert Path(command).is_file()
    assert ran(stranger) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "lock",
        "lock --check --prove",
        "build --layout ../layout",
        "scan",
        "scan --layout ../layout",
        "sbom",
        "scan --environment staging --layout ../layout --against last-good",
        "push --environment staging",
        "push --environment staging --layout ../layout",
        "deploy --environment staging",
        "rollback --environment staging --reason x",
        "status --environment staging",
        "history --environment staging",
        "cache",
        "doctor",
    ],
)
def test_a_verb_amid_them(stranger: Path, command: str, cloud: str, arguments: str) -> None:
    """Whatever it comes to: the cloud refuses all that it is asked for."""
    extra = SECRETS | {"AWS_ENDPOINT_URL": cloud, "AWS_ACCESS_KEY_ID": "x"}
    done = run([command, *arguments.split()], stranger, extra)
    if arguments == "lock":
        assert done.returncode == 0, done.stderr
        commit(stranger, "Locked")
    elif "staging" in arguments:
        assert "AccessDenied" in done.stderr, done.stderr
    elif arguments != "doctor":
        assert done.returncode == 0, done.stderr
    assert ran(stranger) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "scan --layout {}",
        "sbom --layout {}",
        "push --environment staging --layout {}",
        "attest --environment staging --digest sha256:aa statement.json",
        "deploy --environment staging --digest sha256:x",
        "rollback --environment staging --reason x",
    ],
)
def test_beside_an_identity_two_files_are_enough(
    stranger: Path, command: str, cloud: str, tmp_path: Path, arguments: str
) -> None:
    """Those that the workflows check out there."""
    for name in ("pyproject.toml", "web/manage.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(stranger / name, tmp_path / name)
    layout = stranger.parent / "layout"
    extra = SECRETS | {"AWS_ENDPOINT_URL": cloud, "AWS_ACCESS_KEY_ID": "x", "LASTGOOD_CACHE": str(tmp_path / "cache")}
    if arguments.startswith("push"):  # which takes nothing that was not scanned there
        assert run([command, "scan", "--layout", str(layout)], tmp_path, extra).returncode == 0
    (tmp_path / "statement.json").write_text(json.dumps(STATEMENT), encoding="utf-8")
    done = run([command, *arguments.format(layout).split()], tmp_path, extra)
    assert ("AccessDenied" in done.stderr) if "staging" in arguments else done.returncode == 0, done.stderr


def test_settings_see_what_they_are_given_and_nothing_else(stranger: Path) -> None:
    """Of the environment. What the account can read, a process of it can read, too: so the job that builds has nothing to read."""
    seen = [json.loads(line) for line in (stranger.parent / "seen").read_text(encoding="utf-8").splitlines()]
    assert seen
    for environment in seen:
        assert "canary" not in str(environment)
        assert set(environment) - {"_", "PWD", "SHLVL", "OLDPWD"} == {
            "DJANGO_SETTINGS_MODULE", "HOME", "LC_ALL", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONHOME", "PYTHONPATH",
        }  # fmt: skip
        assert not environment["HOME"].startswith(os.environ["HOME"] + os.sep)  # a folder that goes with the run


def test_every_workflow_sets_the_command_up_before_it_checks_out() -> None:
    found = {}
    for file in sorted((ROOT / ".github/workflows").glob("[!.]*.yml")):
        for name, job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].items():
            uses = [str(step.get("uses", "")) for step in job.get("steps", ())]
            if any("/setup" in use for use in uses):
                checkouts = [at for at, use in enumerate(uses) if use.startswith("actions/checkout")]
                setups = [at for at, use in enumerate(uses) if use.endswith(".github/actions/setup")]
                found[f"{file.stem}.{name}"] = bool(setups) and all(max(setups) < at for at in checkouts)
    assert found
    assert [name for name, right in found.items() if not right] == []
