"""What a lock is made from, other than requirements.in: nothing is guessed, and no version moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lastgood.config import project
from lastgood.config.project import Project
from lastgood.errors import Refused, UsageError
from lastgood.lock import both, inputs, sources
from lastgood.lock.python import PythonLock
from lastgood.lock.sources import Source
from lastgood.python import merge, required

PYPROJECT = """\
[project]
name = "Shop"
dependencies = ["django>=5", "shop[aws]"]
[project.optional-dependencies]
aws = ["boto3"]
Sentry_Sdk = ["sentry-sdk"]
[dependency-groups]
production = ["gunicorn", { include-group = "metrics" }]
metrics = ["statsd"]
loop = [{ include-group = "loop" }]
"""
UV = """\
version = 1
[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
[[package]]
name = "django"
version = "5.2.1"
source = { registry = "https://index.example/packages" }
[[package]]
name = "numpy"
version = "2.0"
source = { registry = "https://index.example/packages" }
resolution-markers = ["python_full_version < '3.14'", "sys_platform == 'win32'"]
"""
POETRY = """\
[tool.poetry.dependencies]
python = "^3.10"
django = "^5.0"
boto3 = { version = "*", optional = true }
celery = { version = "^5", extras = ["redis", "sqs"] }
tomli = { version = "^2", python = "<3.11" }
typing-extensions = [{ version = "^4", python = "^3.12" }, { version = "^3", python = "~3.9" }]
colorama = { version = "*", markers = "sys_platform == 'win32'" }
[tool.poetry.extras]
aws = ["boto3"]
[tool.poetry.group.live.dependencies]
gunicorn = "^23"
"""

INDEX = "index-url"


def lines(source: Source, name: str) -> list[str]:
    return source.texts[name].decode().splitlines()


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_a_requirements_file_is_itself(tmp_path: Path) -> None:
    assert sources.read(tmp_path, "requirements/live.txt") == Source("requirements/live.txt", "requirements/live.txt")


def test_more_requirements_come_beside_it(tmp_path: Path) -> None:
    found = sources.read(tmp_path, "requirements.txt", also=["gunicorn"])
    assert (found.name, found.entry) == ("requirements.txt", "lastgood.in")
    assert lines(found, "lastgood.in") == ["-r requirements.txt", "gunicorn"]


def test_the_project_table(tmp_path: Path) -> None:
    written(tmp_path, pyproject_toml=PYPROJECT)
    found = sources.read(tmp_path, "pyproject.toml", ["sentry-sdk"], ["production"])
    assert lines(found, "pyproject.toml.in") == ["django>=5", "boto3", "sentry-sdk", "gunicorn", "statsd"]
    assert lines(found, "lastgood.in") == ["-r pyproject.toml.in"]
    assert found.upgraded_by == ""


def test_uv_keeps_its_versions(tmp_path: Path) -> None:
    written(tmp_path, pyproject_toml=PYPROJECT, uv_lock=UV)
    found = sources.read(tmp_path, "uv.lock")
    assert lines(found, "lastgood.in") == ["-r pyproject.toml.in", "-c uv.lock.in"]
    assert lines(found, "pyproject.toml.in") == ["django>=5", "boto3"]
    assert lines(found, "uv.lock.in") == [
        "django==5.2.1",
        "numpy==2.0 ; (python_full_version < '3.14') or (sys_platform == 'win32')",
    ]
    assert found.upgraded_by == "uv lock --upgrade"


def test_poetry_keeps_its_versions(tmp_path: Path) -> None:
    lock = '[[package]]\nname = "django"\nversion = "5.0.4"\n[[package]]\nname = "celery"\nversion = "5.4"\n'
    written(tmp_path, pyproject_toml=POETRY, poetry_lock=lock)
    found = sources.read(tmp_path, "poetry.lock", ["aws"], ["live"])
    assert lines(found, "pyproject.toml.in") == [
        "django", "boto3", "celery[redis,sqs]", "typing-extensions", "colorama ; sys_platform == 'win32'", "gunicorn",
    ]  # fmt: skip
    assert lines(found, "poetry.lock.in") == ["django==5.0.4", "celery==5.4"]
    assert lines(sources.read(tmp_path, "poetry.lock"), "pyproject.toml.in")[1] == "celery[redis,sqs]", (
        "boto3 is optional"
    )


def test_pipenv_keeps_its_versions(tmp_path: Path) -> None:
    lock = {
        "default": {"django": {"version": "==5.1"}, "asgiref": {"version": "==3.8", "markers": "python_version > '3'"}}
    }
    written(tmp_path, Pipfile='[packages]\ndjango = "*"\n[dev-packages]\npytest = "*"\n')
    written(tmp_path, Pipfile_lock=json.dumps(lock))
    found = sources.read(tmp_path, "Pipfile.lock")
    assert lines(found, "Pipfile.in") == ["django"]
    assert lines(found, "Pipfile.lock.in") == ["django==5.1", "asgiref==3.8 ; python_version > '3'"]


@pytest.mark.parametrize(
    ("name", "extras", "groups", "said"),
    [
        ("requirements.txt", ["aws"], [], ("[tool.lastgood.lock] extras goes with pyproject.toml or a lock beside it, and source is "
         "requirements.txt: remove the key, or name another source")),
        ("pyproject.toml", ["awz"], [], ("[tool.lastgood.lock] extras names 'awz' (did you mean 'aws'?), and "
         "[project.optional-dependencies] of pyproject.toml has aws, sentry-sdk: mend it")),
        ("pyproject.toml", [], ["live"], ("[tool.lastgood.lock] groups names 'live', and [dependency-groups] of pyproject.toml has loop, "
         "metrics, production: mend it")),
        ("pyproject.toml", [], ["loop"], "{root}/pyproject.toml: the dependency group loop includes itself: mend it"),
        ("uv.lock", [], [], "{root}/uv.lock does not exist: run `uv lock` and commit it, or name another source"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, name: str, extras: list[str], groups: list[str], said: str) -> None:
    written(tmp_path, pyproject_toml=PYPROJECT)
    with pytest.raises(UsageError) as caught:
        sources.read(tmp_path, name, extras, groups)
    assert str(caught.value) == said.format(root=tmp_path)


def test_what_no_index_has_is_refused(tmp_path: Path) -> None:
    git = '[[package]]\nname = "fork"\nversion = "1"\nsource = { git = "https://git.example/fork" }\n'
    written(tmp_path, pyproject_toml=PYPROJECT, uv_lock=git)
    with pytest.raises(UsageError) as caught:
        sources.read(tmp_path, "uv.lock")
    assert str(caught.value) == (
        "uv.lock takes fork from a git repository, and not from an index: what the image installs must have a hash that an index "
        "names; publish it at an index of yours, and lock again"
    )


@pytest.mark.parametrize(
    ("lock", "more", "said"),
    [
        ('source = "pyproject.toml"', 'dependencies = ["fork @ git+https://git.example/fork"]',
         "pyproject.toml asks for fork by a repository"),
        ('also = ["-i https://index.example/packages"]', "", "also in [tool.lastgood.lock] names where packages come from"),
        ('also = ["fork @ file:///fork"]', "", "also in [tool.lastgood.lock] asks for file:///fork"),
        ("", "", "requirements.in:1 names where packages come from"),
    ],
)  # fmt: skip
def test_every_source_has_the_rules_of_an_input(tmp_path: Path, lock: str, more: str, said: str) -> None:
    """What was made for pip-compile is said of the file that the project has."""
    shop = load(tmp_path, lock, f'[project]\nname = "shop"\n{more}\n')
    written(tmp_path, requirements_in="django\n" if lock else f"--extra-{INDEX} https://index.example/packages\n")
    with pytest.raises(UsageError) as caught:
        PythonLock.of(shop).inputs()
    assert str(caught.value).startswith(said)


def test_dependencies_that_only_a_build_can_tell(tmp_path: Path) -> None:
    written(tmp_path, pyproject_toml='[project]\nname = "shop"\ndynamic = ["dependencies"]\n')
    with pytest.raises(UsageError, match="says that its dependencies are dynamic, so only its build could tell them"):
        sources.read(tmp_path, "pyproject.toml")


def test_poetry_without_its_lock(tmp_path: Path) -> None:
    written(tmp_path, pyproject_toml=POETRY)
    with pytest.raises(UsageError, match=r'set source = "poetry.lock" in \[tool.lastgood.lock\]'):
        sources.read(tmp_path, "pyproject.toml")


def load(folder: Path, lock: str = "", more: str = "") -> Project:
    (folder / "manage.py").touch()
    text = f'{more}[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n[tool.lastgood.lock]\n{lock}\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return project.load(folder)


def test_an_input_that_includes_its_own_lock(tmp_path: Path) -> None:
    shop = load(tmp_path, 'source = "base.in"\n')
    written(tmp_path, base_in="-r requirements.txt\n", requirements_txt="django\n")
    for lock, source in ((shop, "base.in"), (load(tmp_path, 'source = "requirements.txt"'), "requirements.txt")):
        with pytest.raises(UsageError) as caught:
            PythonLock.of(lock).inputs()
        assert str(caught.value) == (
            f"{source} is, or includes, requirements.txt, which is the lock that is made from it: name another file for the lock, as "
            'file = "requirements.lock.txt" in [tool.lastgood.lock]'
        )


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    """Two projects lost their requirements.txt without a word."""
    shop = load(tmp_path)
    written(tmp_path, requirements_in="django\n", requirements_txt="# by hand\ndjango==4.2\n")
    with pytest.raises(UsageError) as caught:
        both.lock(shop, frozenset())
    assert str(caught.value) == (
        "requirements.txt is there, and `lastgood lock` did not write it, so it stays as it is: let the lock have another name "
        '(file = "requirements.lock.txt" in [tool.lastgood.lock]), or run `lastgood lock --take-over`, which replaces the file and keeps '
        "the versions that it pins"
    )
    assert (tmp_path / "requirements.txt").read_text() == "# by hand\ndjango==4.2\n"


def test_versions_of_another_lock_are_upgraded_there(tmp_path: Path) -> None:
    shop = load(tmp_path, 'source = "uv.lock"\n', PYPROJECT)
    written(tmp_path, uv_lock=UV)
    with pytest.raises(UsageError) as caught:
        both.lock(shop, None)
    assert str(caught.value) == (
        "the versions are those of uv.lock, and no other: run `uv lock --upgrade`, then `lastgood lock`, which follows it"
    )


def test_a_python_that_the_image_does_not_have(tmp_path: Path) -> None:
    shop = load(tmp_path, more='[project]\nname = "shop"\nrequires-python = ">=3.9,<3.13"\n')
    with pytest.raises(Refused) as caught:
        both.lock(shop, frozenset())
    assert str(caught.value) == (
        'pyproject.toml says requires-python = ">=3.9,<3.13", and the image has Python 3.13, Debian\'s own: run your tests with 3.13 and '
        "let requires-python take it, or build an image of your own (dockerfile in [tool.lastgood.image])"
    )


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [("", True), (">=3.10", True), ("^3.10", True), ("~3.12", False), ("~3.13", True), (">= 3.9, < 3.13", False), ("3.12.*", False),
     ("^3.8 || 2.7.*", True), (">=3.14", False), (">=3.13.4", True), ("3.13", True), ("*", True), ("what?", True)],
)  # fmt: skip
def test_the_image_s_python(wanted: str, fits: bool) -> None:
    assert required.accepts(wanted) is fits


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.txt", "a/../x", "a/", ""])
def test_a_lock_s_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f'file = "{name}"')
    assert str(caught.value).endswith(
        f"[tool.lastgood.lock] file: {name!r} must be a file's path below pyproject.toml, as requirements/live.txt"
    )


@pytest.mark.slow
def test_a_lock_from_another_lock(tmp_path: Path) -> None:
    """The versions are the other lock's, old as they are; the lock has its own name and goes stale with what it was made from."""
    more = '[project]\nname = "shop"\ndependencies = ["iniconfig"]\n[tool.unrelated]\nx = 1\n'
    shop = load(tmp_path, 'source = "uv.lock"\nfile = "locks/live.txt"\nalso = ["sqlparse<0.6"]\n', more)
    pin = '[[package]]\nname = "iniconfig"\nversion = "1.1.1"\nsource = { registry = "x" }\n'
    written(tmp_path, uv_lock=pin, requirements_txt="# mine\n")
    moved = both.lock(shop, frozenset())
    assert [(one.name, one.new) for one in moved if one.name == "iniconfig"] == [("iniconfig", "1.1.1")]
    text = (tmp_path / "locks/live.txt").read_text(encoding="utf-8")
    assert [entry.name for entry in merge.entries(text)] == ["iniconfig", "sqlparse"]
    assert [line.strip() for line in text.splitlines() if line.startswith("    #")] == [
        "# via", "#   -c uv.lock", "#   -r pyproject.toml", "# via -r pyproject.toml",
    ]  # fmt: skip
    assert (tmp_path / "requirements.txt").read_text() == "# mine\n"
    PythonLock.of(shop).check()
    shop = load(
        tmp_path, 'source = "uv.lock"\nfile = "locks/live.txt"\nalso = ["sqlparse<0.6"]\n', more.replace("= 1", "= 2")
    )
    PythonLock.of(shop).check()
    written(tmp_path, uv_lock=pin.replace("1.1.1", "2.0.0"))
    with pytest.raises(
        Refused, match=r"locks/live.txt is stale: uv.lock, a file it includes, or the settings of the lock changed"
    ):
        PythonLock.of(shop).check()
    both.lock(shop, frozenset())
    assert "iniconfig==2.0.0" in (tmp_path / "locks/live.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_file_that_is_taken_over_keeps_its_versions(tmp_path: Path) -> None:
    shop = load(tmp_path)
    written(tmp_path, requirements_in="iniconfig\n", requirements_txt="iniconfig==1.1.1\n")
    both.lock(shop, frozenset(), take_over=True)
    text = (tmp_path / "requirements.txt").read_text(encoding="utf-8")
    assert "iniconfig==1.1.1" in text
    assert inputs.recorded(text)[0]
