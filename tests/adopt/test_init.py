"""`lastgood init` on small repositories: what it finds, what it writes, and that it leaves everything else alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from lastgood import cli
from lastgood.adopt import examine, processes, settings, telling, texts, writing
from lastgood.adopt.found import Process, Variable
from lastgood.adopt.tree import Tree
from lastgood.config import project
from lastgood.errors import UsageError

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
# What a template for projects with Celery, compose and django-environ makes.
SHOP = {
    "manage.py": MANAGE.format("config.settings.local"),
    "pyproject.toml": '# kept  \r\n[tool.ruff]\r\nline-length = 99',
    "config/__init__.py": "",
    "config/wsgi.py": MANAGE.format("config.settings.production"),
    "config/celery_app.py": 'from celery import Celery\napp = Celery("shop")\n',
    "config/settings/__init__.py": "",
    "config/settings/base.py": (
        "import environ\nimport os\n"
        "env = environ.Env(SENTRY_RATE=(float, 0.1))\n"
        'DATABASES = {"default": env.db("DATABASE_URL")}\n'
        'REDIS_URL = env("REDIS_URL", default="redis://redis:6379/0")\n'
        'RATE = env("SENTRY_RATE")\n'
        'WSGI_APPLICATION = "config.wsgi.application"\n'
        'INSTALLED_APPS = ["django.contrib.gis"]\n'
        'HOME = os.environ.get("HOME")\n'
        'STATIC_ROOT = "staticfiles"\n'
        'if "DEBUG_KEY" in os.environ:\n    KEY = os.environ["DEBUG_KEY"]\n'
    ),
    "config/settings/local.py": 'from .base import *\nDEBUG = True\nX = env("ONLY_LOCAL")\n',
    "config/settings/production.py": (
        "from .base import *  # noqa\nfrom .base import env\n"
        'SECRET_KEY = env("DJANGO_SECRET_KEY")\n'
        'ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS")\n'
        'AGE = env.int("AGE")\nPORT = int(os.environ["SMTP_PORT"])\n'
        'BUCKET = env("DJANGO_AWS_STORAGE_BUCKET_NAME")\nDEFAULT = env.bool("SECURE", True)\n'
    ),
    "requirements/base.txt": "django>=5\nPillow\ncelery[redis]  # tasks\ndjango-celery-beat\n-e .\n",
    "requirements/production.txt": "-r base.txt\ngunicorn\npsycopg[c]>=3\nmysqlclient\n",
    "requirements.txt": "# for another host\n",
    "docker-compose.local.yml": "services:\n  django:\n    command: python manage.py runserver\n",
    "docker-compose.production.yml": (
        "services:\n"
        "  django: &django\n    build: .\n    command: /start\n"
        "  postgres:\n    image: postgres\n    command: postgres -c max_connections=10\n"
        "  celeryworker:\n    <<: *django\n    command: /start-celeryworker\n"
        '  celerybeat:\n    <<: *django\n    command: ["celery", "-A", "config.celery_app", "beat", "-l", "INFO"]\n'
        "  flower:\n    <<: *django\n    command: celery -A config.celery_app flower\n"
    ),
    "compose/production/django/start": (
        "#!/bin/bash\nset -e\npython manage.py collectstatic --noinput\n"
        "exec /usr/local/bin/gunicorn config.wsgi --bind 0.0.0.0:5000 --chdir=/app\n"
    ),
    "compose/production/django/celery/worker/start": "#!/bin/bash\nexec celery -A config.celery_app worker -l INFO\n",
    "package.json": json.dumps({"scripts": {"build": "webpack --config webpack.config.js", "dev": "webpack serve"}}),
    "package-lock.json": "{}",
    "webpack.config.js": "module.exports = { output: { path: path.resolve(__dirname, './shop/static/bundles') } }\n",
}  # fmt: skip
PLAIN = {
    "manage.py": MANAGE.format("shop.settings"),
    "shop/__init__.py": "",
    "shop/settings.py": (
        'SECRET_KEY = "x"\nDEBUG = True\nWSGI_APPLICATION = "shop.wsgi.application"\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}\n'
    ),
    "shop/wsgi.py": MANAGE.format("shop.settings"),
}  # fmt: skip


def made(root: Path, files: Mapping[str, str], **changed: str | None) -> Path:
    """Writes a repository; `changed` by the names' last parts, without a file where it is None."""
    for name, text in {**files, **changed}.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode())
    return root


