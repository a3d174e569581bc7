"""The projects under test: the board (this repository's own), and a site as `wagtail start` makes it (Wagtail, Pillow, PostgreSQL).

Each is a git repository of its own below .lastgood/bench/projects, locked by `lastgood lock`, so that the bench can change and commit
files there. Beside its lock it has a few others that differ in one package: the dependency changes that builds are timed with.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.config import project
from lastgood.report.terminal import step

from bench.machine import run

REPOSITORY = Path(__file__).resolve().parents[2]
# One dependency in other versions: any that every project has, is pure Python and has no needs of its own.
CHANGED = "sqlparse"
VERSIONS = ("0.5.0", "0.5.1", "0.5.2", "0.5.3", "0.5.4", "0.5.5")
_WAGTAIL = "wagtail==8.0.1"
# Whose wheels of Debian's platform there are none of: built by lastgood from source, taken ready-made by the peers.
_WHEEL_INSTEAD = {"psycopg-c": "psycopg-binary"}
_TAGS = (
    "manylinux_2_38_x86_64",
    "manylinux_2_36_x86_64",
    "manylinux_2_34_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)
_TOOLS = ("pip", "setuptools", "wheel", "packaging", "uv")  # that the peers' builds install
_IDENTITY = {"GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@example.invalid"}
_IDENTITY |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in _IDENTITY.items()}


@dataclass(frozen=True)
class Subject:
    """A project under test. `environment` is what it runs with (DATABASE_URL is added), `paths` what is asked of it (`staff`:
    of a superuser who has logged in at `login`), `edited` the files of the code changes, a view and a model; `title` is what the report
    says of it."""

    name: str
    title: str
    folder: Path
    environment: Mapping[str, str]
    paths: tuple[str, ...]
    login: str
    staff: tuple[str, ...]
    edited: tuple[str, str]

    @property
    def project(self) -> project.Project:
        """As lastgood reads it."""
        return project.load(self.folder)

    @property
    def requirements(self) -> str:
        """The lock's text."""
        return (self.folder / "requirements.txt").read_text(encoding="utf-8")

    def restore(self) -> None:
        """Brings the first commit back."""
        _git(self.folder, "reset", "--quiet", "--hard", "bench-start")

    def commit(self, message: str) -> None:
        """Commits every change."""
        _git(self.folder, "add", "--all")
        _git(self.folder, "commit", "--quiet", "--message", message)

    def edit(self, number: int, name: str) -> None:
        """Changes one line of the file `name`, each `number` in its own way, and commits it."""
        file = self.folder / name
        text = re.sub(r"\n*# bench: change .*\n", "\n", file.read_text(encoding="utf-8"))
        file.write_text(f"{text.rstrip()}\n\n# bench: change {number}\n", encoding="utf-8")
        self.commit(f"change {number}")

    def depend(self, version: str) -> None:
        """Takes CHANGED in that version, and commits it."""
        for name in ("requirements.in", "requirements.txt"):
            shutil.copy(self.folder / f".git/bench-{version}" / name, self.folder / name)
        self.commit(f"{CHANGED} {version}")


def lastgood(subject: Path, *arguments: str, cache: Path | None = None) -> str:
    """Runs the tool on the project in `subject`, as a person would; returns its standard output.

    With `cache` it knows nothing but what is there: no earlier build of the project either.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "ci")}
    if cache:
        environment |= {"LASTGOOD_CACHE": str(cache), "LASTGOOD_STATE": str(cache / "state")}
    return run([sys.executable, "-m", "lastgood", *arguments, "--project", subject], environment=environment)


def _git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, **_IDENTITY}
    return run(["git", "-C", folder, "-c", "commit.gpgsign=false", *arguments], environment=environment)


def commit() -> str:
    """The tool's commit, with a note where its files differ from that."""
    head = run(["git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD"]).strip()
    return (
        f"{head} with changes"
        if run(["git", "-C", REPOSITORY, "status", "--porcelain", "--", "ci", "docker"])
        else head
    )


