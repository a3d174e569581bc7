"""What stays out of an image by default is what nothing in it uses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from lastgood.image import excluded

FILES = {
    "manage.py": "",
    ".github/workflows/ci.yml": "",
    "Dockerfile": "",
    "docker-compose.yml": "",
    "conftest.py": "",
    "shop/settings.py": 'INSTALLED_APPS = ["shop", "laboratory.tests"]\n',
    "shop/views.py": "from shop.models import Thing\n",
    "shop/tests.py": "import shop.views\n",
    "shop/tests/test_views.py": "",
    "shop/tests/data/big.json": "",
    "laboratory/tests/__init__.py": "",
    "laboratory/tests/models.py": "from laboratory.testing.tests import helper\n",
    "laboratory/testing/tests.py": "",
    "shop/templates/tests/list.html": "",
    "shop/management/commands/test_mail.py": "",
    "shop/test_results.py": "",
    "shop/urls.py": "from . import test_results\n",
    "shop/test_other.py": "",
    "docs/Dockerfile": "",
}


def left(files: Mapping[str, str], exclude: tuple[str, ...] = (), keep: tuple[str, ...] = ()) -> dict[str, str]:
    return excluded.chosen(sorted(files), lambda name: files[name].encode(), exclude, keep)


def test_tests_and_ci() -> None:
    assert left(FILES) == {
        ".github/workflows/ci.yml": "CI and tools",
        "Dockerfile": "CI and tools",
        "conftest.py": "tests",
        "docker-compose.yml": "CI and tools",
        "shop/test_other.py": "tests",
        "shop/tests.py": "tests",
        "shop/tests/data/big.json": "tests",
        "shop/tests/test_views.py": "tests",
    }


@pytest.mark.parametrize(
    "source",
    [
        "from shop.tests import test_views\n",
        "def f():\n    import shop.tests.test_views\n",
        'include("shop.tests.test_views")\n',
        'RUNNER = "shop.tests.test_views.Runner"\n',
    ],
)
def test_what_is_used_stays(source: str) -> None:
    files = {**FILES, "shop/factories.py": source}
    assert [name for name in left(files) if name.startswith("shop/tests/")] == []


def test_patterns_of_the_project() -> None:
    found = left(FILES, exclude=("docs", "shop/views.py"), keep=("shop/tests/data/*", "Dockerfile"))
    assert {name for name, why in found.items() if why == "what exclude names"} == {"docs/Dockerfile", "shop/views.py"}
    assert "shop/tests/data/big.json" not in found
    assert "Dockerfile" not in found
    assert "shop/tests/test_views.py" in found


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a/b/c.txt", "a/b", True), ("a/b/c.txt", "/a/b/", True), ("a/b/c.txt", "b", True), ("a/b/c.txt", "*.txt", True),
        ("a/b/c.txt", "a/*.txt", True), ("a/bc/d", "a/b", False), ("x/a/b", "a/b", False),
    ],
)  # fmt: skip
def test_patterns(path: str, pattern: str, expected: bool) -> None:
    assert excluded.matches(path, pattern) is expected


def test_the_table_of_ours_is_cut_out() -> None:
    body = b'[project]\nname = "x"\n\n[tool.lastgood]\nproject = "x"\n[tool.lastgood.image.environment]\nSECRET_KEY = "y"\n[tool.ruff]\n'
    assert excluded.without_table(body) == b'[project]\nname = "x"\n\n[tool.ruff]\n'
    assert excluded.without_table(b"[tool.ruff]\n") == b"[tool.ruff]\n"
    assert excluded.without_table(b'[tool.lastgood]\nproject = "x"\n') == b"", "nothing is left"
    assert excluded.without_table(b'[tool]\nlastgood = { project = "x" }\nruff = {}\n') == b"", (
        "not to be cut out by lines"
    )
    assert excluded.without_table(b'[tool.ruff]\nx = """\n[tool.lastgood]\n"""\n[tool.lastgood]\na = 1\n') == b"", (
        "a line of a text"
    )


def test_it_is_said() -> None:
    assert excluded.told({"a": "tests", "b": "tests", "c": "CI and tools", "pyproject.toml": excluded.OWN}) == (
        "left out of the image: 2 files of tests, 1 file of CI and tools, lastgood's own table"
    )
    assert excluded.told({}) == ""
