"""The native closure, with real ELF files made by the machine's own compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lastgood import platform
from lastgood.scan import closure, elf, measure, view

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("gcc"), reason="needs a C compiler")]
HERE = platform.native()
LIBRARIES = HERE.libraries
MODULES = "usr/local/lib/python3.13/dist-packages"
Compile = Callable[..., bytes]


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """`compile(name, code, *options)`: an ELF file linked with nothing but what is named; earlier ones can be linked to by name."""
    folder = tmp_path_factory.mktemp("elf")
    made: dict[tuple[str, ...], bytes] = {}

    def make(name: str, code: str, *options: str, versions: str = "") -> bytes:
        key = (name, code, *options, versions)
        if key not in made:
            script = [f"-Wl,--version-script={folder}/versions"] if versions else []
            (folder / "versions").write_text(versions)
            kind = [] if "-pie" in options else ["-shared", "-fPIC", f"-Wl,-soname,{name}"]
            command = ["gcc", "-nostdlib", "-Wl,--no-as-needed", *kind, *script, "-x", "c", "-", "-o", name]
            command += ["-x", "none", f"-L{folder}", *options]
            subprocess.run(command, input=code, text=True, check=True, cwd=folder, env=os.environ | {"LC_ALL": "C"})
            made[key] = (folder / name).read_bytes()
        return made[key]

    return make


def holes(image: Any, library_path: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """(kind, path, what is needed) of every hole."""
    seen = view.read(image.layers)
    return [(one.kind, one.path, one.needs) for one in closure.holes(seen, HERE.name, library_path)]


def test_what_is_read_of_a_file(compiler: Compile) -> None:
    compiler("libpq.so.5", "int pq(void) { return 1; }", versions="PQ_5 { global: pq; local: *; };")
    module = compiler(
        "_psycopg.so", "int pq(void); int init(void) { return pq(); }", "-l:libpq.so.5", "-Wl,-rpath,$ORIGIN/libs"
    )
    found = elf.parse(module)
    assert found == elf.Elf(
        HERE.machine, 64, soname="_psycopg.so", needed=("libpq.so.5",), runpath=("$ORIGIN/libs",),
        versions_needed={"libpq.so.5": ("PQ_5",)},
    )  # fmt: skip
    assert elf.Elf.of(found.as_row()) == found
    assert elf.parse(module[:200]) is None
    assert elf.parse(b"\x7fELF") is None


def test_a_module_without_its_library(compiler: Compile, plant: Any) -> None:
    """psycopg[c] without libpq5: the finding names the file, the library and the package."""
    library = compiler("libpq.so.5", "int pq(void) { return 1; }", versions="PQ_5 { global: pq; local: *; };")
    module = compiler("_psycopg.so", "int pq(void); int init(void) { return pq(); }", "-l:libpq.so.5")
    path = f"{MODULES}/psycopg_c/_psycopg.cpython-313.so"
    image = plant(dependencies={path: module})
    assert holes(image) == [("library", path, "libpq.so.5")]
    asked = []

    def find(wanted: str, name: str) -> tuple[str, ...]:
        asked.append((wanted, name))
        return ("libpq5",)

    facts = measure.scan(image, 10**6, measure.Options(find_package=find))
    finding = f"layer dependencies: /{path} needs libpq.so.5, which is not in the image"
    assert [(one["rule"], one["subject"], one["text"], one["do"]) for one in facts["findings"]] == [
        ("missing-library", "libpq.so.5", finding, "add `libpq5` to [tool.lastgood.image] packages"),
    ]  # fmt: skip
    assert asked == [(f"{LIBRARIES}/libpq.so.5", "linux/amd64")]
    facts = measure.scan(image, 10**6, measure.Options(find_package=lambda _path, _platform: ()))
    assert facts["findings"][0]["do"] == (
        f"look for the Debian package that has {LIBRARIES}/libpq.so.5 and add it to [tool.lastgood.image] packages"
    )
    assert holes(plant(build="whole", dependencies={path: module, f"{LIBRARIES}/libpq.so.5": library})) == []


@pytest.mark.parametrize(
    ("options", "place", "found"),
    [
        ((), f"{LIBRARIES}/libdep.so", True),
        ((), "usr/lib/libdep.so", True),
        ((), f"{MODULES}/m/libdep.so", False),
        (("-Wl,-rpath,$ORIGIN",), f"{MODULES}/m/libdep.so", True),
        (("-Wl,-rpath,${ORIGIN}/../m.libs",), f"{MODULES}/m.libs/libdep.so", True),
        (("-Wl,-rpath,relative",), f"{MODULES}/m/relative/libdep.so", False),
        (("-Wl,--disable-new-dtags,-rpath,$ORIGIN",), f"{MODULES}/m/libdep.so", True),
    ],
)
def test_where_the_loader_looks(
    compiler: Compile, plant: Any, options: tuple[str, ...], place: str, found: bool
) -> None:
    dep = compiler("libdep.so", "int dep(void) { return 1; }")
    module = compiler("module.so", "int dep(void); int init(void) { return dep(); }", "-l:libdep.so", *options)
    image = plant(a={f"{MODULES}/m/module.so": module, place: dep})
    assert (holes(image) == []) is found


def test_only_rpath_is_inherited(compiler: Compile, plant: Any) -> None:
    """A library's own needs are looked for in the DT_RPATH of what led to it, not in its DT_RUNPATH."""
    deep = compiler("libdeep.so", "int deep(void) { return 1; }")
    dep = compiler("libdep2.so", "int deep(void); int dep(void) { return deep(); }", "-l:libdeep.so")
    for tags, expected in (
        ("--disable-new-dtags", []),
        ("--enable-new-dtags", [("library", "m/libs/libdep2.so", "libdeep.so")]),
    ):
        module = compiler(
            "module2.so",
            "int dep(void); int init(void) { return dep(); }",
            "-l:libdep2.so",
            f"-Wl,{tags},-rpath,$ORIGIN/libs",
        )
        image = plant(a={"m/module.so": module, "m/libs/libdep2.so": dep, "m/libs/libdeep.so": deep})
        assert holes(image) == expected, tags


