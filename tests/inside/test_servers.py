"""Every server, sync and async, answers both questions for a project that knows nothing of them, and all else as before."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lastgood.cache import store

ROOT = Path(__file__).resolve().parents[2]
WANTED = (
    "django==5.2.19",
    "gunicorn==27.0.1",
    "uvicorn==0.54.0",
    "daphne==4.2.3",
    "hypercorn==0.18.0",
    "uwsgi==2.0.31",
)
STACK = "arn:aws:cloudformation:eu-central-1:123456789012:stack/shop-live/0a1b2c3d-0000-1000-8000-0123456789ab"
TRUSTED = {"Lastgood-Stack": hashlib.sha256(STACK.encode()).hexdigest()}
FILES = {
    "shop/__init__.py": "",
    # Whatever looks at the host, the scheme or the language, and one that lets nobody in.
    "shop/settings.py": """
SECRET_KEY = "x"
ALLOWED_HOSTS = []
SECURE_SSL_REDIRECT = True
ROOT_URLCONF = "shop.urls"
USE_I18N = True
LANGUAGES = [("en", "English"), ("de", "German")]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE = [
    "shop.middleware.closed",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": __file__ + ".sqlite"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "shop/middleware.py": """
from django.core.exceptions import PermissionDenied
def closed(get_response):
    def middleware(request):
        if request.path.startswith("/closed"):
            raise PermissionDenied
        if "livez" in request.path or "healthz" in request.path:
            raise RuntimeError("was asked")
        return get_response(request)
    return middleware
""",
    "shop/urls.py": """
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpResponse
from django.urls import path, re_path
def page(request, **rest):
    return HttpResponse("page")
urlpatterns = i18n_patterns(path("page/", page), re_path(r"^.*$", page)) + [path("<path:rest>/", page)]
""",
    "shop/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "shop/asgi.py": "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
    "manage.py": "import sys\nfrom django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n",
}
SERVERS = {
    "gunicorn sync": ["gunicorn", "--bind", "127.0.0.1:{port}", "shop.wsgi"],
    "gunicorn threads": ["gunicorn", "--bind", "127.0.0.1:{port}", "--preload", "--threads", "2", "shop.wsgi"],
    "gunicorn async": ["gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "uvicorn.workers.UvicornWorker", "shop.asgi"],
    "uvicorn": ["uvicorn", "--port", "{port}", "shop.asgi:application"],
    "daphne": ["daphne", "--port", "{port}", "shop.asgi:application"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", "shop.asgi:application"],
    "hypercorn sync": ["hypercorn", "--bind", "127.0.0.1:{port}", "wsgi:shop.wsgi:application"],
    "uwsgi": ["uwsgi", "--http-socket", "127.0.0.1:{port}", "--virtualenv", "{venv}", "--module", "shop.wsgi", "--die-on-term"],
    "uwsgi threads": ["uwsgi", "--http-socket", "127.0.0.1:{port}", "--virtualenv", "{venv}", "--module", "shop.wsgi", "--master",
        "--threads", "2", "--die-on-term"],
}  # fmt: skip


@pytest.fixture(scope="module")
def servers() -> Path:
    """A virtual environment with Django and all servers, and the file that an image has among its packages."""
    hook = (ROOT / "docker/lastgood_inside/lastgood.pth").read_text(encoding="utf-8")
    key = hashlib.sha256(repr((WANTED, hook, sys.version)).encode()).hexdigest()[:12]
    folder = ROOT / ".lastgood" / f"servers-{key}"

    def make(part: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run(
            [str(folder / "bin/pip"), "install", "--quiet", *WANTED], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        (packages,) = folder.glob("lib/python3.*/site-packages")
        (packages / "lastgood.pth").write_text(hook.replace("/opt/lastgood", str(ROOT / "docker")), encoding="utf-8")
        (part / "made").touch()

    store.entry(folder.with_suffix(".made"), make)
    return folder


@pytest.fixture(scope="module")
def project(servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    command = [str(servers / "bin/python"), "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    return folder


def environment(folder: Path, **changes: str) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "LASTGOOD_STACK": STACK,
        "LASTGOOD_DIGEST": "sha256:fedc",
        "LASTGOOD_BUILD": "0123456789ab",
        **changes,
    }


class Site:
    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()

    def json(self, path: str, **headers: str) -> tuple[int, Any]:
        status, _, body = self.get(path, **headers)
        return status, json.loads(body)


@contextlib.contextmanager
def serving(command: list[str], servers: Path, folder: Path, log: Path, **changes: str) -> Iterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    filled = [part.format(port=port, venv=servers) for part in command]
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(servers / "bin" / filled[0]), *filled[1:]],
            cwd=folder, env=environment(folder, **changes), stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield Site(port, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


IN_STEP = {
    "status": "ok",
    "build": "0123456789ab",
    "commit": "",
    "digest": "sha256:fedc",
    "hosts": [],
    "static": None,
    "database": "in step",
    **{name: [] for name in ("missing", "extra", "tampered", "interrupted")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_a_server(name: str, servers: Path, project: Path, tmp_path: Path) -> None:
    with serving(SERVERS[name], servers, project, tmp_path / "log") as site:
        for _ in range(3):
            status, headers, body = site.get("/livez", Host="10.0.3.7:8000")
            assert (status, body, headers["cache-control"]) == (200, b'{"status": "ok"}', "no-store"), (
                site.log.read_text()
            )
        assert site.json("/healthz", Host="evil.example") == (200, {"status": "ok"})
        assert site.json("/healthz?x=1", **TRUSTED) == (200, IN_STEP)
        status, headers, body = site.get("/healthz", "HEAD")
        assert (status, body) == (200, b"")
        wrong = {"Lastgood-Stack": TRUSTED["Lastgood-Stack"][:-1] + "x"}
        assert site.json("/healthz", **wrong) == (200, {"status": "ok"})
        # All else is Django's, whatever comes of it.
        assert site.get("/livez", "POST")[0] == 500
        assert site.get("/livez/")[0] == 500
        assert site.get("/en/page/", Host="shop.example")[0] == 400
        assert site.get("/closed", Host="shop.example")[0] == 403


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gunicorn sync", "uvicorn", "uwsgi"])
def test_a_database_that_lacks_something(name: str, servers: Path, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    (folder / "shop/settings.py.sqlite").unlink()
    with serving(SERVERS[name], servers, folder, tmp_path / "log") as site:
        assert site.get("/livez")[0] == 200
        assert site.json("/healthz") == (503, {"status": "unavailable"})
        status, found = site.json("/healthz", **TRUSTED)
        assert (status, found["database"], found["missing"][0]) == (503, "behind", "contenttypes.0001_initial")
        assert found["reason"].startswith("the database is behind: it lacks contenttypes.0001_initial, ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gunicorn sync", "uvicorn"])
def test_a_route_of_the_project_wins_but_for_the_pipeline(
    name: str, servers: Path, project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    (folder / "shop/middleware.py").write_text("def closed(get_response):\n    return get_response\n", encoding="utf-8")
    urls = (
        (folder / "shop/urls.py").read_text(encoding="utf-8").replace("path(", "re_path(r'^healthz$', page), path(", 1)
    )
    urls = urls.replace("i18n_patterns(re_path(r'^healthz$', page), ", "[re_path(r'^healthz$', page)] + i18n_patterns(")
    (folder / "shop/urls.py").write_text(urls, encoding="utf-8")
    settings = (
        (folder / "shop/settings.py").read_text(encoding="utf-8").replace("SSL_REDIRECT = True", "SSL_REDIRECT = False")
    )
    (folder / "shop/settings.py").write_text(settings.replace("HOSTS = []", 'HOSTS = ["*"]'), encoding="utf-8")
    with serving(SERVERS[name], servers, folder, tmp_path / "log") as site:
        assert site.get("/healthz")[2] == b"page"
        assert site.json("/healthz", **TRUSTED) == (200, IN_STEP | {"hosts": ["*"]})
        assert site.json("/livez") == (200, {"status": "ok"}), "a pattern that takes all is no route of that name"


@pytest.mark.slow
def test_outside_of_a_stack_nobody_is_trusted(servers: Path, project: Path, tmp_path: Path) -> None:
    nobody = {"Lastgood-Stack": hashlib.sha256(b"").hexdigest()}
    with serving(SERVERS["gunicorn sync"], servers, project, tmp_path / "log", LASTGOOD_STACK="") as site:
        assert site.json("/healthz", **nobody) == (200, {"status": "ok"})
