"""The proof that trimming took no code: which modules are imported, and what is said of one that no longer can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood.cache import store
from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError
from lastgood.image.runtime import Runtime
from lastgood.python import imports
from lastgood.python.contained import Contained
from lastgood.python.interpreter import DIST_PACKAGES


def image_python() -> Contained:
    """The Python of the bundle's own base."""
    return Runtime(Stages(chosen.bundled())).contained


def test_modules() -> None:
    names = dict.fromkeys(
        ("a/__init__.py", "a/b.py", "a/__main__.py", "a/not-one.py", "a/x.cpython-313-x86_64-linux-gnu.so", "a/y.abi3.so", "a/t.txt",
         "a/__pycache__/b.cpython-313.pyc", "bin/c.py"), "python:a",
    )  # fmt: skip
    assert imports.modules({**names, "six.py": "python:six"}) == {
        "python:a": ["a", "a.b", "a.x", "a.y"],
        "python:six": ["six"],
    }


def test_a_module_that_is_gone_on_another_platform() -> None:
    assert imports.missing({"a": None, "a.b": None, "a.c": "ImportError"}, {"a/__init__.pyc": "", "a/d.py": ""}) == [
        "a.b"
    ]


OWNERS = {"python:shop": ["shop", "shop.late"]}


def refusal(before: dict[str, str | None], after: dict[str, str | None]) -> str:
    with pytest.raises(UsageError) as caught:
        imports.check(before, after, OWNERS)
    return str(caught.value)


def test_what_did_not_import_before_need_not_after() -> None:
    imports.check(
        {"shop": "ImportError: no x", "shop.late": None}, {"shop": "ImportError: no y", "shop.late": None}, OWNERS
    )


def test_a_file_that_a_module_reads() -> None:
    error = f"FileNotFoundError: [Errno 2] No such file or directory: '/c/tree/{DIST_PACKAGES}/shop/docs/a.rst'"
    assert refusal({"shop": None}, {"shop": error}) == (
        "shop of shop can't be imported once the image is trimmed (FileNotFoundError: [Errno 2] No such file or directory: "
        "'shop/docs/a.rst'): add \"shop/docs/a.rst\" to keep in [tool.lastgood.image] and build again"
    )


def test_a_module_that_reads_its_own_source() -> None:
    assert refusal({"shop.late": None}, {"shop.late": "OSError: could not get source code"}) == (
        'shop.late of shop can\'t be imported once the image is trimmed (OSError: could not get source code): add "shop" to keep in '
        "[tool.lastgood.image] and build again"
    )


def grown(folder: Path, bodies: dict[str, str]) -> Path:
    top = folder / DIST_PACKAGES
    top.mkdir(parents=True)
    for name, body in bodies.items():
        (top / f"{name}.py").write_text(f"{body}\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_what_failed_before_may_fail_after(tmp_path: Path) -> None:
    whole = grown(tmp_path / "whole", {"shop": "import nothing_like_it", "shop_good": "x = 1"})
    left = grown(tmp_path / "left", {"shop": "import nothing_like_it", "shop_good": "x = 1"})
    assert imports.prove(whole, left, image_python(), {"python:shop": ["shop", "shop_good"]}) == {
        "shop": "ModuleNotFoundError: No module named 'nothing_like_it'"
    }


@pytest.mark.slow
def test_what_trimming_broke_is_refused(tmp_path: Path) -> None:
    whole = grown(tmp_path / "whole", {"shop": "import shop_data", "shop_data": "x = 1"})
    left = grown(tmp_path / "left", {"shop": "import shop_data"})
    with pytest.raises(
        UsageError, match=r"shop of shop can't be imported once the image is trimmed \(ModuleNotFoundError"
    ):
        imports.prove(whole, left, image_python(), {"python:shop": ["shop"]})


@pytest.mark.slow
def test_what_works_only_alone_is_decided_in_its_order(tmp_path: Path) -> None:
    """`late` fails behind `early`, before trimming as after it: alone it would have worked."""
    bodies = {
        "early": "import sys; sys.early = True",
        "late": "import sys; assert not hasattr(sys, 'early'), 'too late'",
    }
    whole, left = grown(tmp_path / "whole", bodies), grown(tmp_path / "left", bodies)
    failed = imports.prove(whole, left, image_python(), {"python:shop": ["early", "late"]})
    assert failed == {"late": "AssertionError: too late"}


@pytest.mark.slow
def test_each_module_is_imported_whatever_the_others_do(tmp_path: Path) -> None:
    top = tmp_path / DIST_PACKAGES
    top.mkdir(parents=True)
    bodies = {
        "shop": "print('noise')", "shop_dies": "import os; os._exit(3)", "shop_exits": "import sys; sys.exit(1)", "shop_good": "x = 1",
        "shop_killed": "import os; os.kill(os.getpid(), 9)", "shop_last": "import shop_good", "shop_raises": "1 / 0",
    }  # fmt: skip
    for name, body in bodies.items():
        (top / f"{name}.py").write_text(f"{body}\n", encoding="utf-8")
    by_owner = imports.modules({f"{name}.py": "python:shop" for name in bodies})
    assert imports.survey(tmp_path, image_python(), by_owner) == {
        "shop": None,
        "shop_dies": "the process ended (status 768)",
        "shop_exits": "SystemExit: 1",
        "shop_good": None,
        "shop_killed": "the process ended (status 9)",
        "shop_last": None,
        "shop_raises": "ZeroDivisionError: division by zero",
    }


LACKS = "OSError: cannot load library 'libpango-1.0-0': libpango-1.0-0: cannot open shared object file"


def test_a_distribution_that_can_not_be_imported_is_named() -> None:
    """By its own name; a part of one may want what is not installed, and what wants settings gets them from the project."""
    by_owner = {
        "python:press": ["press", "press.text"],
        "python:shop": ["shop", "shop.x"],
        "python:kit": ["kit"],
        "python:odd": ["odd"],
    }
    failed = {
        "press": LACKS,
        "press.text": LACKS,
        "shop.x": "ImportError: no",
        "kit": "django.core.exceptions.ImproperlyConfigured: Requested setting X",
        "odd": "ModuleNotFoundError: No module named 'y'",
    }
    assert imports.unimportable(failed, by_owner) == [
        (
            f"press of press can't be imported in the image ({LACKS}): add the Debian package that has the library to packages in "
            "[tool.lastgood.image]"
        ),
        "odd of odd can't be imported in the image (ModuleNotFoundError: No module named 'y'): add what it asks for to requirements.in",
    ]


@pytest.mark.slow
def test_packages_are_found_as_in_the_image(tmp_path: Path) -> None:
    """`.pth` files count, what they add too, and nothing goes before the standard library."""
    top = tmp_path / DIST_PACKAGES
    (top / "extra").mkdir(parents=True)
    (top / "extra/shop_extra.py").touch()
    (top / "json.py").write_text("raise SystemExit\n", encoding="utf-8")
    (top / "shop.pth").write_text("extra\nimport sys; sys.shop = 'begun'\n", encoding="utf-8")
    ask = "import json, shop_extra, subprocess, sys; print(sys.shop, json.dumps(1), flush=True); "
    ask += "subprocess.run([sys.executable, '-c', 'import os'], check=True)"
    with store.workspace(store.cache() / "work", "test-imports-") as home:
        done = image_python().run(ask, ["x"], environment={}, folder=home, packages=top)
    assert (done.stdout, done.stderr) == ("begun 1\n", "")
