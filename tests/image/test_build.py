"""A whole build: a small Django project becomes an image, the same one everywhere, or one sentence says why not.

The dependencies are this repository's own lock, so that a warm cache (LASTGOOD_CACHE) has them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from lastgood import bundle, cli, tar
from lastgood.cache import store
from lastgood.config import project
from lastgood.config.project import Project
from lastgood.errors import LastgoodError, UsageError
from lastgood.image import assemble, before, layers, oci, trace
from lastgood.image import build as builder
from lastgood.image.build import Image
from lastgood.image.dependencies import Dependencies
from lastgood.image.materials import Materials
from lastgood.image.runtime import Runtime
from lastgood.python import engine as python_engine
from lastgood.python import merge, pycache
from lastgood.report import terminal
from lastgood.scan import measure
from msgspec.structs import replace

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "corner-shop"  # nobody else's who builds with the cache of all tests: some look whether such a build has left anything there
FILES = {
    "pyproject.toml": f'[tool.lastgood]\nproject = "{NAME}"\napp = "web"\nsettings = "shop.settings"\n'
    '[tool.lastgood.image]\ncompression = "gzip"\n'  # quick where everything is made anew
    'packages = ["libpq5"]\nbuild-packages = ["libpq-dev"]\n',  # as its lock, this repository's, needs it
    "web/manage.py": "",
    "web/shop/__init__.py": "",
    "web/shop/settings.py": (
        "import os\nfrom pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n"
        "SECRET_KEY = 'x'\nUSE_TZ = True\nINSTALLED_APPS = ['django.contrib.staticfiles', 'shop']\nSTATIC_URL = 'static/'\n"
        "STATIC_ROOT = BASE_DIR.parent / 'static'\n"
    ),
    "web/shop/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "web/shop/static/shop/style.css": "body { margin: 0 }\n",
    "web/run.py": "print('hello')\n",
    ".gitignore": ".lastgood/\nsecret.env\n",
}
# What needs neither the compiled wheel nor the large ones is built from a part of that lock, and from no further Debian package.
SMALL = ("asgiref", "django", "gunicorn", "packaging", "sqlparse")
MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProject:
    """Writes the project, with these files changed, into a folder, and commits it at a time that does not move."""
    monkeypatch.delenv("LASTGOOD_STATE", raising=False)

    def make(folder: str = "one", changed: Mapping[str, str] | None = None) -> Project:
        root = tmp_path / folder
        for name, content in (FILES | dict(changed or {})).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content, encoding="utf-8")
        (root / "web/run.py").chmod(0o755)
        (root / "docker").mkdir(exist_ok=True)
        for name in {*project.LOCKS} - {*(changed or {})}:
            shutil.copy(REPOSITORY / name, root / name)
        commit(root)
        return project.load(root)

    return make


def small(changed: Mapping[str, str]) -> dict[str, str]:
    """The files of a project with the small lock and these files changed."""
    entries = merge.entries((REPOSITORY / "requirements.txt").read_text(encoding="utf-8"))
    lock = merge.written([entry for entry in entries if entry.name in SMALL])
    toml = FILES["pyproject.toml"].partition("packages")[0]
    return {"requirements.txt": lock, "pyproject.toml": toml, **changed}


def commit(root: Path) -> None:
    """Commits all of a folder."""
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-02T03:04:05Z")
    environment = os.environ | dict.fromkeys(names, "a@b.c") | dates
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one", "--no-gpg-sign"]):
        subprocess.run(["git", "-C", str(root), *arguments], check=True, env=environment)


def files(image: Image) -> dict[str, bytes]:
    """Every file of the application and static layers."""
    found = {}
    for layer in image.layers[2:]:
        with layers.unpacked(layer) as unpacked, tarfile.open(fileobj=unpacked) as archive:
            for member in archive:
                if member.isfile():
                    opened = archive.extractfile(member)
                    assert opened is not None
                    found[member.name] = opened.read()
    return found


def test_a_build(make_project: MakeProject) -> None:
    shop = make_project()
    (shop.root / "secret.env").write_text("PASSWORD=1", encoding="utf-8")
    (shop.app / "secret.env").write_text("PASSWORD=1", encoding="utf-8")
    image = builder.build(shop)
    assert [layer.name for layer in image.layers] == ["base", "dependencies", "migrator", "static", "application"]
    assert image == builder.last(shop.state)
    found = files(image)
    assert found["static/shop/style.css"] == b"body { margin: 0 }\n"
    assert {name for name in found if name.startswith("app/") and "__pycache__" not in name} == {
        f"app/{name.removeprefix('web/')}" for name in FILES if name.startswith("web/")
    }, "what git does not know stays out"
    modules = {
        f"opt/lastgood/{path.relative_to(bundle.path('docker')).as_posix()}"
        for name in ("migrator", "lastgood_inside")
        for path in bundle.path(f"docker/{name}").rglob("*.py")
    }
    inside = {name for name in found if name.startswith("opt/lastgood/")}
    assert {name for name in inside if name.endswith(".py")} == modules, "rooms and all"
    assert len([name for name in inside if name.endswith(".pyc")]) == len(modules)
    assert "opt/lastgood/migrator/manifest/manifest.schema.json" in inside
    start = found["usr/local/lib/python3.13/dist-packages/lastgood.pth"]
    assert start == b"/opt/lastgood\nimport lastgood_inside.hook\n"
    manifest = json.loads(found["opt/lastgood/manifest.json"])
    assert manifest["build"] == image.build == image.commit[:12]
    configuration = json.loads((image.folder / "config.json").read_bytes())
    assert configuration["created"] == "2026-01-02T03:04:05Z"
    assert configuration["config"]["Labels"] == {
        "lastgood.build": image.build,
        "lastgood.manifest": f"sha256:{image.manifest_sha}",
        "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
        "org.opencontainers.image.revision": image.commit,
        "org.opencontainers.image.title": NAME,
        "org.opencontainers.image.version": image.version,
    }
    scanned = measure.scan(image, 60_000_000, measure.Options(accept=("second-openssl: psycopg-binary",)))
    assert scanned["findings"] == []
    for name, content in found.items():
        assert str(shop.root).encode() not in content, f"{name} names a folder of this machine"


def another_user(number: int) -> list[str]:
    """How to start a program as that user: only root can, and only where that user may use this very Python."""
    user = ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"]
    if os.geteuid() != 0:
        return []
    told = subprocess.run(
        [*user, sys.executable, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
    )
    return user if told.stdout.strip() == sys.version else []


AS_YOU = (
    "a container around the code of the project and its packages (no Docker engine answers): it ran as you, and could read and write what "
    "you can"
)


def as_somebody_else(shop: Project, folder: Path, number: int) -> dict[str, Any]:
    """Builds a project as another user, with their own cache, home, language, time zone and umask."""
    tool = folder / "tool"
    for name in ("ci", "docker"):
        shutil.copytree(REPOSITORY / name, tool / name, ignore=shutil.ignore_patterns("__pycache__"))
    user = another_user(number)
    if user:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, number, number, follow_symlinks=False)
    done = subprocess.run(
        [*user, sys.executable, "-m", "lastgood", "build", "--json", "--project", str(shop.root)],
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": str(tool / "ci"), "HOME": str(folder), "TZ": "Asia/Tokyo", "LC_ALL": "POSIX",
            "LASTGOOD_CACHE": str(folder / "cache"), "PYTHONHASHSEED": "7", "DOCKER_HOST": "unix:///none.sock",
            "PIP_CONFIG_FILE": os.environ.get("PIP_CONFIG_FILE", ""),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_two_folders_users_and_caches_give_one_digest(make_project: MakeProject) -> None:
    """Everything is made anew but the Debian packages and the compiled wheel.

    That user has no engine, so that settings and imports run as that user, which is said; that one compiles the same bytes twice is tested
    in test_compiling.
    """
    first = builder.build(make_project("one"))
    with tempfile.TemporaryDirectory(prefix="lastgood-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        shutil.copytree(make_project("two").root, folder / "deep/two", symlinks=True)
        with store.using(store.cache()):
            for kept in ("debs", "wheels"):
                half_done = shutil.ignore_patterns(".*")  # of tests that run beside this one
                shutil.copytree(store.cache() / kept, folder / "cache" / kept, ignore=half_done)
        second = as_somebody_else(project.load(folder / "deep/two"), folder, 65534)
    assert [layer["diff_id"] for layer in second["layers"]] == [layer.diff_id for layer in first.layers]
    assert second["digest"] == first.digest
    assert second["layers"][0]["blob"].startswith(str(folder))
    assert (first.limits, second["limits"]) == ((), [AS_YOU])


def test_nothing_changed_makes_nothing(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make_project()
    image = builder.build(shop)
    monkeypatch.setattr(assemble, "build", None)
    assert builder.build(shop) == image
    (shop.state / "build.json").unlink()
    assert builder.build(shop) == image == builder.last(shop.state)
    with (shop.root / "requirements.txt").open("a") as lock:
        lock.write("# another\n")
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        builder.build(shop, allow_dirty=True)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The projects whose code was run."""
    found: list[str] = []
    original = trace._run

    def counted(work: trace.Work, place: Path) -> dict[str, list[str]]:
        found.append(work.application.name)
        return original(work, place)

    monkeypatch.setattr(trace, "_run", counted)
    return found


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None answers."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.mark.usefixtures("no_engine")
def test_what_makes_the_projects_code_run_again(make_project: MakeProject, tmp_path: Path, runs: list[str]) -> None:
    """Only what it read: not a view, but a model, a static file, a new file, a file elsewhere, a variable."""
    settings = FILES["web/shop/settings.py"] + f"SALT = {uuid4().hex!r}\nOUTSIDE = open('{tmp_path}/outside').read()\n"
    (tmp_path / "outside").write_text("1", encoding="utf-8")
    changed = {
        "web/shop/settings.py": settings,
        "web/shop/models.py": "from shop import names\n",
        "web/shop/names.py": "",
        "web/shop/views.py": "",
    }
    shop = make_project(changed=changed)

    def build(name: str = "", text: str = "") -> int:
        runs.clear()
        if name:
            (shop.root / name).write_text(text, encoding="utf-8")
        builder.build(shop, allow_dirty=True)
        return len(runs)

    assert build() == 1
    assert build("web/shop/views.py", "1\n") == 0
    assert build("web/shop/names.py", "2\n") == 1, "imported by models"
    assert build("web/shop/static/shop/style.css", "body {}\n") == 1
    assert build("web/shop/static/shop/style.css", FILES["web/shop/static/shop/style.css"]) == 0, "as it was before"
    assert build("web/shop/late.py") == 1, "a name that was not there"
    assert build("web/shop/views.py", "3\n") == 0
    (tmp_path / "outside").write_text("2", encoding="utf-8")
    assert build("web/shop/views.py", "4\n") == 1, "a file outside that settings read"
    environment = dict(shop.image.environment) | {"SHOP": "1"}
    shop = replace(shop, image=replace(shop.image, environment=environment))
    assert build() == 1


