"""What each step of trimming takes from a tree, and what it leaves."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from lastgood.image import trim
from lastgood.image.trim import Choices
from lastgood.python import bytecode

TOP = "usr/local/lib/python3.13/dist-packages"
ONE, TWO = (
    f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(text).decode()}\n-----END CERTIFICATE-----\n"
    for text in (b"one", b"two")
)


def after(tmp_path: Path, step: str, files: Mapping[str, str], **chosen: object) -> set[str]:
    """The paths left below dist-packages when the step was done to a tree of `files`, all of the distribution that their folder names."""
    root = tmp_path / "tree"
    tmp_path.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / TOP / name).parent.mkdir(parents=True, exist_ok=True)
        (root / TOP / name).write_text(content, encoding="utf-8")
    bundle = tmp_path / "bundle.crt"
    bundle.write_text(f"# One\n{ONE}# Two\n{TWO}", encoding="utf-8")
    owners = {f"{TOP}/{name}": f"python:{name.split('/')[0]}" for name in files}
    tree = trim.Tree(root, owners, Choices(**chosen), bundle, frozenset({"python:django", "python:shop"}))  # type: ignore[arg-type]
    trim.apply(tree, next(one for one in trim.STEPS if one.name == step))
    assert not [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())], (
        "no empty folder is left"
    )
    return {
        path.relative_to(root / TOP).as_posix()
        for path in (root / TOP).rglob("*")
        if path.is_file() or path.is_symlink()
    }


AWS = dict.fromkeys(
    (
        "botocore/data/endpoints.json", "botocore/data/partitions.json", "botocore/data/_retry.json", "botocore/data/s3/1/x.json",
        "botocore/data/ec2/1/x.json", "botocore/data/sts/1/x.json", "boto3/data/s3/1/x.json", "boto3/data/ec2/1/x.json", "other/data/ec2/x",
    ),
    "",
)  # fmt: skip


def test_services(tmp_path: Path) -> None:
    left = after(tmp_path, "AWS services", AWS, services=("s3",))
    assert set(AWS) - left == {"botocore/data/ec2/1/x.json", "boto3/data/ec2/1/x.json"}


def test_all_services_stay_where_none_is_known(tmp_path: Path) -> None:
    assert after(tmp_path, "AWS services", AWS) == set(AWS)


@pytest.mark.parametrize("keep", ["botocore/data/ec2", f"{TOP}/botocore/data/ec2/*", "botocore", "*/ec2/*"])
def test_what_keep_names_stays(tmp_path: Path, keep: str) -> None:
    assert "botocore/data/ec2/1/x.json" in after(tmp_path, "AWS services", AWS, services=("s3",), keep=(keep,))


def test_models_lose_their_documentation_alone(tmp_path: Path) -> None:
    model = {
        "metadata": {"uid": "x"},
        "documentation": "<p>all of it</p>",
        "shapes": {
            "A": {"type": "structure", "members": {"documentation": {"shape": "B", "documentation": "<p>é</p>"}}}
        },
        "list": [{"documentation": "one", "name": "ü"}],
    }
    names = (
        "botocore/data/s3/1/service-2.json.gz",
        "botocore/data/s3/1/paginators-1.json",
        "boto3/data/s3/1/service-2.json.gz",
    )
    body = gzip.compress(json.dumps(model).encode())
    root = tmp_path / "tree"
    for name in names:
        (root / TOP / name).parent.mkdir(parents=True, exist_ok=True)
        (root / TOP / name).write_bytes(body)
    damaged = root / TOP / "botocore/data/ec2/1/service-2.json.gz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    tree = trim.Tree(root, {}, Choices(), tmp_path / "bundle.crt")
    trim.apply(tree, next(one for one in trim.STEPS if one.name == "documentation in AWS models"))
    assert json.loads(gzip.decompress((root / TOP / names[0]).read_bytes())) == {
        "metadata": {"uid": "x"},
        "shapes": {"A": {"type": "structure", "members": {"documentation": {"shape": "B"}}}},
        "list": [{"name": "ü"}],
    }
    assert [(root / TOP / name).read_bytes() for name in names[1:]] == [body, body]
    assert damaged.read_bytes() == b"damaged"


def test_locales() -> None:
    assert trim.locales(("de-at", "zh-hans", "pt_BR")) >= {"en", "de", "de_AT", "zh", "zh_Hans", "pt", "pt_BR"}
    assert "fr" not in trim.locales(("de-at",))


CATALOGUES = dict.fromkeys(
    [
        f"{name}/locale/{code}/LC_MESSAGES/x.{kind}"
        for name in ("django", "other")
        for code in ("de", "fr")
        for kind in ("po", "mo")
    ]
    + ["django/locale/fr/formats.py", "django/locale/fr/__init__.py"],
    "",
)


def test_translations(tmp_path: Path) -> None:
    """Sources of catalogues go, catalogues of other languages only where Django's settings decide over them, code never."""
    left = after(tmp_path, "translations", CATALOGUES, languages=("de-at",))
    assert left == {
        "django/locale/de/LC_MESSAGES/x.mo",
        "django/locale/fr/formats.py",
        "django/locale/fr/__init__.py",
        "other/locale/de/LC_MESSAGES/x.mo",
        "other/locale/fr/LC_MESSAGES/x.mo",
    }


