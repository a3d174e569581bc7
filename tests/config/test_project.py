"""`[tool.lastgood]`: what is right is read once; what is wrong is named with its line and the way on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lastgood.config import project
from lastgood.config.project import Budget, Environment, ImageSettings, LocalSettings, LockSettings
from lastgood.errors import UsageError

Write = Callable[[str], Path]

RIGHT = """\
[tool.lastgood]
project = "shop"
app = "web"
settings = "shop.settings"
"""
VARIABLES = ("LASTGOOD_LOCAL_PORT", "LASTGOOD_SITE_PORT", "LASTGOOD_DATABASE_PORT", "LASTGOOD_STATE", "LASTGOOD_CACHE")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine sets must not decide."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes pyproject.toml beside an app folder with manage.py; returns the project's folder."""

    def make(text: str) -> Path:
        (tmp_path / ".git").mkdir(exist_ok=True)
        (tmp_path / "web").mkdir(exist_ok=True)
        (tmp_path / "web/manage.py").touch()
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def refusal(folder: Path) -> str:
    """The whole message with which the project is refused."""
    with pytest.raises(UsageError) as caught:
        project.load(folder)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_the_least_that_is_needed_and_its_defaults(write: Write) -> None:
    folder = write(RIGHT)
    found = project.load(folder)
    assert (found.root, found.name, found.app, found.settings) == (folder, "shop", folder / "web", "shop.settings")
    assert found.image == ImageSettings(budget=Budget(total=60_000_000), mirror=None, dockerfile=None, environment={})
    assert found.local == LocalSettings(port=4566, site_port=8000, database_port=54320)
    assert found.environments == {"local": Environment(name="local", stack="shop-local")}


def test_everything_that_can_be_said(write: Write) -> None:
    folder = write(
        RIGHT
        + """
[tool.lastgood.image]
budget = "31.5 MB"
mirror = "http://mirror.example/debian"
dockerfile = "docker/Dockerfile"
environment = { SECRET_KEY = "only-to-build" }

[tool.lastgood.local]
port = 4600

[tool.lastgood.environments.production]
stack = "shop-live"
region = "eu-central-1"
url = "https://shop.example/"
parameters = { VpcId = "vpc-1" }
"""
    )
    found = project.load(folder)
    assert found.image == ImageSettings(
        budget=Budget(total=31_500_000),
        mirror="http://mirror.example/debian",
        dockerfile="docker/Dockerfile",
        environment={"SECRET_KEY": "only-to-build"},
    )
    assert found.local == LocalSettings(port=4600, site_port=8000, database_port=54320)
    assert list(found.environments) == ["local", "production"]
    assert found.environment("production") == Environment(
        "production", "shop-live", "eu-central-1", "https://shop.example", {"VpcId": "vpc-1"}
    )


def test_it_is_found_from_a_folder_below(write: Write) -> None:
    folder = write(RIGHT)
    (folder / "web/deep").mkdir()
    assert project.load(folder / "web/deep").root == folder