def board(folder: Path) -> Subject:
    """The project of this repository's last commit; made anew when it has changed, not when the tool or the tests have."""
    names = ("app", "docker", "pyproject.toml", "requirements.in", "requirements.txt")
    contents = run(["git", "-C", REPOSITORY, "rev-parse", *(f"HEAD:{name}" for name in names)])
    key = hashlib.sha256(repr((contents, VERSIONS)).encode()).hexdigest()[:12]
    for older in folder.glob("board-*"):
        if older.name != f"board-{key}":
            store.remove(older)

    def make(part: Path) -> None:
        run(["git", "clone", "--quiet", "--no-hardlinks", REPOSITORY, part / "project"])
        _git(part / "project", "remote", "remove", "origin")
        file = part / "project/pyproject.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r'(?m)^project = ".*"$', 'project = "bench-board"', text, count=1), encoding="utf-8")
        _start(part / "project")

    with step("project board"):
        made = store.entry(folder / f"board-{key}", make)
    return Subject(
        name="board",
        title="the board (this repository's own project)",
        folder=made / "project",
        environment={"ENVIRONMENT": "local", "SECRET_KEY": "bench"},
        paths=("/", "/healthz", "/admin/login/", "/?environment=local"),
        login="/admin/login/",
        staff=("/admin/", "/admin/releases/release/", "/admin/auth/user/", "/admin/auth/user/add/"),
        edited=("app/releases/views.py", "app/releases/models.py"),
    )


def site(folder: Path) -> Subject:
    """A new Wagtail site, made for production: settings from the environment, PostgreSQL, static files by WhiteNoise."""
    recipe = repr((_WAGTAIL, VERSIONS, sorted(_SITE.items()))).encode()

    def make(part: Path) -> None:
        program = part / "wagtail"
        venv.create(program, with_pip=True)
        run([program / "bin/python", "-m", "pip", "install", "--quiet", _WAGTAIL])
        target = part / "project"
        (target / "app").mkdir(parents=True)
        run([program / "bin/wagtail", "start", "website", target / "app"])
        shutil.rmtree(program)
        for name in ("Dockerfile", ".dockerignore", "requirements.txt"):
            (target / "app" / name).unlink(missing_ok=True)
        for name in ("manage.py", "website/wsgi.py"):
            file = target / "app" / name
            text = re.sub(r"website\.settings\.\w+", "website.settings.container", file.read_text(encoding="utf-8"))
            file.write_text(text, encoding="utf-8")
        for name, text in _SITE.items():
            (target / name).write_text(text, encoding="utf-8")
        _git(target, "init", "--quiet")
        lastgood(target, "lock")
        _start(target)

    with step("project site"):
        made = store.entry(folder / f"site-{hashlib.sha256(recipe).hexdigest()[:12]}", make)
    return Subject(
        name="site",
        title=f"a new Wagtail site (`wagtail start`, {_WAGTAIL.replace('==', ' ')} with Pillow)",
        folder=made / "project",
        environment={"SECRET_KEY": "bench"},
        paths=("/", "/admin/login/", "/django-admin/login/", "/search/?query=home"),
        login="/admin/login/",
        staff=(
            "/admin/",
            "/admin/pages/",
            "/admin/pages/3/edit/",
            "/admin/images/",
            "/admin/images/add/",
            "/admin/users/",
        ),
        edited=("app/search/views.py", "app/home/models.py"),
    )


def _start(folder: Path) -> None:
    """Commits what is there as the bench's start, and locks the dependency changes beside it."""
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", "bench")
    _git(folder, "tag", "bench-start")
    wanted = (folder / "requirements.in").read_text(encoding="utf-8")
    for version in VERSIONS:
        (folder / "requirements.in").write_text(f"{wanted.rstrip()}\n{CHANGED}=={version}\n", encoding="utf-8")
        lastgood(folder, "lock")
        kept = folder / f".git/bench-{version}"
        kept.mkdir()
        for name in ("requirements.in", "requirements.txt"):
            shutil.copy(folder / name, kept / name)
        _git(folder, "reset", "--quiet", "--hard", "bench-start")


