"""What of the data stays: AWS services and languages, declared or found by reading the project."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lastgood.config import project
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image import choices
from lastgood.image.application import Application
from lastgood.python.contained import Contained
from lastgood.python.interpreter import Python

KNOWN = frozenset({"s3", "ssm", "sts", "ec2", "cloudformation"})


def shop(tmp_path: Path, files: Mapping[str, str], image: str = "") -> Project:
    """A project with these files below its app."""
    toml = (
        f'[tool.lastgood]\nproject = "shop"\napp = "web"\nsettings = "shop.settings"\n[tool.lastgood.image]\n{image}\n'
    )
    for name, content in {
        "pyproject.toml": toml,
        "web/manage.py": "",
        **{f"web/{name}": text for name, text in files.items()},
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    subprocess.run(
        [
            "git",
            "-C",
            str(tmp_path),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.c",
            "commit",
            "-qm",
            "1",
            "--no-gpg-sign",
        ],
        check=True,
    )
    return project.load(tmp_path)


def application(tmp_path: Path) -> Application:
    """Of a project without files of its own."""
    return Application.of(shop(tmp_path, {}))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("boto3.client('s3')", {"s3"}),
        ("aws.prepare('ssm', \"ec2\")", {"ssm", "ec2"}),
        ("CLIENTS = ['cloudformation']", {"cloudformation"}),
        ("# 's3'\nx = 'S3'", set()),
        ('"""Copies from "s3"."""', set()),
        ("def broken(: 's3'", set()),
    ],
)
def test_words(source: str, found: set[str]) -> None:
    assert choices.words(source.encode(), KNOWN) == found


def test_services_are_found_anywhere_in_a_project_that_uses_boto(tmp_path: Path) -> None:
    files = {"aws.py": "import boto3\nclient = boto3.client\n", "settings.py": "AWS = ['ssm']\n"}
    assert choices.services(shop(tmp_path, files).app, None, KNOWN, frozenset({"s3"})) == ("s3", "ssm")


def test_a_project_that_does_not_use_boto_names_nothing(tmp_path: Path) -> None:
    made = shop(tmp_path, {"settings.py": "KINDS = ['ec2']\n"})
    assert choices.services(made.app, None, KNOWN, frozenset({"s3"})) == ("s3",)
    assert choices.services(made.app, None, KNOWN, frozenset()) is None, "nothing names one: all stay"
    assert choices.services(made.app, None, frozenset(), frozenset()) is None, "no botocore"


def test_services_are_declared(tmp_path: Path) -> None:
    made = shop(tmp_path, {"aws.py": "import boto3\nboto3.client('ssm')\n"}, 'aws-services = ["s3"]')
    assert choices.services(made.app, made.image.aws_services, KNOWN, frozenset()) == ("s3",)


def test_a_service_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        choices.services(shop(tmp_path, {}).app, ("cloudfromation",), KNOWN, frozenset())
    assert str(caught.value) == (
        "[tool.lastgood.image] aws-services names 'cloudfromation', which the locked botocore does not know (did you mean "
        "'cloudformation'?): mend it in pyproject.toml"
    )


@pytest.mark.parametrize(
    ("answer", "languages"),
    [
        ({"i18n": False, "default": True, "languages": ["de", "fr"], "code": "en-gb"}, ("en-gb",)),
        ({"i18n": True, "default": True, "languages": ["de", "fr"], "code": "en-gb"}, None),
        ({"i18n": True, "default": False, "languages": ["de", "fr"], "code": "en-gb"}, ("de", "en-gb", "fr")),
        (None, None),
    ],
)
def test_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | None, languages: tuple[str, ...] | None
) -> None:
    monkeypatch.setattr(choices, "_settings", lambda *_arguments: answer)
    assert choices.languages(application(tmp_path), Contained(Python(tmp_path)), tmp_path, "key", None) == languages


def test_languages_are_declared(tmp_path: Path) -> None:
    assert choices.languages(application(tmp_path), Contained(Python(tmp_path)), tmp_path, "key", ("de",)) == ("de",)


FINDS = "from django.contrib.staticfiles import finders\n"


@pytest.mark.parametrize(
    ("source", "named", "collected", "expected"),
    [("", False, True, True), (FINDS, False, True, False), ("", True, True, False), ("", False, False, False)],
)
def test_static_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, named: bool, collected: bool, expected: bool
) -> None:
    monkeypatch.setattr(choices, "_settings", lambda *_arguments: {"collected": collected})
    made = shop(
        tmp_path,
        {"urls.py": source, "settings.py": "WHITENOISE_USE_FINDERS = False\nA = 'django.contrib.staticfiles'\n"},
    )
    assert (
        choices.static_collected(Application.of(made), Contained(Python(tmp_path)), tmp_path, "key", named) is expected
    )