IMAGE_KEYS = (
    "compression, sources, static, mirror, snapshot, dockerfile, platforms, packages, build-packages, aws-services, languages, "
    "exclude, keep, before-static, before-static-makes, without, accept, budget, environment"
)


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        pytest.param(
            'setings = "x"\n',
            "pyproject.toml:5: [tool.lastgood] setings: there is no such key (did you mean 'settings'?); "
            "it takes project, app, settings, smoke, image, lock, local, processes, jobs, variables, secrets, environments",
            id="unknown key",
        ),
        pytest.param(
            "zebra = 1\n",
            "pyproject.toml:5: [tool.lastgood] zebra: there is no such key; "
            "it takes project, app, settings, smoke, image, lock, local, processes, jobs, variables, secrets, environments",
            id="unknown key, nothing near",
        ),
        pytest.param(
            "\n[tool.lastgood.image]\n\nbugdet = '3 MB'\n",
            "pyproject.toml:8: [tool.lastgood.image] bugdet: there is no such key (did you mean 'budget'?); "
            f"it takes {IMAGE_KEYS}",
            id="unknown key of a table",
        ),
        pytest.param(
            'image = { bugdet = "3 MB" }\n',
            "pyproject.toml:5: [tool.lastgood.image] bugdet: there is no such key (did you mean 'budget'?); "
            f"it takes {IMAGE_KEYS}",
            id="unknown key of an inline table",
        ),
        pytest.param(
            "[tool.lastgood.imgae]\nbudget = '3 MB'\n",
            "pyproject.toml:5: [tool.lastgood] imgae: there is no such key (did you mean 'image'?); "
            "it takes project, app, settings, smoke, image, lock, local, processes, jobs, variables, secrets, environments",
            id="unknown table",
        ),
        pytest.param(
            "[tool.lastgood.environments.staging]\nregoin = 'x'\n",
            "pyproject.toml:6: [tool.lastgood.environments.staging] regoin: there is no such key (did you mean 'region'?); "
            "it takes stack, region, url, parameters, attestations, processes, variables, secrets",
            id="unknown key of an environment",
        ),
        pytest.param(
            "[tool.lastgood.environments]\nstaging = 'x'\n",
            "pyproject.toml:6: [tool.lastgood.environments] staging: must be a table ([tool.lastgood.environments.staging])",
            id="environment is no table",
        ),
        pytest.param(
            "[tool.lastgood.environments.Staging]\n",
            "pyproject.toml:5: [tool.lastgood.environments] Staging: an environment's name is 2 to 40 lower-case letters, "
            "digits and single hyphens",
            id="environment's name",
        ),
        pytest.param(
            "[tool.lastgood.environments.staging.parameters]\nCount = 2\n",
            "pyproject.toml:6: [tool.lastgood.environments.staging.parameters] Count: must be a string, not 2",
            id="parameter is no string",
        ),
        pytest.param(
            "[tool.lastgood.image]\nmirror = 3\n",
            "pyproject.toml:6: [tool.lastgood.image] mirror: must be a string, not 3",
            id="number for string",
        ),
        pytest.param(
            "[tool.lastgood.local]\nport = true\n",
            "pyproject.toml:6: [tool.lastgood.local] port: must be a whole number, not True",
            id="boolean for number",
        ),
        pytest.param(
            "[tool.lastgood.local]\nport = 70000\n",
            "pyproject.toml:6: [tool.lastgood.local] port: 70000 must be a port, 1 to 65535",
            id="port out of range",
        ),
        pytest.param(
            "[tool.lastgood.image]\nbudget = '30 MiB'\n",
            "pyproject.toml:6: [tool.lastgood.image] budget: '30 MiB' must be a size, as “30 MB”",
            id="budget of another unit",
        ),
        pytest.param(
            "[tool.lastgood.image]\nbudget = '0 MB'\n",
            "pyproject.toml:6: [tool.lastgood.image] budget: '0 MB' leaves no room for any image",
            id="budget of nothing",
        ),
        pytest.param(
            f"[tool.lastgood.image]\nbudget = '{'9' * 400} GB'\n",
            f"pyproject.toml:6: [tool.lastgood.image] budget: '{'9' * 400} GB' must be a size, as “30 MB”",
            id="budget without end",
        ),
        pytest.param(
            "[tool.lastgood.image]\nbudget = 3\n",
            "pyproject.toml:6: [tool.lastgood.image] budget: must be a size or a table, not 3",
            id="budget is a number",
        ),
        pytest.param(
            "[tool.lastgood.image.budget]\ntotal = '30 MB'\ngrowht = '1 MB'\n",
            "pyproject.toml:7: [tool.lastgood.image.budget] growht: there is no such key (did you mean 'growth'?); "
            "it takes total, growth, files, distributions",
            id="unknown key of the budget",
        ),
        pytest.param(
            "[tool.lastgood.image.budget.distributions]\nbotocore = 'much'\n",
            "pyproject.toml:6: [tool.lastgood.image.budget.distributions] botocore: 'much' must be a size, as “30 MB”",
            id="budget of a distribution",
        ),
        pytest.param(
            "[tool.lastgood.image.budget]\nfiles = 0\n",
            "pyproject.toml:6: [tool.lastgood.image.budget] files: 0 leaves no room for any image",
            id="no files",
        ),
        pytest.param(
            "[tool.lastgood.image]\nplatforms = ['linux/arm']\n",
            "pyproject.toml:6: [tool.lastgood.image] platforms: 'linux/arm' is none of linux/amd64, linux/arm64 "
            "(did you mean 'linux/arm64'?)",
            id="unknown platform",
        ),
        pytest.param(
            "[tool.lastgood.image]\nplatforms = []\n",
            "pyproject.toml:6: [tool.lastgood.image] platforms: must name one of linux/amd64, linux/arm64",
            id="no platform",
        ),
        pytest.param(
            "[tool.lastgood.image]\npackages = ['libpq5', 'libpq5']\n",
            "pyproject.toml:6: [tool.lastgood.image] packages: names something twice",
            id="package twice",
        ),
        pytest.param(
            "[tool.lastgood.image]\npackages = [5]\n",
            "pyproject.toml:6: [tool.lastgood.image] packages: must hold strings, not 5",
            id="package is no string",
        ),
        pytest.param(
            "[tool.lastgood.image]\ncompression = 'xz'\n",
            "pyproject.toml:6: [tool.lastgood.image] compression: 'xz' must be one of zstd, gzip",
            id="unknown compression",
        ),
        pytest.param(
            "[tool.lastgood.image]\nsources = 'none'\n",
            "pyproject.toml:6: [tool.lastgood.image] sources: 'none' must be one of app, all",
            id="unknown sources",
        ),
        pytest.param(
            "[tool.lastgood.lock]\ncooldown = 400\n",
            "pyproject.toml:6: [tool.lastgood.lock] cooldown: 400 must be days, 0 to 365",
            id="cooldown out of range",
        ),
        pytest.param(
            "[tool.lastgood.image.environment]\nDEBUG = false\n",
            "pyproject.toml:6: [tool.lastgood.image.environment] DEBUG: must be a string, not False",
            id="environment variable is no string",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write: Write, addition: str, message: str) -> None:
    assert refusal(write(RIGHT + addition)) == message