def test_all_languages(tmp_path: Path) -> None:
    assert set(CATALOGUES) - after(tmp_path, "translations", CATALOGUES) == {
        name for name in CATALOGUES if name.endswith(".po")
    }


def test_static_files(tmp_path: Path) -> None:
    files = dict.fromkeys(
        (
            "django/contrib/admin/__init__.py",
            "django/contrib/admin/static/x.js",
            "django/contrib/admin/templates/x.html",
            "shop/__init__.py",
            "shop/static/x.js",
        ),
        "",
    )
    assert set(files) - after(tmp_path, "static files that were collected", files, static="contrib") == {
        "django/contrib/admin/static/x.js"
    }


def test_static_files_only_as_collected(tmp_path: Path) -> None:
    """Of every package, but no code and nothing that only looks like it."""
    files = dict.fromkeys(
        (
            "django/contrib/admin/static/x.js", "shop/static/shop/x.js", "shop/admin/static/x.css", "shop/static/__init__.py",
            "shop/templates/static.html", "static/x.js", "shop/templatetags/static.py", "shop/templates/static/x.html",
            "django/contrib/admin/__init__.py", "shop/__init__.py", "shop/admin/__init__.py", "data/static/x.json",
        ), "",
    )  # fmt: skip
    assert set(files) - after(tmp_path, "static files that were collected", files, static="collected") == {
        "django/contrib/admin/static/x.js",
        "shop/static/shop/x.js",
        "shop/admin/static/x.css",
    }


def test_static_files_stay(tmp_path: Path) -> None:
    files = {"django/contrib/admin/static/x.js": ""}
    assert after(tmp_path, "static files that were collected", files) == set(files)


def test_developers_files(tmp_path: Path) -> None:
    files = dict.fromkeys(
        ("shop/a.py", "shop/a.pyi", "shop/a.c", "shop/a.h", "shop/a.so", "shop/py.typed", "shop/x.a"), ""
    )
    assert after(tmp_path, "developers' files", files) == {"shop/a.py", "shop/a.so", "shop/py.typed"}


def test_what_a_package_holds_stays(tmp_path: Path) -> None:
    """Whatever its folder is called; what nothing opens of AWS's goes."""
    files = dict.fromkeys(
        ("shop/tests/a.py", "shop/tests/data/a.bin", "shop/tests/templates/a.html", "shop/docs/a.rst", "shop/docs/a.py", "shop/a.txt",
         "shop/examples/a.html", "boto3/examples/s3.rst", "botocore/data/s3/1/examples-1.json", "tests/top.bin"), "",
    )  # fmt: skip
    left = set(files)
    for step in trim.STEPS[:-2]:
        left &= after(tmp_path / step.name.replace(" ", "-"), step.name, files)
    assert set(files) - left == {"boto3/examples/s3.rst", "botocore/data/s3/1/examples-1.json"}


def test_templates_are_no_developers_files(tmp_path: Path) -> None:
    files = dict.fromkeys(
        ("shop/templates/main.c", "shop/static/shop/x.h", "shop/tests/templates/x.pyi", "shop/x.h"), ""
    )
    assert set(files) - after(tmp_path, "developers' files", files) == {"shop/x.h"}


def test_a_translation_that_nobody_compiled_stays(tmp_path: Path) -> None:
    files = dict.fromkeys((f"shop/locale/de/LC_MESSAGES/{name}" for name in ("a.po", "a.mo", "b.po")), "")
    assert set(files) - after(tmp_path, "translations", files) == {"shop/locale/de/LC_MESSAGES/a.po"}