def test_a_project_with_all_of_it(tmp_path: Path) -> None:
    found = examine.find(made(tmp_path / "Shop_of_mine", SHOP))
    assert (found.name, found.app, found.settings) == ("shop-of-mine", ".", "config.settings.production")
    assert found.settings_origin == "config/wsgi.py"
    assert (found.server, found.module, found.also) == ("gunicorn", "config.wsgi", ())
    origin = "docker-compose.production.yml"
    assert found.processes == (
        Process("web", "gunicorn config.wsgi --bind 0.0.0.0:8000 --chdir=/app", origin),
        Process("beat", "celery -A config.celery_app beat -l INFO", origin, single=True),
        Process("celeryworker", "celery -A config.celery_app worker -l INFO", origin),
    )
    assert (found.source, found.lock, found.take_over) == (
        "requirements/production.txt",
        "requirements.lock.txt",
        False,
    )
    assert found.requirements == (
        "celery",
        "django",
        "django-celery-beat",
        "gunicorn",
        "mysqlclient",
        "pillow",
        "psycopg",
    )
    assert (found.database, found.celery) == ("PostgreSQL", "config.celery_app")
    assert [(one.requirement, one.packages, one.build_packages) for one in found.native] == [
        ("psycopg[c]>=3", ("libpq5",), ("libpq-dev",)),
        ("mysqlclient", ("libmariadb3",), ("libmariadb-dev", "pkgconf")),
        ("django.contrib.gis", ("libgdal36", "libgeos-c1t64", "libproj25"), ()),
    ]
    assert found.node is not None
    assert (found.node.commands, found.node.outputs) == (("npm ci && npm run build",), ("shop/static/bundles",))
    assert found.variables == (
        Variable("DJANGO_SECRET_KEY", "str", "config/settings/production.py:3"),
        Variable("DJANGO_ALLOWED_HOSTS", "list", "config/settings/production.py:4"),
        Variable("AGE", "int", "config/settings/production.py:5"),
        Variable("SMTP_PORT", "int", "config/settings/production.py:6"),
        Variable("DJANGO_AWS_STORAGE_BUCKET_NAME", "str", "config/settings/production.py:7"),
        Variable("DATABASE_URL", "url", "config/settings/base.py:4"),
    )
    assert found.doubts == (
        (
            "`lastgood lock` will not take requirements/production.txt as it is: requirements/base.txt:5 asks for ., a folder of this "
            "machine, which no hash in a lock could name: put its package into the application's folder, so that it is part of the commit, "
            "or publish it to an index that pip's settings name and write NAME==VERSION"
        ),
        (
            "manage.py names config.settings.local, and config.settings.production is taken for production: change `settings` if another "
            "one is"
        ),
    )


def test_what_it_writes_is_read_and_keeps_every_byte(tmp_path: Path) -> None:
    root = made(tmp_path / "shop", SHOP)
    assert cli.main(["init", "--project", str(root), "--bundle", "acme/lastgood"]) == 0
    raw = (root / "pyproject.toml").read_bytes()
    before = SHOP["pyproject.toml"].encode()
    assert raw.startswith(before + b"\r\n\r\n[tool.lastgood]")
    assert b"\n" not in raw.replace(b"\r\n", b""), "as its own lines end"
    found = project.load(root)
    assert (found.settings, found.lock.source, found.lock.file) == (
        "config.settings.production",
        "requirements/production.txt",
        "requirements.lock.txt",
    )
    assert found.image.packages == ("libpq5", "libmariadb3", "libgdal36", "libgeos-c1t64", "libproj25")
    assert found.image.environment == {
        "DJANGO_SECRET_KEY": "only-while-the-image-is-built",
        "DJANGO_ALLOWED_HOSTS": "",
        "AGE": "1",
        "SMTP_PORT": "1",
        "DJANGO_AWS_STORAGE_BUCKET_NAME": "build.invalid",
        "DATABASE_URL": "postgresql://build:build@db.invalid/build",
    }
    assert list(found.environments) == ["local", "production"]
    assert (root / ".gitignore").read_text() == "/.lastgood/\n/.venv-local/\n"
    assert "acme/lastgood/.github/workflows/pipeline.yml@v1.0.0" in (
        root / ".github/workflows/lastgood-release.yml"
    ).read_text(encoding="utf-8")