@pytest.mark.parametrize(
    "address",
    ["file:///etc", "ftp://files.example", "shop.example", "javascript:alert(1)", "https://", "https://a b", "HTTPS"],
)
def test_a_site_is_asked_by_http_alone(write: Write, address: str) -> None:
    assert refusal(write(RIGHT + f'[tool.lastgood.environments.staging]\nurl = "{address}"\n')) == (
        f"pyproject.toml:6: [tool.lastgood.environments.staging] url: {address!r} must be an address that begins with http:// or https://"
    )


def test_all_that_is_wrong_is_said_at_once_in_the_order_of_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LASTGOOD_SITE_PORT", "http")
    addition = """
[tool.lastgood.environments.Live]
regoin = "x"

[tool.lastgood.image]
budget = { total = "3 MiB", growth = 4 }
platforms = ["linux/arm", 3]
environment = { DEBUG = false }

[tool.lastgood.local]
port = 0
"""
    folder = write(RIGHT.replace('"web"', '"site"') + addition)
    assert refusal(folder).splitlines() == [
        "LASTGOOD_SITE_PORT is 'http': it must be a port, 1 to 65535",
        f"pyproject.toml:3: [tool.lastgood] app: there is no manage.py in {folder}/site: name the folder that holds it",
        (
            "pyproject.toml:6: [tool.lastgood.environments] Live: an environment's name is 2 to 40 lower-case letters, digits and single "
            "hyphens"
        ),
        (
            "pyproject.toml:7: [tool.lastgood.environments.Live] regoin: there is no such key (did you mean 'region'?); "
            "it takes stack, region, url, parameters, attestations, processes, variables, secrets"
        ),
        "pyproject.toml:10: [tool.lastgood.image.budget] total: '3 MiB' must be a size, as “30 MB”",
        "pyproject.toml:10: [tool.lastgood.image.budget] growth: must be a string, not 4",
        (
            "pyproject.toml:11: [tool.lastgood.image] platforms: 'linux/arm' is none of linux/amd64, linux/arm64 (did you mean "
            "'linux/arm64'?)"
        ),
        "pyproject.toml:11: [tool.lastgood.image] platforms: must hold strings, not 3",
        "pyproject.toml:12: [tool.lastgood.image.environment] DEBUG: must be a string, not False",
        "pyproject.toml:15: [tool.lastgood.local] port: 0 must be a port, 1 to 65535",
    ]