def test_who_asks_for_sources_keeps_its_own(tmp_path: Path) -> None:
    files = {
        "shop/a.py": "import inspect\ninspect.getsource(f)\n",
        "shop/b.py": "x = 1\n",
        "other/c.py": "inspect.getsourcefile(f)\n",
    }
    code = {f"{name[:-4]}__pycache__/{name[-4]}.cpython-313.pyc": "code" for name in files}
    assert after(tmp_path, "sources", files | code) == {*files, *code} - {
        "other/c.py",
        "other/__pycache__/c.cpython-313.pyc",
    } | {"other/c.pyc"}


def test_descriptions(tmp_path: Path) -> None:
    after(tmp_path, "descriptions", {"a-1.dist-info/METADATA": "Name: a\nVersion: 1\n\n# A\n\nLong.\n"})
    assert (tmp_path / "tree" / TOP / "a-1.dist-info/METADATA").read_text(encoding="utf-8") == "Name: a\nVersion: 1\n"


def test_certificates(tmp_path: Path) -> None:
    """A bundle that holds one that the image's does not have stays."""
    files = {
        "certifi/cacert.pem": f"# Label\n{ONE}",
        "other/cacert.pem": ONE + ONE.replace("b25l", "eHh4"),
        "botocore/cacert.pem": "old",
    }
    after(tmp_path, "certificates", files)
    top = tmp_path / "tree" / TOP
    assert str((top / "certifi/cacert.pem").readlink()) == "/etc/ssl/certs/ca-certificates.crt"
    assert not (top / "other/cacert.pem").is_symlink()


def test_botocore_asks_certifi(tmp_path: Path) -> None:
    after(tmp_path, "certificates", {"certifi/cacert.pem": ONE.replace("b25l", "eHh4"), "botocore/cacert.pem": "old"})
    top = tmp_path / "tree" / TOP
    assert not (top / "certifi/cacert.pem").is_symlink()
    assert str((top / "botocore/cacert.pem").readlink()) == "../certifi/cacert.pem"


SOURCES = {
    "shop/a.py": "x = 1\n",
    "shop/__pycache__/a.cpython-313.pyc": "code",
    "shop/broken.py": "def (:\n",
    "shop/migrations/0001_initial.py": "x = 1\n",
    "shop/migrations/__pycache__/0001_initial.cpython-313.pyc": "code",
    "shop/schema/0001.py": "class Migration(migrations.Migration):\n",
    "shop/schema/__pycache__/0001.cpython-313.pyc": "code",
}


def test_sources(tmp_path: Path) -> None:
    """Migrations keep theirs, whose hash is in the manifest; so does what has no byte-code."""
    left = after(tmp_path, "sources", SOURCES)
    assert left == (set(SOURCES) - {"shop/a.py", "shop/__pycache__/a.cpython-313.pyc"}) | {"shop/a.pyc"}


@pytest.mark.parametrize("chosen", [{"sources": "all"}, {"keep": ("shop",)}, {"keep": ("shop/*.py",)}])
def test_sources_that_stay(tmp_path: Path, chosen: Mapping[str, object]) -> None:
    assert after(tmp_path, "sources", SOURCES, **chosen) == set(SOURCES)


def test_a_record_names_what_is_there_and_no_program_of_this_machine(tmp_path: Path) -> None:
    record = "a.py,sha256=a,1\nb.py,sha256=b,2\n../../bin/shop,sha256=of-a-line,9\nshop-1.dist-info/RECORD,,\ngone.po,sha256=c,2\n"
    after(tmp_path, "records", {"a.py": "x\n", "b.pyc": "code", "shop-1.dist-info/RECORD": record})
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x\n").digest()).rstrip(b"=").decode()
    assert (tmp_path / "tree" / TOP / "shop-1.dist-info/RECORD").read_text(encoding="utf-8") == (
        f"a.py,sha256={digest},2\nb.pyc,,\nshop-1.dist-info/RECORD,,\n"
    )


def test_the_origin_of_a_copy_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "origin").mkdir()
    (tmp_path / "origin/METADATA").write_text("Name: a\n\nLong.\n", encoding="utf-8")
    trim.copy(tmp_path / "origin", tmp_path / "copy")
    trim._rewrite(tmp_path / "copy/METADATA", b"Name: a\n")
    assert (tmp_path / "origin/METADATA").read_text(encoding="utf-8") == "Name: a\n\nLong.\n"


@pytest.mark.parametrize(
    ("path", "source"),
    [("a/__pycache__/b.cpython-313.pyc", "a/b.py"), ("a/b.pyc", "a/b.py"), ("a/b.py", None), ("a/b.so", None)],
)
def test_the_source_of_byte_code(path: str, source: str | None) -> None:
    assert bytecode.source_of(path) == source