def test_a_second_time_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made(tmp_path / "shop", SHOP)
    arguments = ["init", "--project", str(root)]
    cli.main(arguments)
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main(arguments) == 0
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == files
    said = capsys.readouterr().out
    assert "pyproject.toml: left as it is\n" in said
    assert ".github/workflows/lastgood-release.yml: as it should be\n" in said
    assert (
        "1. pyproject.toml has [tool.lastgood] already, which stays: `lastgood init --check` says what it lacks\n"
        in said
    )


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made(tmp_path / "shop", SHOP)
    names = sorted(root.rglob("*"))
    assert cli.main(["init", "--project", str(root), "--dry-run"]) == 0
    assert sorted(root.rglob("*")) == names
    assert '    settings = "config.settings.production"  # config/wsgi.py\n' in capsys.readouterr().out


def test_a_file_that_differs_is_left_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made(
        tmp_path / "shop",
        PLAIN,
        **{".github/workflows/lastgood-release.yml": "mine\n", ".gitignore": "*.pyc\n/.lastgood"},
    )
    assert cli.main(["init", "--project", str(root)]) == 0
    assert (root / ".github/workflows/lastgood-release.yml").read_text() == "mine\n"
    assert (root / ".gitignore").read_text() == "*.pyc\n/.lastgood\n/.venv-local/\n"
    assert (
        "lastgood-release.yml is there and another one than init writes: compare it with `lastgood init --dry-run`"
        in capsys.readouterr().out
    )