def test_a_required_key_with_a_typo_is_one_mistake(write: Write) -> None:
    assert refusal(write(RIGHT.replace("project =", "projct ="))) == (
        "pyproject.toml:2: [tool.lastgood] projct: there is no such key (did you mean 'project'?); "
        "it takes project, app, settings, smoke, image, lock, local, processes, jobs, variables, secrets, environments"
    )


@pytest.mark.parametrize("line", ['image = "small"', "lock = 7", "local = []", "environments = 3"])
def test_a_table_that_is_none(write: Write, line: str) -> None:
    key, _, value = line.partition(" = ")
    shown = value.replace('"', "'")
    assert refusal(write(RIGHT + line)) == f"pyproject.toml:5: [tool.lastgood] {key}: must be a table, not {shown}"


def test_the_whole_table_is_none(write: Write) -> None:
    assert refusal(write("[tool]\nlastgood = 3\n")) == (
        "pyproject.toml:2: [tool] lastgood: must be a table ([tool.lastgood])"
    )


def test_a_line_feed_does_not_slip_behind_a_name(write: Write) -> None:
    assert refusal(write(RIGHT.replace('"shop"', '"shop\\n"'))) == (
        "pyproject.toml:2: [tool.lastgood] project: 'shop\\n' must be 2 to 40 lower-case letters, digits and single hyphens"
    )


def test_a_table_is_frozen_and_the_same_as_json_everywhere(write: Write) -> None:
    found = project.load(write(RIGHT + '[tool.lastgood.image]\nbuild-packages = ["libpq-dev"]\nbudget = "1 MB"\n'))
    with pytest.raises(AttributeError):
        found.image.sources = "all"  # type: ignore[misc]
    facts = json.loads(json.dumps(found.image.as_dict()))
    assert facts["build-packages"] == ["libpq-dev"]
    assert facts["budget"] == {"total": 1_000_000, "growth": None, "files": None, "distributions": {}}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'project = "shop"',
            'project = "Shop_1"',
            "pyproject.toml:2: [tool.lastgood] project: 'Shop_1' must be 2 to 40 lower-case letters, digits and single hyphens",
        ),
        *(
            (
                'project = "shop"',
                f'project = "{name}"',
                f"pyproject.toml:2: [tool.lastgood] project: '{name}' must be 2 to 40 lower-case letters, digits and single hyphens",
            )
            for name in ("shop--two", "shop-", "s", "s" * 41)
        ),
        (
            'project = "shop"\n',
            "",
            "pyproject.toml:1: [tool.lastgood] has no 'project': add it (README, “adopt it”)",
        ),
        (
            'settings = "shop.settings"',
            "",
            "pyproject.toml:1: [tool.lastgood] has no 'settings': add it (README, “adopt it”)",
        ),
        (
            '"shop.settings"',
            '"shop/settings.py"',
            "pyproject.toml:4: [tool.lastgood] settings: 'shop/settings.py' must be a module's dotted name, as board.settings",
        ),
    ],
)
def test_what_must_be_there(write: Write, old: str, new: str, message: str) -> None:
    assert refusal(write(RIGHT.replace(old, new))) == message


def test_a_project_without_manage_py(write: Write) -> None:
    folder = write(RIGHT.replace('"web"', '"site"'))
    expected = (
        f"pyproject.toml:3: [tool.lastgood] app: there is no manage.py in {folder}/site: name the folder that holds it"
    )
    assert refusal(folder) == expected


def test_a_syntax_error_in_pyproject(write: Write) -> None:
    folder = write(RIGHT + "budget = = 3\n")
    assert refusal(folder) == (
        f"{folder}/pyproject.toml is not valid TOML: Invalid value (at line 5, column 10); mend that line and run the command again"
    )


