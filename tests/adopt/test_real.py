"""A project as its own tool makes it, from the package index: `init`, lock, build, with no line of its code changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lastgood import cli
from lastgood.config import project
from lastgood.image import build as builder
from lastgood.image import layers

pytestmark = pytest.mark.long


def run(*command: str, cwd: Path) -> None:
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    subprocess.run(command, cwd=cwd, check=True, env=os.environ | dict.fromkeys(names, "a@b.c"))


def test_wagtail_s_start_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LASTGOOD_STATE", raising=False)
    run(sys.executable, "-I", "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    run(str(tmp_path / "venv/bin/pip"), "install", "--quiet", "wagtail", cwd=tmp_path)
    run(str(tmp_path / "venv/bin/wagtail"), "start", "shop", cwd=tmp_path)
    root = tmp_path / "shop"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    run("git", "init", "-q", "-b", "main", cwd=root)
    assert cli.main(["init", "--project", str(root)]) == 0
    assert cli.main(["lock", "--project", str(root)]) == 0
    assert {path: path.read_bytes() for path in before} == before, "nothing of it was changed"
    run("git", "add", "-A", cwd=root)
    run("git", "commit", "-qm", "one", "--no-gpg-sign", cwd=root)
    shop = project.load(root)
    image = builder.build(shop)
    (static,) = (layer for layer in image.layers if layer.name == "static")
    with layers.unpacked(static) as unpacked:
        assert b"static/wagtailadmin/css/core" in unpacked.read()
    run("git", "commit", "-q", "--allow-empty", "-m", "two", "--no-gpg-sign", cwd=root)
    builder.build(shop)  # what the first build left is no change