def test_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made(tmp_path / "shop", SHOP)
    arguments = ["init", "--project", str(root)]
    cli.main(arguments)
    assert cli.main([*arguments, "--check"]) == 0
    text = SHOP["config/settings/production.py"] + 'STRIPE = env("STRIPE_KEY")\n'
    made(root, {"config/settings/production.py": text, "requirements/production.txt": "django\nweasyprint\n"})
    (root / ".github/workflows/lastgood-rollback.yml").unlink()
    capsys.readouterr()
    assert cli.main([*arguments, "--check"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        (
            "config/settings/production.py:9 reads STRIPE_KEY, which has no default: add it to [tool.lastgood.image.environment], as "
            'STRIPE_KEY = "only-while-the-image-is-built"'
        ),
        "weasyprint needs libpango-1.0-0, libpangoft2-1.0-0, libharfbuzz-subset0: add it to packages in [tool.lastgood.image]",
        f"{root}/.github/workflows/lastgood-rollback.yml lacks what `lastgood init` writes: run it",
    ]
    assert said.err.endswith("lastgood: 3 of what the repository says is not in its configuration: see above\n")


def test_a_plain_project(tmp_path: Path) -> None:
    found = examine.find(made(tmp_path / "shop", PLAIN))
    assert found.processes == (Process("web", "gunicorn shop.wsgi:application --bind 0.0.0.0:8000", "the settings"),)
    assert (found.settings, found.database, found.source) == ("shop.settings", "SQLite", "")
    assert found.doubts == (
        "no file says what the project needs: list it in requirements.in, one requirement a line",
        'the settings have no STATIC_ROOT: no static file is collected until it is there, as BASE_DIR / "staticfiles"',
        "shop/settings.py:2 says DEBUG = True: an image is refused with it; let a variable decide, or name production's settings",
        "the database is SQLite, a file that is lost with each task: let DATABASES read DATABASE_URL before the first deploy",
    )
    assert "list what the image needs in requirements.in" in list(telling.following(found, [], "acme/lastgood"))


@pytest.mark.parametrize(
    ("files", "source", "lock", "take_over"),
    [
        ({"requirements.in": "django\n"}, "requirements.in", "requirements.txt", False),
        ({"requirements.in": "django\n", "requirements.txt": "django\n"}, "requirements.in", "requirements.lock.txt", False),
        ({"requirements.in": "django\n", "requirements.txt": "# autogenerated by pip-compile\ndjango==5\n"}, "requirements.in",
         "requirements.txt", True),
        ({"requirements.txt": "django\n"}, "requirements.txt", "requirements.lock.txt", False),
        ({"pyproject.toml": '[project]\nname = "x"\ndependencies = ["django"]\n'}, "pyproject.toml", "requirements.txt", False),
        ({"pyproject.toml": '[project]\nname = "x"\ndependencies = ["django"]\n', "uv.lock": "", "requirements.txt": ""}, "uv.lock",
         "requirements.lock.txt", False),
        ({"pyproject.toml": '[tool.poetry.dependencies]\ndjango = "^5"\n', "poetry.lock": ""}, "poetry.lock", "requirements.txt", False),
        ({"Pipfile": '[packages]\ndjango = "*"\n', "Pipfile.lock": "{}"}, "Pipfile.lock", "requirements.txt", False),
    ],
)  # fmt: skip
def test_where_a_project_says_what_it_needs(
    tmp_path: Path, files: dict[str, str], source: str, lock: str, take_over: bool
) -> None:
    found = examine.find(made(tmp_path / "shop", PLAIN, **files))
    assert (found.source, found.lock, found.take_over, found.requirements) == (source, lock, take_over, ("django",))
    assert found.also == ("gunicorn",), "nothing names a server"
    written = tomllib.loads(texts.tables(found))["tool"]["lastgood"]["lock"]
    assert written == {
        **({"source": source} if source != "requirements.in" else {}),
        **({"file": lock} if lock != "requirements.txt" else {}),
        "also": ["gunicorn"],
    }


PROCFILE = """\
release: python manage.py migrate
web: gunicorn shop.wsgi --bind 0.0.0.0:$PORT --reload
mailer: celery --app shop worker -Q mail
worker: celery --app shop worker -Q default
clock: celery --app shop beat
odd: bash -c 'python manage.py poll | tee log'
"""


def test_a_procfile(tmp_path: Path) -> None:
    found = examine.find(made(tmp_path / "shop", PLAIN, Procfile=PROCFILE))
    assert [(one.name, one.command, one.single, one.origin) for one in found.processes] == [
        ("web", "gunicorn shop.wsgi --bind 0.0.0.0:8000", False, "Procfile:2"),
        ("beat", "celery --app shop beat", True, "Procfile:5"),
        ("mailer", "celery --app shop worker -Q mail", False, "Procfile:3"),
        ("odd", "python manage.py poll | tee log", False, "Procfile:6"),
        ("worker", "celery --app shop worker -Q default", False, "Procfile:4"),
    ]
    assert (
        "Procfile:6: \"bash -c 'python manage.py poll | tee log'\" needs a shell, which the image does not have: say it as one program"
        in found.doubts
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [("worker-2", "worker2"), ("Shop_Mail", "shop-mail"), ("2nd", "nd"), ("-a-", "a"), ("x" * 50, "x" * 40)],
)
def test_a_process_s_name(text: str, name: str) -> None:
    assert processes.named(text) == name


def test_supervisor_and_asgi(tmp_path: Path) -> None:
    conf = "[supervisord]\nnodaemon=true\n[program:shop]\ncommand=daphne -b 0.0.0.0 -p 8000 shop.asgi:application ; serves\n"
    found = examine.find(
        made(tmp_path / "shop", PLAIN, **{"deploy/supervisord.conf": conf, "requirements.in": "daphne\n"})
    )
    assert [(one.name, one.command) for one in found.processes] == [
        ("web", "daphne -b 0.0.0.0 -p 8000 shop.asgi:application")
    ]
    assert (found.server, found.module, found.also) == ("daphne", "shop.asgi:application", ())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('import os\nX = os.environ["A"]', [("A", "str")]),
        ('from os import environ\nX = environ["A"]', [("A", "str")]),
        ('import os\nX = os.environ.get("A")\nY = os.getenv("B")\nos.environ["C"] = "1"', []),
        ('import os\nX = int(os.environ["A"])', [("A", "int")]),
        ('import environ\nenv = environ.Env()\nX = env("A", int)\nY = env.bool("B", default=False)', [("A", "int")]),
        ("import environ\nenv = environ.Env()\nDATABASES = {1: env.db()}\nC = env.cache()",
         [("DATABASE_URL", "url"), ("CACHE_URL", "url")]),
        ('from environs import Env\nenv = Env()\nX = env("A", "x")\nY = env.int("B")', [("B", "int")]),
        ('from decouple import config\nX = config("A")\nY = config("B", default=1)\nZ = config("C", cast=bool)\nW = config("D", 1)',
         [("A", "str"), ("C", "bool")]),
        ('def config(x): ...\nX = config("A")', []),
    ],
)  # fmt: skip
def test_variables_without_a_default(tmp_path: Path, source: str, expected: list[tuple[str, str]]) -> None:
    modules = settings.Modules(Tree(made(tmp_path, {"s.py": source})), ".")
    modules.read("s")
    assert [(one.name, one.kind) for one in settings.variables(modules)] == expected


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no manage.py in {root} or below it: run `lastgood init` in the folder of a Django project"),
        ({"a/manage.py": "", "b/manage.py": ""}, ("{root} holds several projects (a/manage.py, b/manage.py): run `lastgood init --project "
         "FOLDER` for each, in a folder that holds one of them")),
        ({"manage.py": MANAGE.format("gone.settings")}, ("{root}/manage.py names no settings' module that is there "
         "(DJANGO_SETTINGS_MODULE): say which, as `settings` in [tool.lastgood] (README, “adopt it”)")),
    ],
)  # fmt: skip
def test_what_is_no_project(tmp_path: Path, files: dict[str, str], said: str) -> None:
    root = made(tmp_path / "x", {"readme": "", **files})
    with pytest.raises(UsageError) as caught:
        examine.find(root)
    assert str(caught.value) == said.format(root=root)


