"""What the image holds is what `pip install -r requirements.in` and a fresh checkout would hold, less what the build says it left out.

Inputs come from a generator with a seed: requirements with markers, extras, includes, constraints and formats over small wheels; trees
with links, ignored, generated, large and odd files, and submodules.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lastgood.config import project
from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.image import assemble, commit, installed, source, trim
from lastgood.lock.python import PythonLock
from lastgood.platform import native
from lastgood.python import install
from lastgood.python.compiling import Compiler
from lastgood.python.pip_compile import Tools

GIT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
WHO = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@b.c")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, env=os.environ | GIT | WHO, capture_output=True)


def files(folder: Path) -> dict[str, tuple[str, str]]:
    """{path: (kind, content or target)} of a tree without what is git's own."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if ".git" in name.split("/"):
            continue
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            mode = "program" if path.stat().st_mode & 0o100 else "file"
            found[name] = (mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


NAMES = ("a.py", "b c.txt", "größe.html", "-r", "A.py", "x.mo", "out.css", "big.bin", ".hidden", "run", "~", "[1].txt")
FOLDERS = ("", "shop", "shop/tests", "shop/docs/templates", "Shop", "built", "locale/de/LC_MESSAGES", "deep/er/still")
PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "x"\nmsgstr "y"\n'


def grow(folder: Path, dice: random.Random) -> None:
    """Writes a tree, and commits what git does not ignore of it."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text(
        "\n".join(dice.sample(["*.mo", "built/", "*.css", "big.bin", "!a.py", ""], 3)) + "\n"
    )
    for _ in range(dice.randint(3, 25)):
        target = folder / dice.choice(FOLDERS) / dice.choice(NAMES)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(dice.randbytes(dice.choice((0, 1, 99, 3_000_000 if target.name == "big.bin" else 9))))
        target.chmod(dice.choice((0o644, 0o755)))
    if dice.random() < 0.5:
        (folder / "locale/de/LC_MESSAGES").mkdir(parents=True, exist_ok=True)
        (folder / "locale/de/LC_MESSAGES/django.po").write_text(PO)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one", "--no-gpg-sign")
    known = commit.files(folder)
    for number in range(dice.randint(0, 3)):
        target = dice.choice([name for name in known if "/" not in name] or ["."])
        (folder / f"link{number}").symlink_to(target)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "two", "--no-gpg-sign", "--allow-empty")


def check_tree(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  not for secrets
    app = tmp_path / f"{seed}/app"
    grow(app, dice)
    for number in range(dice.randint(0, 2)):
        grow(tmp_path / f"{seed}/lib{number}", dice)
        git(app, "submodule", "--quiet", "add", f"{tmp_path}/{seed}/lib{number}", f"vendor/{number}")
        git(app, "commit", "-qm", "three", "--no-gpg-sign")
    git(app.parent, "clone", "-q", "--recurse-submodules", str(app), "clone")
    copied = source.copy(app, tmp_path / f"{seed}/copy")
    left_out = [name for name in commit.ignored(app) if name not in copied.made]
    held, fresh, here = (files(app.parent / name) for name in ("copy", "clone", "app"))
    assert {name: what for name, what in held.items() if name not in copied.made} == fresh, seed
    absent = here.keys() - held.keys()
    unsaid = {
        name
        for name in absent
        if not any(name == one or (one.endswith("/") and name.startswith(one)) for one in left_out)
    }
    assert unsaid == set(), seed
    assert not (set(copied.made) & fresh.keys()), seed
    assert not left_out or any("as git ignores it" in note for note in assemble.notes({}, left_out, copied.made))


@pytest.mark.parametrize("seed", range(2))
def test_trees(tmp_path: Path, seed: int) -> None:
    check_tree(tmp_path, seed)


@pytest.mark.slow
def test_many_trees(tmp_path: Path) -> None:
    for seed in range(100, 130):
        check_tree(tmp_path, seed)
        shutil.rmtree(tmp_path / str(seed))


DATA = (
    "templates/{0}/page.html",
    "tests/templates/x.html",
    "docs/index.html",
    "examples/a.c",
    "data/tests/t.json",
    "static/{0}/a.map",
)
MARKERS = (
    'python_version >= "3.13"',
    'sys_platform == "win32"',
    'platform_machine == "x86_64"',
    'python_full_version > "3.13.0"',
)


def wheels(folder: Path, dice: random.Random) -> None:
    """Six distributions in two versions each, that ask for one another, some by an extra or a marker, with all kinds of data."""
    folder.mkdir()
    for number in range(6):
        name = f"kit{number}"
        data = dice.sample(DATA, 4)
        for version in ("1.0", "2.0"):
            asks = [f"Requires-Dist: kit{other}" for other in range(number) if dice.random() < 0.3]
            if number:
                asks += ["Provides-Extra: more", f'Requires-Dist: kit{number - 1} ; extra == "more"']
                asks += [f"Requires-Dist: kit0 ; {dice.choice(MARKERS)}"]
            info = f"{name}-{version}.dist-info"
            with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
                archive.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n")
                for one in data:
                    archive.writestr(f"{name}/{one.format(name)}", version)
                archive.writestr(
                    f"{info}/METADATA",
                    "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *asks, ""]),
                )
                archive.writestr(
                    f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                )
                archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
                archive.writestr(f"{info}/RECORD", "")


def inputs(root: Path, dice: random.Random) -> None:
    """requirements.in, perhaps with an included file and constraints, in one of the ways that editors write files."""
    lines = []
    for number in dice.sample(range(6), dice.randint(1, 4)):
        line = f"KIT{number}" if dice.random() < 0.2 else f"kit{number}"
        line += dice.choice(("", "[more]" if number else "")) + dice.choice(("", "", "==1.0", "<2", "!=2.0", ">=1"))
        lines.append(
            line + dice.choice(("", "", *(f" ; {marker}" for marker in MARKERS))) + dice.choice(("", "  # why"))
        )
    if dice.random() < 0.5:
        (root / "limits.txt").write_text(f"kit{dice.randrange(6)}<2\n")
        lines.append("-c limits.txt")
    if dice.random() < 0.5:
        (root / "more.in").write_bytes(b"\xef\xbb\xbfkit5\r\n")
        lines.append("-r more.in")
    body = dice.choice(("\n", "\r\n")).join(["", *lines, ""])
    (root / "requirements.in").write_bytes(dice.choice((b"", b"\xef\xbb\xbf")) + body.encode())


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip finds everything."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return tmp_path / "links"


def code_and_data(target: Path) -> Iterator[tuple[str, str]]:
    """What was installed, without what pip notes of the installation itself."""
    for name, (kind, content) in files(target).items():
        if (
            "__pycache__" not in name
            and not name.startswith("bin/")
            and name.rpartition("/")[2] not in NOTED
            and kind == "file"
        ):
            yield name, content


NOTED = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def check_requirements(tmp_path: Path, links: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  not for secrets
    wheels(links, dice)
    root = tmp_path / str(seed)
    root.mkdir()
    (root / "manage.py").touch()
    (root / "pyproject.toml").write_text('[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n')
    inputs(root, dice)
    stages = Stages(chosen.bundled())
    lock = PythonLock.of(project.load(root))
    lock.write(lock.compiled(stages, None))
    lock.check()
    tree = root / "tree"
    target = tree / "usr/local/lib/python3.13/dist-packages"
    target.mkdir(parents=True)
    install.install(root / "requirements.txt", Compiler(stages, root / "none"), native(), root / "wheels", target)
    (root / "work").mkdir()
    tools = Tools(Compiler(stages, root / "none"), root / "work", 0)
    asked = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "-r",
        str(root / "requirements.in"),
        "--target",
        str(root / "by-pip"),
    ]
    done = tools._run(asked, native(), root)
    assert done.returncode == 0, done.stderr
    wanted = dict(code_and_data(root / "by-pip"))
    assert dict(code_and_data(target)) == wanted, seed
    work = trim.Tree(tree, installed.recorded(target), trim.Choices(sources="all"), root / "pyproject.toml")
    for step in trim.STEPS:
        trim.apply(work, step)
    said = {name.removeprefix("usr/local/lib/python3.13/dist-packages/") for name in work.removed}
    assert {name for name, _ in code_and_data(target)} == wanted.keys() - said, seed
    assert {name for name in said if not name.endswith(NOTED) and not name.startswith("bin/")} <= {
        f"kit{n}/examples/a.c" for n in range(6)
    }


@pytest.mark.slow
def test_requirements(tmp_path: Path, links: Path) -> None:
    check_requirements(tmp_path, links, 1)


@pytest.mark.long
def test_many_requirements(tmp_path: Path, links: Path) -> None:
    for seed in range(200, 240):
        shutil.rmtree(links, ignore_errors=True)
        check_requirements(tmp_path, links, seed)
