"""An image for linux/arm64, made here without emulation, answers: its own Python and server run under qemu-user, from Debian's package."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from lastgood.cache import store
from lastgood.config import project
from lastgood.image import build as builder
from lastgood.image import layers
from lastgood.platform import ARM64, native
from lastgood.python import merge

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ("asgiref", "django", "gunicorn", "packaging", "sqlparse")
FILES = {
    "pyproject.toml": '[tool.lastgood]\nproject = "shop"\napp = "web"\nsettings = "shop.settings"\n'
    '[tool.lastgood.image]\nplatforms = ["linux/amd64", "linux/arm64"]\ncompression = "gzip"\n',
    ".gitignore": ".lastgood/\n",
    "web/manage.py": "",
    "web/shop/__init__.py": "",
    "web/shop/settings.py": "SECRET_KEY = 'x'\nROOT_URLCONF = 'shop.urls'\nALLOWED_HOSTS = ['*']\nUSE_TZ = True\n",
    "web/shop/urls.py": (
        "import platform, ssl\nfrom django.http import JsonResponse\nfrom django.urls import path\n"
        "def about(request):\n    return JsonResponse({'machine': platform.machine(), 'openssl': ssl.OPENSSL_VERSION.split()[0]})\n"
        "urlpatterns = [path('', about)]\n"
    ),
    "web/shop/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
}


@pytest.fixture(scope="module")
def emulator() -> Path:
    """qemu-aarch64-static, from the package of this machine's distribution; unpacked, not installed."""
    if os.geteuid() or not Path("/usr/bin/apt-get").exists():
        pytest.skip("runs the image in a chroot under Debian's qemu-user-static: as root on Debian or Ubuntu")
    folder = store.cache() / "qemu"
    program = folder / "usr/bin/qemu-aarch64-static"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for command in (["apt-get", "update", "-qq"], ["apt-get", "download", "-qq", "qemu-user-static"]):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("*.deb")
        subprocess.run(["dpkg", "-x", package, folder], check=True)
        package.unlink()
    return program


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> builder.Image:
    """A small project's image for both platforms; its lock is cut from this repository's."""
    root = tmp_path_factory.mktemp("shop")
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    entries = merge.entries((REPOSITORY / "requirements.txt").read_text(encoding="utf-8"))
    text = merge.written([entry for entry in entries if entry.name in NEEDED])
    (root / "requirements.txt").write_text(text, encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one", "--no-gpg-sign"]):
        subprocess.run(["git", "-C", root, "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True)
    return builder.build(project.load(root))


def test_one_index_names_both(image: builder.Image) -> None:
    index = json.loads((image.folder / "index.json").read_bytes())
    assert [(one["platform"]["architecture"], one["digest"]) for one in index["manifests"]] == [
        ("amd64", image.variants[0].digest),
        ("arm64", image.variants[1].digest),
    ]
    assert image.digest not in (image.variants[0].digest, image.variants[1].digest)
    # What is Python is one; what is machine code is not.
    shared = [{layer.digest for layer in variant.layers} for variant in image.variants]
    assert len(shared[0] & shared[1]) == 4, "all but the base: what this project depends on is Python alone"


@pytest.fixture
def answers(image: builder.Image, emulator: Path, tmp_path: Path) -> Iterator[str]:
    """The address at which the arm64 image serves, from a chroot of its layers."""
    if native() == ARM64:
        pytest.skip("this machine is arm64 itself")
    (arm,) = [variant for variant in image.variants if variant.platform == ARM64.name]
    for layer in arm.layers:
        with layers.unpacked(layer) as unpacked, tarfile.open(fileobj=unpacked) as archive:
            archive.extractall(tmp_path)  # noqa: S202  our own layers
    (tmp_path / "emulator").write_bytes(emulator.read_bytes())
    (tmp_path / "emulator").chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PYTHONPATH": "/app:/opt/lastgood", "DJANGO_SETTINGS_MODULE": "shop.settings"}
    given = [word for key, value in environment.items() for word in ("-E", f"{key}={value}")]
    # Without a worker's heartbeat in mind: emulated, the imports take their time.
    serve = ["-m", "gunicorn", "--no-control-socket", "--timeout", "300", "-b", f"127.0.0.1:{port}", "shop.wsgi"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            ["chroot", tmp_path, "/emulator", *given, "/usr/bin/python3.13", *serve], stdout=output, stderr=output
        )
    try:
        end = time.monotonic() + 240
        while True:
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            if re.search(r"Listening at", log.read_text()):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        running.terminate()
        running.wait(timeout=60)


def test_the_arm64_image_answers(answers: str) -> None:
    try:
        with urllib.request.urlopen(answers, timeout=240) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        pytest.fail(error.read().decode())
    assert found == {"machine": "aarch64", "openssl": "OpenSSL"}