def test_a_pyproject_that_is_not_utf_8(write: Write) -> None:
    folder = write(RIGHT)
    (folder / "pyproject.toml").write_bytes(b'x = "\xe9"\n')
    assert refusal(folder) == (
        f"{folder}/pyproject.toml is not UTF-8 (invalid continuation byte at byte 5): save it as UTF-8"
    )


def test_no_pyproject(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    assert refusal(tmp_path / "deep") == (
        f"there is no pyproject.toml in {tmp_path}/deep or above it: run lastgood in a project that has one, or point to it with "
        "--project"
    )


@pytest.mark.parametrize("text", ["", "[tool.ruff]\n", "tool = 3\n"])
def test_no_table_of_ours(write: Write, text: str) -> None:
    folder = write(text)
    assert refusal(folder) == (
        f"{folder}/pyproject.toml has no [tool.lastgood] table: add it with at least `project`, `app` and `settings` "
        "(README, “adopt it”)"
    )


def test_an_environment_that_is_not_declared(write: Write) -> None:
    found = project.load(write(RIGHT + "[tool.lastgood.environments.production]\n"))
    with pytest.raises(UsageError) as caught:
        found.environment("produktion")
    assert str(caught.value) == (
        "there is no environment 'produktion' (did you mean 'production'?): pyproject.toml declares local, production; "
        "add [tool.lastgood.environments.produktion] to make it one"
    )


def test_ports_from_variables_win(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(RIGHT + "[tool.lastgood.local]\nport = 4600\nsite_port = 8600\n")
    monkeypatch.setenv("LASTGOOD_LOCAL_PORT", "4700")
    monkeypatch.setenv("LASTGOOD_DATABASE_PORT", "54700")
    assert project.load(folder).local == LocalSettings(port=4700, site_port=8600, database_port=54700)


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", "80 "])
def test_a_variable_that_is_no_port(write: Write, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    folder = write(RIGHT)
    monkeypatch.setenv("LASTGOOD_SITE_PORT", value)
    assert refusal(folder) == f"LASTGOOD_SITE_PORT is {value!r}: it must be a port, 1 to 65535"


def test_the_state_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = project.load(write(RIGHT))
    assert found.state == tmp_path / ".lastgood"
    assert (found.state / ".gitignore").read_text() == "*\n", "or the second commit could not be built"
    assert (tmp_path / ".lastgood").is_dir()
    monkeypatch.setenv("LASTGOOD_STATE", str(tmp_path / "elsewhere/state"))
    assert found.state == tmp_path / "elsewhere/state"
    assert found.state.is_dir()


def test_all_that_the_image_takes(write: Write) -> None:
    addition = """
[tool.lastgood.image]
platforms = ["linux/arm64", "linux/amd64"]
packages = ["libpq5"]
build-packages = ["libpq-dev"]
compression = "gzip"
sources = "all"
static = "collected"
aws-services = ["s3"]
languages = []
keep = ["*/locale/*"]
without = ["sqlite3"]
accept = ["second-openssl: psycopg-binary"]
snapshot = "https://snapshot.example/archive"

[tool.lastgood.image.budget]
total = "30 MB"
growth = "1 MB"
files = 5000
distributions = { "Foo_Bar" = "2 kB" }

[tool.lastgood.lock]
cooldown = 7
"""
    found = project.load(write(RIGHT + addition))
    assert found.lock == LockSettings(cooldown=7)
    assert found.image == ImageSettings(
        budget=Budget(total=30_000_000, growth=1_000_000, files=5000, distributions={"foo-bar": 2000}),
        platforms=("linux/arm64", "linux/amd64"),
        packages=("libpq5",),
        build_packages=("libpq-dev",),
        compression="gzip",
        sources="all",
        static="collected",
        aws_services=("s3",),
        languages=(),
        keep=("*/locale/*",),
        without=("sqlite3",),
        accept=("second-openssl: psycopg-binary",),
        snapshot="https://snapshot.example/archive",
    )