def test_a_program_and_its_environment(compiler: Compile, plant: Any) -> None:
    dep = compiler("libdep.so", "int dep(void) { return 1; }")
    loader = f"/{HERE.loader}"
    program = compiler(
        "program", "int dep(void); void _start(void) { dep(); }", "-pie", "-fPIE", "-l:libdep.so", f"-Wl,-I,{loader}"
    )
    content = {"opt/program": program, "opt/lib/libdep.so": dep}
    assert holes(plant(a=content)) == [("interpreter", "opt/program", loader), ("library", "opt/program", "libdep.so")]
    image = plant(a=content | {HERE.loader: dep})
    assert holes(image) == [("library", "opt/program", "libdep.so")]
    assert holes(image, ("/opt/lib",)) == []


def test_ld_so_conf_counts_only_with_its_cache(compiler: Compile, plant: Any) -> None:
    dep = compiler("libdep.so", "int dep(void) { return 1; }")
    module = compiler("module.so", "int dep(void); int init(void) { return dep(); }", "-l:libdep.so")
    content = {"m.so": module, "opt/lib/libdep.so": dep, "etc/ld.so.conf.d/opt.conf": b"# ours\n/opt/lib\n"}
    assert holes(plant(a=content)) == [("library", "m.so", "libdep.so")]
    assert holes(plant(a=content | {"etc/ld.so.cache": b"cache"})) == []


def test_a_symbol_version_that_the_library_lacks(compiler: Compile, plant: Any) -> None:
    code = "int dep(void) { return 1; }"
    compiler("libver.so", code, versions="DEP_2 { global: dep; local: *; };")
    module = compiler("module3.so", "int dep(void); int init(void) { return dep(); }", "-l:libver.so")
    older = compiler("libver.so", code, versions="DEP_1 { global: dep; local: *; };")
    bare = compiler("libver.so", code)
    image = plant(a={"m.so": module, f"{LIBRARIES}/libver.so": older})
    assert holes(image) == [("version", "m.so", "DEP_2")]
    finding = measure.scan(image, 10**6)["findings"][0]
    assert (finding["rule"], finding["text"], finding["do"]) == (
        "missing-version", f"layer a: /m.so needs DEP_2, which /{LIBRARIES}/libver.so does not have",
        "lock a build of it that is made for this Debian or an older one",
    )  # fmt: skip
    assert holes(plant(a={"m.so": module, f"{LIBRARIES}/libver.so": bare})) == [], "the loader only warns"