HOSTILE = """
import subprocess, sys
for process in Path("/proc").glob("[0-9]*"):
    try:
        environment = (process / "environ").read_bytes()
    except OSError:
        continue
    assert b"CANARY" not in environment, "a variable of another process"
assert not Path(%r).exists(), "a file of its caller"
if not os.fork():
    os.setsid()
    while True:
        (BASE_DIR.parent / "alive").touch()
"""


@pytest.mark.docker
def test_settings_see_nothing_of_their_caller(make_project: MakeProject, tmp_path: Path) -> None:
    """Nor does what they leave running outlive them."""
    (tmp_path / "key").touch()
    toml = small({})["pyproject.toml"]
    hostile = FILES["web/shop/settings.py"] + HOSTILE % str(tmp_path / "key")
    shop = make_project(changed=small({"web/shop/settings.py": hostile, "pyproject.toml": toml}))
    program = [sys.executable, "-m", "lastgood", "build", "--json", "--project", str(shop.root)]
    variables = {
        "PYTHONPATH": str(REPOSITORY / "ci"),
        "LASTGOOD_CACHE": str(store.cache()),
        "CANARY": "token",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["limits"] == []
    assert "not guaranteed" not in done.stderr
    assert not list((store.cache() / "work").glob(f"{NAME}-*"))


def test_static_files_that_are_a_link(make_project: MakeProject, tmp_path: Path) -> None:
    """Settings that have us read what they can't: nothing of it gets into the image."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/key").touch()
    settings = FILES["web/shop/settings.py"].replace("'django.contrib.staticfiles', ", "") + (
        f"os.path.islink(STATIC_ROOT) or os.symlink({str(tmp_path / 'keys')!r}, STATIC_ROOT)\n"
    )
    said = refusal(make_project(changed=small({"web/shop/settings.py": settings})))
    assert re.fullmatch(
        r"STATIC_ROOT is \S+/static, outside the project: derive it from BASE_DIR \(as BASE_DIR.parent / 'static'\), so that it is the "
        "same place in the image",
        said,
    )


def test_what_ran_as_the_caller_is_said(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_engine: None
) -> None:
    """By the build that ran it, once; one that has run nothing has nothing to say."""
    shop = make_project(
        changed=small({"web/shop/settings.py": FILES["web/shop/settings.py"] + f"SALT = {uuid4().hex!r}\n"})
    )
    assert cli.main(["build", "--project", str(shop.root), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["limits"] == [AS_YOU]
    assert [line.strip() for line in said.err.splitlines() if "guaranteed" in line] == [f"· not guaranteed: {AS_YOU}"]
    (shop.app / "run.py").write_text("2", encoding="utf-8")
    assert builder.build(shop, allow_dirty=True).limits == ()


def test_what_could_read_anything_is_never_kept(make_project: MakeProject, runs: list[str]) -> None:
    settings = FILES["web/shop/settings.py"] + "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])\n"
    shop = make_project(changed={"web/shop/settings.py": settings})
    builder.build(shop)
    (shop.root / "web/run.py").write_text("2", encoding="utf-8")
    builder.build(shop, allow_dirty=True)
    assert len(runs) == 2


def test_byte_code_does_not_depend_on_what_else_is_compiled(
    make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files at once, or one alone: the same bytes, although they share names."""
    python = Materials.of(make_project()).runtime.python()
    text = "NAMES = {'shared', 'x y', shared_%s := 'shared_one'}\ndef shared_one(): return 'shared_two'\n"
    sources = {f"app/{name}.py": (text % name).encode() for name in ("one", "two", "three")}
    made = {}
    for case, names in (("together", list(sources)), ("alone", ["app/two.py"])):
        tree = tmp_path / case
        (tree / "app").mkdir(parents=True)
        for name in names:
            (tree / name).write_bytes(sources[name])
        monkeypatch.setattr(store, "cache", lambda case=case: tmp_path / f"cache-{case}")
        chosen = {name: sources[name] for name in names}
        assert pycache.add(tree, chosen, python, "key") == len(names)
        assert pycache.add(tree, chosen, python, "key") == 0, "kept"
        made[case] = (tree / "app/__pycache__/two.cpython-313.pyc").read_bytes()
    assert made["together"] == made["alone"]
    assert made["alone"][4:8] == b"\x01\0\0\0", "a hash that is never checked"
    assert str(tmp_path).encode() not in made["alone"]


def test_two_builds_at_once(make_project: MakeProject, tmp_path: Path) -> None:
    """Of two commits, with nothing of either in the cache but the base and the dependencies."""
    salt = uuid4().hex
    shops = [make_project(name, {"web/shop/salt.py": f"{salt!r}, {name!r}\n"}) for name in ("one", "two")]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "lastgood", "build", "--project", str(shop.root)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "ci")},
        )
        for shop in shops
    ]  # fmt: skip
    said = [one.communicate(timeout=300) for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    for shop in shops:
        image = builder.last(shop.state)
        assert repr(shop.root.name).encode() in files(image)["app/shop/salt.py"]
        for layer in image.layers:
            assert oci.digest(layer.blob.read_bytes()) == layer.digest
    assert not list((store.cache() / "work").glob(f"{NAME}-*"))


def test_a_link_that_leaves_the_project(make_project: MakeProject) -> None:
    shop = make_project()
    (shop.app / "passwords").symlink_to("/etc/passwd")
    commit(shop.root)
    assert refusal(shop) == (
        f"web/passwords is a link to /etc/passwd, which leaves {shop.app}: nothing outside gets into the image; put the file itself there, "
        "or remove the link"
    )


def test_a_full_disk(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full from the moment when the application's layer is written."""
    shop = make_project(changed={"web/shop/salt.py": f"{uuid4().hex!r}\n"})
    original = tar.write

    def full(trees: Any, target: Path) -> None:
        original(trees, target)
        if "application" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tar, "write", full)
    folder = store.cache() / "layers"
    assert refusal(shop) == (
        f"there is no room left to write in {folder} (No space left on device): nothing half done was kept; make room "
        "(`lastgood cache --prune`), or point LASTGOOD_CACHE to another disk, and run the command again"
    )
    assert not list(folder.glob(".part-application*"))
    monkeypatch.setattr(tar, "write", original)
    builder.build(shop)


@pytest.mark.parametrize("where", ["image.layers.seal", "cache.store.write", "image.trace._static", "image.built.keep"])
def test_killed_at_any_moment(make_project: MakeProject, where: str) -> None:
    """Killed where this function is called; the next build finds nothing half done, and is as every other."""
    salt = {"web/shop/salt.py": f"{uuid4().hex!r}\n", "web/shop/static/salt.css": f"{uuid4().hex}\n"}
    shop = make_project("one", salt)
    room, module, name = where.split(".")
    program = (
        "import os, signal, sys\nfrom lastgood import cli\n"
        f"from lastgood.image import assemble\nfrom lastgood.{room} import {module}\n"
        f"def killed(*arguments, **more): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{module}.{name} = killed\nsys.exit(cli.main(['build', '--project', {str(shop.root)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "ci")}
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (shop.state / "build.json").exists()
    image = builder.build(shop)
    for layer in image.layers:
        assert oci.digest(layer.blob.read_bytes()) == layer.digest
        with layers.unpacked(layer) as unpacked:
            assert oci.digest(unpacked.read()) == layer.diff_id
    assert image.digest == builder.build(make_project("two", salt)).digest
    assert not list((store.cache() / "work").glob(f"{NAME}-*"))


def test_two_platforms_are_one_index(
    make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other platform's base and dependencies are made up here: what runs while building runs on this machine's own."""
    toml = small({})["pyproject.toml"] + 'platforms = ["linux/amd64", "linux/arm64"]\n'
    shop = make_project(changed=small({"pyproject.toml": toml}))
    for kind, name, made in (
        (Runtime, "root", Runtime.root),
        (Dependencies, "tree", Dependencies.tree),
    ):
        foreign = tmp_path / name / "tree"
        (foreign / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
        (foreign / "usr/lib/aarch64-linux-gnu" / name).write_bytes(b"arm")
        for beside in ("owners.json", "left-out.json"):
            (foreign.parent / beside).write_text("{}", encoding="utf-8")

        def either(self: Any, on: Any, made: Any = made, foreign: Path = foreign) -> Path:
            found: Path = foreign if on.name == "linux/arm64" else made(self, on)
            return found

        def key(self: Any, on: Any, known: Any = kind.key) -> str:
            """Not that of a real one: the layer is kept in the cache that all tests share."""
            return f"{known(self, on)} made up" if on.name == "linux/arm64" else str(known(self, on))

        monkeypatch.setattr(kind, name, either)
        monkeypatch.setattr(kind, "key", key)
    image = builder.build(shop)
    amd, arm = image.variants
    assert (amd.platform, arm.platform) == ("linux/amd64", "linux/arm64")
    assert [layer.digest for layer in amd.layers[2:]] == [layer.digest for layer in arm.layers[2:]]
    assert [one == other for one, other in zip(amd.layers[:2], arm.layers[:2], strict=True)] == [False, False]
    assert arm.layers[0].owners == tmp_path / "root/owners.json"
    assert json.loads(image.document("config", arm))["architecture"] == "arm64"
    assert oci.digest(image.document("manifest", arm)) == arm.digest
    assert oci.digest(image.document("index")) == image.digest
    assert (image.layers, image.size, image.image_id) == (amd.layers, amd.size, amd.image_id)
    assert builder.build(shop) == builder.last(shop.state) == image
    capsys.readouterr()
    assert cli.main(["build", "--project", str(shop.root)]) == 0
    size = [terminal.megabytes(variant.size) for variant in image.variants]
    assert capsys.readouterr().out.splitlines() == [
        f"build {image.build}",
        f"linux/amd64  {size[0]}  {amd.digest}",
        f"linux/arm64  {size[1]}  {arm.digest}",
        image.digest,
    ]


def refusal(shop: Project) -> str:
    """The message; after it there is no build."""
    with pytest.raises(LastgoodError) as caught:
        builder.build(shop)
    assert not (shop.state / "build.json").exists()
    assert not list((store.cache() / "work").glob(f"{NAME}-*"))
    return str(caught.value)


ENVIRONMENT = "mend it, or set what it needs while building in [tool.lastgood.image.environment]"


def test_a_settings_module_that_does_not_import(make_project: MakeProject) -> None:
    shop = make_project(changed=small({"web/shop/settings.py": "import os\nSECRET_KEY = os.environ['SHOP_KEY']\n"}))
    assert refusal(shop) == (
        f"collecting static files failed in the image's Python with shop.settings: KeyError: 'SHOP_KEY'; {ENVIRONMENT}"
    )


def test_a_style_sheet_that_names_a_file_that_is_not_there(make_project: MakeProject) -> None:
    """What Django says before the error is which one it is; the error itself names the missing file alone."""
    settings = FILES["web/shop/settings.py"] + (
        "STORAGES = {'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'}}\n"
    )
    style = "a {}\n/*# sourceMappingURL=style.css.map */\n"
    said = refusal(
        make_project(changed=small({"web/shop/settings.py": settings, "web/shop/static/shop/style.css": style}))
    )
    assert said.startswith(
        "collecting static files failed in the image's Python with shop.settings: Post-processing 'shop/style.css' failed! "
    )
    assert "The file 'shop/style.css.map' could not be found" in said
    assert said.endswith(ENVIRONMENT)


def test_what_the_checkout_has_is_in_the_image_or_said(make_project: MakeProject) -> None:
    """And of the whole build: submodules and translations are in it, what git ignores and what was trimmed is named."""
    shop = make_project(changed=small({".gitignore": ".lastgood/\n*.mo\nmade/\n"}))
    environment = os.environ | dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "a@b.c")
    environment |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@b.c")

    def git(folder: Path, *arguments: str) -> None:
        command = ["git", "-C", str(folder), "-c", "protocol.file.allow=always", *arguments]
        subprocess.run(command, check=True, env=environment, capture_output=True)

    library = shop.root.parent / "library"
    library.mkdir()
    (library / "points.py").write_text("POINTS = 3\n", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        git(library, *arguments)
    git(shop.root, "submodule", "--quiet", "add", str(library), "web/vendor")
    folder = shop.app / "shop/locale/de/LC_MESSAGES"
    folder.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
    (folder / "django.po").write_text(f'{header}\nmsgid "x"\nmsgstr "y"\n', encoding="utf-8")
    git(shop.root, "add", "-A")
    git(shop.root, "commit", "-qm", "two")
    (shop.app / "made").mkdir()
    (shop.app / "made/bundle.js").touch()
    image = builder.build(shop)
    found = files(image)
    assert found["app/vendor/points.py"] == b"POINTS = 3\n"
    assert found["app/shop/locale/de/LC_MESSAGES/django.mo"].startswith(b"\xde\x12\x04\x95")
    assert "app/made/bundle.js" not in found
    assert image.notes[:2] == (
        "compiled 1 translation that git has no .mo of: shop/locale/de/LC_MESSAGES/django.mo",
        "left out of the application, as git ignores it: made/",
    )
    assert image.notes[2].startswith("left out of the dependencies: programs, notes of pip (")
    left_out = json.loads((image.folder / "left-out.json").read_text(encoding="utf-8"))
    assert left_out["application"] == ["made/"]
    assert builder.last(shop.state) == image


def test_a_settings_module_that_does_not_exist(make_project: MakeProject) -> None:
    toml = small({})["pyproject.toml"].replace("shop.settings", "shop.config")
    assert refusal(make_project(changed=small({"pyproject.toml": toml}))) == (
        "collecting static files failed in the image's Python with shop.config: ModuleNotFoundError: No module named 'shop.config'; "
        + ENVIRONMENT
    )


def test_the_environment_of_the_build_is_not_in_the_image(make_project: MakeProject) -> None:
    settings = FILES["web/shop/settings.py"].replace("'x'", "os.environ['SHOP_KEY']")
    toml = FILES["pyproject.toml"] + '[tool.lastgood.image.environment]\nSHOP_KEY = "only-while-building"\n'
    image = builder.build(make_project(changed={"web/shop/settings.py": settings, "pyproject.toml": toml}))
    assert b"only-while-building" not in (image.folder / "config.json").read_bytes()
    assert [name for name, content in files(image).items() if b"only-while-building" in content] == []


def test_a_static_root_outside(make_project: MakeProject, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    settings = FILES["web/shop/settings.py"] + f"STATIC_ROOT = {str(outside)!r}\n"
    assert refusal(make_project(changed={"web/shop/settings.py": settings})) == (
        f"STATIC_ROOT is {outside}, outside the project: derive it from BASE_DIR (as BASE_DIR.parent / 'static'), so that it is the "
        "same place in the image"
    )
    assert not outside.exists()


@pytest.mark.parametrize("static_root", ["BASE_DIR / 'collected'", "'collected'"])
def test_what_runs_while_building_leaves_no_trace(make_project: MakeProject, static_root: str) -> None:
    """Static files below the app, and settings that write: the second build finds the static layer in the cache."""
    settings = FILES["web/shop/settings.py"] + (
        f"STATIC_ROOT = {static_root}\n(BASE_DIR / 'debug.log').write_text('{uuid4().hex}')\n"
    )
    shop = make_project(changed={"web/shop/settings.py": settings})
    image = builder.build(shop)
    found = files(image)
    assert "app/collected/shop/style.css" in found
    assert "app/debug.log" not in found
    assert len([name for name in found if name.endswith("style.css")]) == 2, "the source, and the collected one"
    assert builder.build(shop).digest == image.digest


def test_a_module_with_a_syntax_error(make_project: MakeProject) -> None:
    message = refusal(make_project(changed={"web/shop/late.py": "def broken(:\n"}))
    assert message == (
        "the image's Python can't compile app/shop/late.py:"
        ' File "/app/shop/late.py", line 1\n    def broken(:\n               ^\nSyntaxError: invalid syntax; '
        "mend the file and build again"
    )


def test_a_failed_build_leaves_the_one_before(make_project: MakeProject) -> None:
    shop = make_project()
    image = builder.build(shop)
    (shop.app / "shop/settings.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        builder.build(shop, allow_dirty=True)
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert builder.last(shop.state) == image


def test_a_killed_build_is_no_build(make_project: MakeProject) -> None:
    """Killed while the settings are imported: they say when. Where they run in a container, that is there still, until the next one."""
    settings = FILES["web/shop/settings.py"] + "import time; (BASE_DIR / 'seen').touch(); time.sleep(60)\n"
    shop = make_project(changed={"web/shop/settings.py": settings})
    running = subprocess.Popen(
        [sys.executable, "-m", "lastgood", "build", "--project", str(shop.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "ci")},
    )
    end = time.monotonic() + 120
    while not list((store.cache() / "work").glob(f"{NAME}-*/app/seen")):
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(timeout=30)
    with pytest.raises(UsageError) as caught:
        builder.last(shop.state)
    assert (
        str(caught.value)
        == f"nothing was built here yet ({shop.root}/.lastgood/build.json does not exist): run `lastgood build`"
    )
    assert len(list((store.cache() / "work").glob(f"{NAME}-*"))) == 1, "what the settings were imported from"
    (shop.app / "shop/settings.py").write_text(FILES["web/shop/settings.py"], encoding="utf-8")
    builder.build(shop, allow_dirty=True)
    assert not list((store.cache() / "work").glob(f"{NAME}-*")), "the next build removes what the killed one left"
    client = python_engine.connect()
    if client is not None:
        with contextlib.closing(client):
            left = client.containers.list(all=True, filters={"label": "lastgood.contained"}, ignore_removed=True)
            assert [one.labels for one in left if f"/{NAME}-" in one.labels["lastgood.contained.folder"]] == []


def test_a_layer_that_left_the_cache(make_project: MakeProject) -> None:
    shop = make_project()
    image = builder.build(shop)
    blob = image.layers[4].blob
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(UsageError) as caught:
        builder.last(shop.state)
    assert str(caught.value) == (
        f"the layer application of build {image.build} is no longer in the cache: run `lastgood build` again"
    )
    blob.unlink()
    assert builder.build(shop) == builder.last(shop.state) == image


@pytest.fixture
def engine() -> Iterator[Any]:
    """The Docker engine."""
    import docker

    with contextlib.closing(docker.client.from_env()) as client:
        yield client


def exported(engine: Any, image: str) -> dict[str, tuple[object, ...]]:
    """Every entry of an image's file system: kind, mode, owner, link, content; without what Docker adds to a container."""
    container = engine.containers.create(image, labels={"lastgood.test": "1"}, name=f"lastgood-test-{uuid4().hex[:12]}")
    try:
        body = io.BytesIO(b"".join(container.export()))
    finally:
        container.remove(force=True, v=True)
    added = {
        ".dockerenv",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
    }
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=body) as archive:
        for member in archive:
            name = member.name.rstrip("/")
            if name in added or not name:
                continue
            opened = archive.extractfile(member) if member.isfile() else None
            content = opened.read() if opened else b""
            found[name] = (member.type, member.mode, member.uid, member.gid, member.linkname, content)
    return found


@pytest.mark.docker
def test_docker_builds_the_same_from_the_same_file(make_project: MakeProject, engine: Any) -> None:
    shop = make_project()
    image = builder.build(shop)
    ours = builder.load(image, f"{NAME}:{image.build}")
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        # The stage alone: the classic builder also makes the stages before it, which BuildKit skips.
        text = bundle.path("docker/Dockerfile").read_bytes()
        stage = text[text.index(b"FROM scratch AS runtime") :]
        header = tarfile.TarInfo("Dockerfile")
        header.size = len(stage)
        archive.addfile(header, io.BytesIO(stage))
        for layer in image.layers:
            with layers.unpacked(layer) as unpacked:
                part = tarfile.TarInfo(f"{layer.name}.tar")
                part.size = len(unpacked.read())
                unpacked.seek(0)
                archive.addfile(part, unpacked)
    context.seek(0)
    theirs, _ = engine.images.build(
        fileobj=context, custom_context=True, target="runtime", network_mode="none", buildargs={"SETTINGS": "shop.settings"},
        labels={"lastgood.test": "1"}, rm=True, forcerm=True,
    )  # fmt: skip
    try:
        settings = [
            {key: engine.images.get(name).attrs["Config"].get(key) for key in SETTINGS} for name in (ours, theirs.id)
        ]
        assert settings[0] == settings[1]
        assert engine.images.get(ours).id == image.image_id
        one, two = exported(engine, ours), exported(engine, theirs.id)
        assert sorted(one) == sorted(two)
        assert [name for name in one if one[name] != two[name]] == []
    finally:
        for name in (ours, theirs.id):
            engine.images.remove(name, force=True)


SETTINGS = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "StopSignal", "Volumes")
INSIDE = """
import ctypes, hashlib, json, os, sqlite3, ssl, sys, zoneinfo
import boto3, django, gunicorn, psycopg
sqlite3.connect(":memory:").execute("select 1")
zoneinfo.ZoneInfo("Europe/Vienna")
try:
    open("/app/x", "w")
except OSError as error:
    written = error.strerror
print(json.dumps({
    "user": [os.getuid(), os.getgid()], "folder": os.getcwd(), "certificates": len(ssl.create_default_context().get_ca_certs()) > 100,
    "written": written, "shell": [p for p in ("/bin/sh", "/usr/bin/bash", "/usr/bin/pip") if os.path.exists(p)],
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
    "python": sys.version_info[:2], "modules": "shop.settings" == os.environ["DJANGO_SETTINGS_MODULE"],
}))
django.setup()
"""


@pytest.mark.docker
def test_the_image_runs_with_nothing_allowed(make_project: MakeProject, engine: Any) -> None:
    shop = make_project()
    image = builder.build(shop)
    tag = builder.load(image, f"{NAME}:{image.build}")
    try:
        said = engine.containers.run(
            tag, ["-c", INSIDE], remove=True, read_only=True, tmpfs={"/tmp": ""}, network_mode="none", cap_drop=["ALL"], stderr=True,
            labels={"lastgood.test": "1"}, name=f"lastgood-test-{uuid4().hex[:12]}", security_opt=["no-new-privileges"],
        )  # fmt: skip
    finally:
        engine.images.remove(tag, force=True)
    assert json.loads(said) == {
        "user": [65532, 65532],
        "folder": "/app",
        "certificates": True,
        "written": "Read-only file system",
        "shell": [],
        "capabilities": ["0000000000000000"],
        "python": [3, 13],
        "modules": True,
    }


def test_what_is_made_before_static_files_are_collected(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a tool of this machine and by the image's Python, into what git ignores; and tests stay out."""
    toml = FILES["pyproject.toml"].partition("packages")[0]
    toml += (
        'before-static = ["mkdir -p web/shop/static/made",\n'
        "\"python -c 'import django; print(django.__name__)' > web/shop/static/made/x.js\"]\n"
        'before-static-makes = ["web/shop/static/made"]\n'
    )
    ignored = FILES[".gitignore"] + "made/\n"
    changed = {"pyproject.toml": toml, ".gitignore": ignored, "web/shop/tests.py": "import shop\n"}
    image = builder.build(make_project("one", small(changed)))
    found = files(image)
    left_out = json.loads((image.folder / assemble.LEFT_OUT).read_text(encoding="utf-8"))
    assert left_out["excluded"]["shop/tests.py"] == "tests"
    assert not any("made" in name for name in left_out["application"])
    assert found["static/made/x.js"] == found["app/shop/static/made/x.js"] == b"django\n"
    assert "app/shop/tests.py" not in found
    assert image.limits == (before.LIMIT,)
    assert "left out of the image: 1 file of tests (keep in" in capsys.readouterr().err