def test_a_file_that_nothing_can_be_added_to(tmp_path: Path) -> None:
    root = made(tmp_path / "shop", PLAIN, **{"pyproject.toml": "tool = { ruff = {} }\n"})
    with pytest.raises(UsageError, match=r"takes no \[tool.lastgood\] at its end"):
        writing.plan(root, examine.find(root), "a/b", "v1.0.0")
    assert (root / "pyproject.toml").read_text() == "tool = { ruff = {} }\n"


def test_a_project_below_the_repository_s_top(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(tmp_path)], check=True)
    root = made(tmp_path / "services/shop", PLAIN)
    assert cli.main(["init", "--project", str(root)]) == 0
    text = (tmp_path / ".github/workflows/lastgood-release.yml").read_text(encoding="utf-8")
    assert "    branches: [trunk]\n" in text
    assert "      working-directory: services/shop\n" in text


@pytest.mark.parametrize("folder", [".", "services/shop"])
def test_the_workflows_are_as_github_wants_them(tmp_path: Path, folder: str) -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    files = []
    for name, text in texts.workflows("acme/lastgood", "v1.0.0", "main", folder):
        (tmp_path / name).write_text(text, encoding="utf-8")
        files.append(tmp_path / name)
    done = subprocess.run(
        [program, "--builtin-schema", "vendor.github-workflows", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
