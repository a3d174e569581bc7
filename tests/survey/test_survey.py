"""What `make survey` calls a loss; its answers about packages are in docs/survey.md."""

from __future__ import annotations

from collections import Counter

import pytest

from survey.__main__ import Package, batches, compare, packages, page


def test_a_line_names_what_a_package_is_compiled_with_and_runs_on() -> None:
    text = "# a sentence\n\nplain\nnative[c] build:libone-dev,pkgconf run:libone1  # why\n"
    assert packages(text) == [Package("plain"), Package("native[c]", ("libone-dev", "pkgconf"), ("libone1",))]


def test_what_needs_debian_packages_is_alone() -> None:
    plain, native = [Package(f"p{number}") for number in range(7)], Package("native", run=("libone1",))
    assert list(batches([*plain[:1], native, *plain[1:]])) == [plain[:6], plain[6:], [native]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("shop/module.py", "there"),
        ("shop/other.py", "as byte-code"),
        ("shop-1.data/purelib/shop/module.py", "there"),
        ("shop-1.data/scripts/shop", "programs"),
        ("shop/locale/de/LC_MESSAGES/django.po", "translations"),
        ("shop/module.pyi", "developers' files"),
        ("shop/tests/photo.jpg", "data of tests"),
        ("shop/docs/index.rst", "documentation"),
        ("shop/tests/templates/page.html", "lost"),
        ("shop/tests/test_module.py", "lost"),
        ("shop/templates/shop/docs/page.txt", "lost"),
        ("shop/gone.py", "lost"),
        ("shop/table.json", "lost"),
    ],
)
def test_a_file_of_a_wheel_is_there_left_out_by_its_kind_or_lost(name: str, kind: str) -> None:
    counted, lost = compare([name], frozenset({"shop/module.py", "shop/other.pyc"}))
    if kind in ("there", "as byte-code"):
        assert (counted, lost) == (Counter(), [])
    elif kind == "lost":
        assert (counted, lost) == (Counter(), [name])
    else:
        assert (counted, lost) == (Counter({kind: 1}), [])


def test_the_page_tells_the_whole_from_the_refused_and_the_lost() -> None:
    row = {"version": "1", "files": 3, "points": 1, "outcome": "", "left_out": {}, "lost": []}
    text = page(
        {
            "a": row | {"name": "a", "left_out": {"programs": 2}},
            "b": row | {"name": "b", "outcome": "no wheel"},
            "c": row | {"name": "c", "lost": [f"c/{number}.html" for number in range(7)]},
        }
    )
    assert "3 packages: 1 whole, 1 refused with a sentence, 1 with a loss that nothing announced." in text
    assert "| a | 1 | 3 | 1 | 2 programs | – |" in text
    assert "| b | 1 | 3 | 1 |  | no wheel |" in text
    assert "| c | 1 | 3 | 1 | nothing | `c/0.html`; `c/1.html`; `c/2.html`; `c/3.html`; `c/4.html` and 2 more |" in text