def peers_requirements(lock: str) -> str:
    """The pins of a lock without its hashes, each as the peers can install it (a ready-made wheel for what lastgood compiles)."""
    pins = []
    for line in lock.splitlines():
        found = re.match(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", line)
        if found:
            pins.append(f"{_WHEEL_INSTEAD.get(found.group(1), found.group(1))}=={found.group(2)}")
    return "\n".join([*dict.fromkeys(pins), ""])


def wheels(subjects: list[Subject], folder: Path) -> Path:
    """The folder with the wheels of every lock and of the peers' tools, downloaded by this machine's pip unless they are there."""
    locks = [subject.requirements for subject in subjects]
    locks += [
        (subject.folder / f".git/bench-{version}/requirements.txt").read_text(encoding="utf-8")
        for subject in subjects
        for version in VERSIONS
    ]
    pins = [peers_requirements(lock) for lock in locks]
    key = hashlib.sha256("".join((*pins, *_TOOLS)).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)

    def make(part: Path) -> None:
        for number, text in enumerate(dict.fromkeys(pins)):
            file = part / f"pins-{number}.txt"
            file.write_text(text, encoding="utf-8")
            _download(part, ["--requirement", str(file)])
            file.unlink()
        _download(part, list(_TOOLS))

    with step("wheels for the peers"):
        return store.entry(folder / key, make)


def _download(target: Path, wanted: list[str]) -> None:
    tags = [part for tag in _TAGS for part in ("--platform", tag)]
    run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--dest",
                target,
            ),
            *("--implementation", "cp", "--python-version", "3.13", *tags, *wanted),
        ]
    )


def describe(subject: Subject) -> dict[str, Any]:
    """What the report says of a project's dependencies."""
    lines = peers_requirements(subject.requirements).split()
    shown = [line for line in lines if line.split("==")[0] in {"django", "wagtail", "pillow", "psycopg", "boto3"}]
    return {"title": subject.title, "packages": len(lines), "versions": [line.replace("==", " ") for line in shown]}


_SITE = {
    ".gitignore": "__pycache__/\n/.lastgood/\n/static/\n",
    "requirements.in": f"{_WAGTAIL}\ngunicorn\npsycopg[binary]\nwhitenoise\n",
    "pyproject.toml": """\
[tool.lastgood]
project = "bench-site"
app = "app"
settings = "website.settings.container"

[tool.lastgood.image]
languages = ["en-us"]
static = "collected"
without = ["sqlite3", "cjk-codecs"]

[tool.lastgood.image.environment]
SECRET_KEY = "only-while-the-image-is-built"
DATABASE_URL = "postgresql://build:build@db.invalid/build"
""",
    "app/website/settings/container.py": """\
from __future__ import annotations

import os
from urllib.parse import urlsplit

from .base import *  # noqa: F403
from .base import BASE_DIR, INSTALLED_APPS, MIDDLEWARE, STORAGES

_database = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _database.hostname,
        "PORT": _database.port or 5432,
        "NAME": _database.path.lstrip("/"),
        "USER": _database.username,
        "PASSWORD": _database.password,
        "CONN_MAX_AGE": 60,
    }
}
INSTALLED_APPS.append("django.contrib.postgres")  # Wagtail's search on PostgreSQL
SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["*"]
MIDDLEWARE.insert(1, "whitenoise.middleware.WhiteNoiseMiddleware")
STATIC_ROOT = BASE_DIR.parent / "static"
STORAGES["staticfiles"]["BACKEND"] = "whitenoise.storage.CompressedManifestStaticFilesStorage"
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
""",
    "app/gunicorn.conf.py": """\
from __future__ import annotations

import os

wsgi_app = "website.wsgi"
bind = "0.0.0.0:8000"
preload_app = True
workers = 2
worker_class = "gthread"
threads = 4
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
control_socket_disable = True
errorlog = "-"
accesslog = "-"
""",
}
