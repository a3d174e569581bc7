"""Every byte has one owner, and every sum is exact."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastgood.scan import layer, measure, owners, view

PACKAGES = "usr/local/lib/python3.13/dist-packages"
STATUS = b"Package: libssl3t64\nVersion: 3.5.9-1\nArchitecture: amd64\nSource: openssl (3.5.9-1~x)\nHomepage: https://o.example\n"


def owned(image: Any) -> dict[str, str]:
    """{path: owner}, folders left out."""
    one = measure.examine(image)[0]
    return {path: owner for (_, path), owner in one.owned.items() if one.view.entries[path].kind != "folder"}


def test_record_and_byte_code(plant: Any, distribution: Any) -> None:
    files = {
        "alpha/__init__.py": b"a = 1\n",
        "alpha/gone.py": b"",
        "alpha/data.txt": b"d",
        "../../../bin/alpha": b"#!x\n",
    }
    content = distribution("Alpha.One", "1.2", files) | {
        f"{PACKAGES}/alpha/__pycache__/__init__.cpython-313.pyc": b"code",
        f"{PACKAGES}/alpha/gone.pyc": b"code",
        f"{PACKAGES}/alpha/generated.bin": b"g",
        f"{PACKAGES}/stray.py": b"s",
    }
    del content[f"{PACKAGES}/alpha/gone.py"]
    found = owned(plant(dependencies=content))
    assert found.pop(f"{PACKAGES}/stray.py") == "unattributed"
    assert set(found.values()) == {"python:alpha-one"}
    assert "usr/local/bin/alpha" in found, "RECORD says where its program lies"


def test_a_folder_of_two_distributions_decides_nothing(plant: Any, distribution: Any) -> None:
    content = distribution("one", "1", {"shared/a.py": b"a"}) | distribution("two", "1", {"shared/b.py": b"b"})
    found = owned(plant(dependencies=content | {f"{PACKAGES}/shared/c.bin": b"c"}))
    assert (found[f"{PACKAGES}/shared/a.py"], found[f"{PACKAGES}/shared/b.py"], found[f"{PACKAGES}/shared/c.bin"]) == (
        "python:one", "python:two", "unattributed",
    )  # fmt: skip


def test_debian_without_lists(plant: Any) -> None:
    base = {
        "var/lib/dpkg/status.d/libssl3t64": STATUS,
        "usr/share/doc/libssl3t64/copyright": b"c",
        "usr/lib/x86_64-linux-gnu/libssl.so.3": b"s",
        "usr/lib/x86_64-linux-gnu/libother.so.1": b"o",
        "etc/passwd": b"root",
    }
    assert owned(plant(base=base)) == {
        "var/lib/dpkg/status.d/libssl3t64": "debian:libssl3t64",
        "usr/share/doc/libssl3t64/copyright": "debian:libssl3t64",
        "usr/lib/x86_64-linux-gnu/libssl.so.3": "debian:libssl3t64",
        "usr/lib/x86_64-linux-gnu/libother.so.1": "unattributed",
        "etc/passwd": "unattributed",
    }


def test_debian_with_dpkgs_own_lists(plant: Any) -> None:
    base = {
        "var/lib/dpkg/status": STATUS
        + b"Status: install ok installed\n\nPackage: old\nStatus: deinstall ok config-files\n",
        "var/lib/dpkg/info/libssl3t64:amd64.list": b"/.\n/usr\n/usr/lib/engine.so\n",
        "usr/lib/engine.so": b"e",
    }
    image = plant(base=base)
    assert owned(image)["usr/lib/engine.so"] == "debian:libssl3t64"
    packages = measure.examine(image)[0].owners.packages
    assert packages == (
        owners.Package("libssl3t64", "3.5.9-1", "amd64", "openssl", "3.5.9-1~x", "https://o.example"),
    )  # fmt: skip


def test_what_the_build_wrote_down_is_believed_first(plant: Any) -> None:
    image = plant(
        base={"usr/lib/a.py": b"1", "usr/lib/__pycache__/a.cpython-313.pyc": b"2", "app/x": b"3"},
        owners={"base": {"usr/lib/a.py": "debian:libpython3.13-stdlib", "app/x": "lastgood"}},
    )
    assert owned(image) == {
        "usr/lib/a.py": "debian:libpython3.13-stdlib",
        "usr/lib/__pycache__/a.cpython-313.pyc": "debian:libpython3.13-stdlib",
        "app/x": "lastgood",
    }


def test_static_files_belong_to_whose_they_are(plant: Any, distribution: Any) -> None:
    body = b"body { margin: 0 }"
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
    content = distribution("django", "5", {"django/contrib/admin/static/admin/base.css": body})
    record = f"{PACKAGES}/django-5.dist-info/RECORD"
    content[record] = content[record].replace(b"base.css,,", f"base.css,sha256={digest},18".encode())
    static = {
        "static/admin/base.css": body,
        "static/admin/base.0123456789ab.css": body + b"/* rewritten */",
        "static/admin/base.css.gz": b"packed",
        "static/board/board.css": b"own",
        "static/gis/trimmed.js": b"of a file that RECORD no longer has",
        "static/staticfiles.json": b"{}",
    }
    found = owned(plant(dependencies=content, static=static, app={"app/manage.py": b"", "opt/lastgood/m.py": b""}))
    assert {path: owner for path, owner in found.items() if not path.startswith("usr/")} == {
        "static/admin/base.css": "python:django",
        "static/admin/base.0123456789ab.css": "python:django",
        "static/admin/base.css.gz": "python:django",
        "static/board/board.css": "project",
        "static/gis/trimmed.js": "python:django",
        "static/staticfiles.json": "project",
        "app/manage.py": "project",
        "opt/lastgood/m.py": "lastgood",
    }


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/b.cpython-313.pyc", "a/b.py"),
        ("a/__pycache__/b.cpython-313.opt-1.pyc", "a/b.py"),
        ("a/b.pyc", "a/b.py"),
        ("a/b.py", None),
    ],
)
def test_the_source_of_byte_code(path: str, source: str | None) -> None:
    assert owners.source_of(path) == source


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_every_table_has_the_images_sum(plant: Any, distribution: Any, codec: str) -> None:
    content = distribution("alpha", "1", {f"alpha/{n}.py": str(n).encode() * n * 7 for n in range(40)})
    folders = {path.rpartition("/")[0]: {"type": tarfile.DIRTYPE} for path in content}
    image = plant(
        dependencies=folders | content, app={"app/a": b"x" * 5000, "usr": {"type": tarfile.DIRTYPE}, "lost": b"?"}
    )
    if codec == "zstd":
        for one in image.layers:
            object.__setattr__(one, "media_type", "application/vnd.oci.image.layer.v1.tar+zstd")
    found = measure.examine(image)[0]
    for what in ("layer", "owner", "kind", "folder"):
        weights = found.weights(what)
        assert sum(one.compressed for one in weights) == image.size, what
        assert sum(one.unpacked for one in weights) == image.unpacked, what
        assert sum(one.files for one in weights) == found.contents.files == 44, what
    for one in found.view.layers:
        assert sum(entry.packed for entry in one.entries) == one.compressed
        assert all(entry.packed >= 0 for entry in one.entries)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60), st.integers(0, 10**8))
def test_shares_are_exact_and_in_proportion(weights: list[int], total: int) -> None:
    parts = layer.scaled(weights, total)
    assert sum(parts) == total
    if sum(weights):
        assert all(abs(part - weight * total / sum(weights)) < 1 for part, weight in zip(parts, weights, strict=True))


def test_a_file_that_does_not_compress_weighs_what_it_is(plant: Any) -> None:
    noise = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(250)) * 1
    found = view.read(plant(app={"app/noise": noise, "app/zeros": bytes(100_000)}).layers)
    assert found.entries["app/noise"].packed == pytest.approx(len(noise), rel=0.05)
    assert found.entries["app/zeros"].packed < 500


def test_the_second_scan_opens_no_tar(plant: Any) -> None:
    image = plant(base={"etc/a": b"1", "bin/tool": b"\x7fELFbroken"})
    first = layer.read(image.layers[0])
    image.layers[0].blob.unlink()
    assert layer.read(image.layers[0]) == first
    assert first.elves == {}
