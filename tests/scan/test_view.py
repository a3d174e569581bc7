"""Later layers over earlier ones: what a container sees, and what it never sees though it is pulled."""

from __future__ import annotations

import tarfile
from typing import Any

import pytest
from lastgood.image.built import Image
from lastgood.scan import view

FOLDER = {"type": tarfile.DIRTYPE}


def link(target: str) -> dict[str, object]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def seen(image: Image) -> view.View:
    return view.read(view.sides(image)[0].layers)


def test_a_later_layer_replaces_a_file(plant: Any) -> None:
    found = seen(plant(base={"etc/a": b"old!", "etc/b": b"b"}, app={"etc/a": b"new"}))
    assert {path: entry.size for path, entry in found.entries.items()} == {"etc/a": 3, "etc/b": 1}
    assert (found.layer("etc/a").name, found.layer("etc/b").name) == ("app", "base")
    assert [(one.path, one.layer, one.by, one.size) for one in found.wasted] == [("etc/a", "base", "app", 4)]
    assert found.wasted[0].packed > 0


def test_whiteouts_of_foreign_images(plant: Any) -> None:
    base = {"a/x": b"1", "a/y": b"2", "b": FOLDER, "b/deep/z": b"3", "c": b"4", "d": b"5"}
    found = seen(plant(base=base, top={"a/.wh..wh..opq": b"", "a/new": b"n", ".wh.b": b"", ".wh.c": b"", "cc": b"6"}))
    assert sorted(found.entries) == ["a/new", "cc", "d"]
    assert [one.path for one in found.wasted] == ["a/x", "a/y", "b/deep/z", "c"]


def test_a_whiteout_hides_nothing_of_its_own_layer(plant: Any) -> None:
    assert sorted(seen(plant(base={"a/x": b"1"}, top={"a/x": b"2", "a/.wh..wh..opq": b""})).entries) == ["a/x"]


def test_a_file_in_the_place_of_a_folder(plant: Any) -> None:
    found = seen(plant(base={"a": FOLDER, "a/x": b"1"}, top={"a": b"2"}))
    assert {path: entry.kind for path, entry in found.entries.items()} == {"a": "file"}
    assert [one.path for one in found.wasted] == ["a/x"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("lib/x86/libc.so", "usr/lib/x86/libc.so.6"),
        ("usr/lib/../lib/./x86/libc.so.6", "usr/lib/x86/libc.so.6"),
        ("abs", "usr/lib/x86/libc.so.6"),
        ("lib", "usr/lib"),
        ("loop", None),
        ("out", "usr/lib/x86/libc.so.6"),
        ("nowhere", None),
        ("lib/nowhere", None),
    ],
)
def test_links_are_followed_inside_the_image(plant: Any, path: str, found: str | None) -> None:
    content = {
        "lib": link("usr/lib"), "usr": FOLDER, "usr/lib": FOLDER, "usr/lib/x86": FOLDER, "usr/lib/x86/libc.so.6": b"x",
        "usr/lib/x86/libc.so": link("libc.so.6"), "abs": link("/lib/x86/libc.so"), "loop": link("loop"),
        "out": link("../../lib/x86/libc.so.6"),
    }  # fmt: skip
    assert seen(plant(base=content)).resolve(path) == found


def test_the_platform_is_the_configurations(plant: Any) -> None:
    image = plant(base={"a": b"1"})
    assert [(one.platform, one.size) for one in view.sides(image)] == [("linux/amd64", image.size)]
    assert view.configuration(image, image.image_id)["config"] == {"User": "65532:65532"}
    assert view.configuration(image, "sha256:other") == {}


def test_variants_are_taken_where_a_build_has_them(plant: Any) -> None:
    first, second = plant(base={"a": b"1"}), plant(build="def", base={"b": b"2"})
    variants = tuple(
        view.Side(name, one.image_id, one.layers, one.size, one.unpacked)
        for name, one in (("linux/amd64", first), ("linux/arm64", second))
    )
    object.__setattr__(first, "variants", variants)
    assert view.sides(first) == variants
