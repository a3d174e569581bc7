"""Commands that run before static files are collected: in a copy, with little of this machine, and only what they name is taken."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lastgood.errors import UsageError
from lastgood.image import before, source
from lastgood.image.application import Application
from lastgood.image.before import Before


class Stand:
    """Stands for the image's Python: prints what it was given."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "python-stand"
        self.program.write_text(
            '#!/bin/sh\necho "$PYTHONPATH $DJANGO_SETTINGS_MODULE $SECRET_KEY $*"\n', encoding="utf-8"
        )
        self.program.chmod(0o755)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an application below it, and a cache of its own."""
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody's business")
    root = tmp_path / "shop"
    for name, text in {
        "package.json": "{}",
        "web/manage.py": "",
        "web/a.css": "a",
        ".gitignore": "dist/\n",
        "secret.env": "x",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / ".gitignore").write_text("dist/\nsecret.env\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def made(root: Path, commands: tuple[str, ...], makes: tuple[str, ...], **variables: str) -> Mapping[str, Path]:
    application = Application("shop", root / "web", "shop.settings", variables)
    python: Any = Stand(root.parent)
    return Before(root, commands, makes).made(application, python, root.parent / "tree", "key")


def test_what_is_named_is_taken_and_nothing_else(shop: Path) -> None:
    command = (
        "mkdir -p web/dist/in && cp web/a.css web/dist/in/a.min.css && echo x > web/other && ls -A > web/dist/seen"
    )
    found = made(shop, (command,), ("web/dist",))
    assert {name: file.read_text() for name, file in found.items()} == {
        "dist/in/a.min.css": "a",
        "dist/seen": ".gitignore\npackage.json\nweb\n",
    }
    assert sorted(path.name for path in (shop / "web").iterdir()) == ["a.css", "manage.py"], "in a copy, not here"


def test_once_for_the_same_files(shop: Path, tmp_path: Path) -> None:
    count = f"echo run >> {tmp_path}/count; echo 1 > web/x.js"
    for _ in range(2):
        made(shop, (count,), ("web/x.js",))
    assert (tmp_path / "count").read_text() == "run\n"
    (shop / "package.json").write_text('{"a": 1}', encoding="utf-8")
    made(shop, (count,), ("web/x.js",))
    made(shop, (count,), ("web/x.js",), SECRET_KEY="other")
    assert (tmp_path / "count").read_text() == "run\nrun\nrun\n"


def test_the_environment_is_small(shop: Path) -> None:
    found = made(
        shop,
        ("env | cut -d= -f1 | sort > web/names; python manage.py compress > web/python",),
        ("web/names", "web/python"),
        SECRET_KEY="k",
    )
    names = set(found["names"].read_text().split())
    assert "AWS_SECRET_ACCESS_KEY" not in names
    assert names >= {"PATH", "HOME", "npm_config_cache"}
    path, settings, key, *arguments = found["python"].read_text().split()
    assert path.split(":")[0].endswith("/copy/web")
    assert (settings, key, arguments) == ("shop.settings", "k", ["manage.py", "compress"])


@pytest.mark.parametrize(
    ("commands", "makes", "said"),
    [
        (("echo one; echo two >&2; exit 3",), ("web/x",), ("before-static: `echo one; echo two >&2; exit 3` failed (exit status 3): one / "
         "two; it ran in a copy of the repository, with the files that git knows: mend it in [tool.lastgood.image]")),
        (("true",), ("web/x",), ("before-static-makes names web/x, and no file is there after the commands of before-static: mend either "
         "in [tool.lastgood.image]")),
        (("echo > x",), ("x",), ("[tool.lastgood.image] before-static-makes names x, which lies outside web: only what is below the "
         "application's folder gets into the image; let the command put it there")),
        (("ln -s /etc/hostname web/x",), ("web/x",), ("web/x, which before-static made, is or lies behind a link: let "
         "it be a file of its own")),
    ],
)  # fmt: skip
def test_refused(shop: Path, commands: tuple[str, ...], makes: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(shop, commands, makes)
    assert str(caught.value) == said
    assert list((shop.parent / "cache/before").glob("*")) == []


def test_it_is_part_of_the_application(shop: Path, tmp_path: Path) -> None:
    found = source.copy(shop / "web", tmp_path / "stage")
    extra = made(shop, ("echo 1 > web/x.py; echo b > web/a.css",), ("web/x.py", "web/a.css"))
    after = before.add(extra, tmp_path / "stage", found)
    assert (sorted(after.files), after.modules) == (["a.css", "manage.py", "x.py"], {"manage.py": b"", "x.py": b"1\n"})
    assert (tmp_path / "stage/a.css").read_text() == "b\n"
    assert after.digest != found.digest
    assert before.add({}, tmp_path / "stage", found) is found