def test_a_file_for_another_machine(compiler: Compile, plant: Any) -> None:
    other = next(one for one in platform.ALL.values() if one is not HERE)
    module = compiler("module4.so", "int init(void) { return 1; }")
    seen = view.read(plant(a={"m.so": module}).layers)
    assert [(one.kind, one.needs) for one in closure.holes(seen, other.name)] == [
        ("machine", f"{HERE.machine} (64 bits)")
    ]


def test_what_is_opened_by_name_is_listed(compiler: Compile, plant: Any) -> None:
    code = 'void *dlopen(const char *, int); void *init(void) { return dlopen("libextra.so.7", 1); }'
    module = compiler("module5.so", code)
    source = b"import ctypes\nctypes.CDLL('libmagic.so.1')\nctypes.util.find_library(\"geos\")\n"
    image = plant(
        a={
            "m.so": module,
            "usr/lib/x.py": source,
            f"{LIBRARIES}/libmagic.so.1": compiler("libdep.so", "int dep(void) { return 1; }"),
        }
    )
    facts = measure.scan(image, 10**6)
    assert facts["findings"] == []
    assert facts["native"]["opens"] == [
        {"path": "m.so", "opens": ["libextra.so.7"], "in_image": []},
        {"path": "usr/lib/x.py", "opens": ["geos", "libmagic.so.1"], "in_image": ["libmagic.so.1"]},
    ]


def test_a_second_openssl(compiler: Compile, plant: Any, distribution: Any) -> None:
    version = 'const char *version(void) {{ return "OpenSSL {} 30 Sep 2025"; }}'
    debian = compiler("libcrypto.so.3", version.format("3.5.9"))
    vendored = compiler("libcrypto-1f.so.3", version.format("3.2.1"))
    linked = compiler(
        "linked.so", 'const char *version(void); const char *text = "OpenSSL 3.5.0 8 Apr 2025";', "-l:libcrypto.so.3"
    )
    base = {
        f"{LIBRARIES}/libcrypto.so.3": debian,
        "var/lib/dpkg/status.d/libcrypto3": b"Package: libcrypto3\nVersion: 3.5.9\n",
    }
    brings = distribution("psycopg-binary", "3.3.9", {"psycopg_binary.libs/libcrypto-1f.so.3": vendored})
    image = plant(base=base, dependencies=brings | distribution("fine", "1", {"fine/linked.so": linked}))
    facts = measure.scan(image, 10**6)
    assert [(one["rule"], one["subject"], one["text"], one["do"]) for one in facts["findings"]] == [
        ("second-openssl", "psycopg-binary",
         f"psycopg-binary 3.3.9 brings its own OpenSSL 3.2.1 beside Debian's 3.5.9 (/{MODULES}/psycopg_binary.libs/libcrypto-1f.so.3)",
         'lock psycopg[c] instead of psycopg[binary], and add packages = ["libpq5"] to [tool.lastgood.image]'),
    ]  # fmt: skip
    facts = measure.scan(image, 10**6, measure.Options(accept=("second-openssl: psycopg-binary", "shell: bin/sh")))
    assert (facts["findings"], [one["subject"] for one in facts["accepted"]], facts["stale"]) == (
        [],
        ["psycopg-binary"],
        ["shell: bin/sh"],
    )


def test_the_compilers_own_library_has_no_holes(plant: Any) -> None:
    """A real libc, loader and libgcc of this machine, as they would stand in an image."""
    names = ("libc.so.6", "libm.so.6", "libgcc_s.so.1")
    content: dict[str, Any] = {f"{LIBRARIES}/{name}": _real(name) for name in names}
    content |= {name: {"type": tarfile.SYMTYPE, "linkname": f"usr/{name}"} for name in ("lib", "lib64")}
    content[HERE.loader] = _real(Path(HERE.loader).name)
    content[f"{LIBRARIES}/{Path(HERE.loader).name}"] = content[HERE.loader]
    assert holes(plant(base=content)) == []
    del content[f"{LIBRARIES}/libc.so.6"]
    assert {one[2] for one in holes(plant(base=content))} == {"libc.so.6"}


def _real(name: str) -> bytes:
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return Path(found).resolve().read_bytes()
