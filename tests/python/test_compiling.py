"""What has no wheel is compiled in a container: the same bytes each time, and one sentence where it can't be."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError
from lastgood.platform import AMD64, ARM64, Platform, native
from lastgood.python import compiling
from lastgood.python.compiling import Compiler
from lastgood.python.sources import Source

# A build backend of its own, so that nothing needs to be fetched to build: it compiles one file and makes a wheel of it.
BACKEND = """
import os, subprocess, sysconfig, time, zipfile
def build_wheel(folder, settings=None, metadata=None):
    tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    include = sysconfig.get_paths()["include"]
    done = subprocess.run([*os.environ.get("CC", "gcc").split(), "-shared", "-fPIC", *os.environ["CFLAGS"].split(), f"-I{include}",
        "fast.c", *os.environ["LDFLAGS"].split(), "-o", "fast.so"])
    if done.returncode:
        raise RuntimeError("gcc failed")
    name = f"fast-1.0-cp313-cp313-{tag}.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.write("fast.so", "fast" + sysconfig.get_config_var("EXT_SUFFIX"))
        archive.writestr("fast-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: fast\\nVersion: 1.0\\n")
        archive.writestr("fast-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: cp313-cp313-{tag}\\n")
        archive.writestr("fast-1.0.dist-info/RECORD", str(time.time()) if os.path.exists("clock") else "")
    return name
"""
GOOD = '#include <Python.h>\nPyMODINIT_FUNC PyInit_fast(void) { static struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "fast"}; '
GOOD += "return PyModule_Create(&d); }\n"


def compiler(tmp_path: Path, build_requirements: str | None = "") -> Compiler:
    """Of a project with a lock of build requirements, or without one."""
    (tmp_path / "docker").mkdir()
    if build_requirements is not None:
        (tmp_path / "docker/build-requirements.txt").write_text(build_requirements, encoding="utf-8")
    return Compiler(Stages(chosen.bundled()), tmp_path / "docker/build-requirements.txt")


def sdist(folder: Path, source: str) -> Source:
    """A source distribution of one C file."""
    backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    backend += '[project]\nname = "fast"\nversion = "1.0"\n'
    files: Mapping[str, str] = {
        "backend.py": BACKEND,
        "fast.c": source,
        "pyproject.toml": backend,
        "PKG-INFO": "Name: fast\n",
    }
    file = folder / "fast-1.0.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"fast-1.0/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return Source("fast", "1.0", file)


OTHER = ARM64 if native() == AMD64 else AMD64


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("platform", [native(), OTHER], ids=["native", "cross"])
def test_the_same_source_gives_the_same_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: Platform
) -> None:
    """Compiled twice, without the cache; by a cross compiler for the other platform."""
    made, source = compiler(tmp_path), sdist(tmp_path, GOOD)
    if platform != AMD64 and native() != AMD64:
        pytest.skip("the cross compiler of the lock runs on amd64")
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(compiling.store, "entry", _fresh(tmp_path / name / "made"))
        wheel = made.wheel(platform, source, tmp_path / name)
        found.append((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert found[0] == found[1]
    assert found[0][0] == f"fast-1.0-cp313-cp313-linux_{platform.machine}.whl"
    with zipfile.ZipFile(tmp_path / "one" / found[0][0]) as archive:
        body = archive.read(f"fast.cpython-313-{platform.triplet}.so")
    assert int.from_bytes(body[18:20], "little") == {"x86_64": 62, "aarch64": 183}[platform.machine], "ELF's e_machine"
    assert b".debug" not in body
    assert str(tmp_path).encode() not in body


def _fresh(folder: Path):  # type: ignore[no-untyped-def]
    from lastgood.cache import store

    kept = store.entry

    def entry(target: Path, make):  # type: ignore[no-untyped-def]
        return kept(folder if target.name.startswith("fast-") else target, make)

    return entry


@pytest.mark.docker
@pytest.mark.slow
def test_a_source_that_does_not_compile(tmp_path: Path) -> None:
    made = compiler(tmp_path)
    with pytest.raises(UsageError) as caught:
        made.wheel(native(), sdist(tmp_path, "int broken( { }\n"), tmp_path)
    assert str(caught.value) == (
        f"fast 1.0 does not compile for {native().name}: fast.c:1:13: error: expected declaration specifiers or '...' before '{{' token; "
        "mend what it needs (build-packages in [tool.lastgood.image]), or choose a version that has a wheel"
    )
    assert not list(tmp_path.glob("*.whl"))


def test_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError) as caught:
        compiler(tmp_path).wheel(AMD64, sdist(tmp_path, GOOD), tmp_path)
    assert str(caught.value) == (
        "fast 1.0 has no wheel for Python 3.13 on linux/amd64 and must be compiled, for which a Docker engine is needed, and none answers: "
        "start one (`lastgood doctor` says how), or choose a version that has a wheel"
    )


def test_no_build_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError) as caught:
        compiler(tmp_path, None).wheel(AMD64, sdist(tmp_path, GOOD), tmp_path)
    assert str(caught.value) == (
        f"fast 1.0 has no wheel for linux/amd64 and must be compiled, and {tmp_path}/docker/build-requirements.txt, which locks what that "
        "takes, does not exist: run `lastgood lock`"
    )


@pytest.mark.parametrize(
    ("output", "packages", "said"),
    [
        (
            "x\nsrc/a.c:3:10: fatal error: libpq-fe.h: No such file or directory\ncompilation terminated.\n",
            "libpq-dev",
            "the header libpq-fe.h is missing; add libpq-dev to build-packages in [tool.lastgood.image] and run `lastgood lock`",
        ),
        (
            "a.c:3:10: fatal error: own.h: No such file or directory\n",
            "",
            (
                "the header own.h is missing; add the Debian package that has it (its name ends in -dev) to build-packages in "
                "[tool.lastgood.image] and run `lastgood lock`"
            ),
        ),
        (
            "/usr/bin/ld: cannot find -lpq: No such file\ncollect2: error: ld returned 1 exit status\n",
            "",
            "the library pq is missing; add its Debian -dev package to build-packages in [tool.lastgood.image]",
        ),
        (
            "warning: x\n/build/source/a.c:1:2: error: first\n/build/source/a.c:2:2: error: second\nERROR: Failed building wheel\n",
            "",
            "a.c:1:2: error: first; mend what it needs (build-packages in [tool.lastgood.image]), or choose a version that has a wheel",
        ),
        (
            (
                "gcc -o uwsgi build/a.o\n/usr/bin/ld: core/utils.o: in function `uwsgi_x':\n"
                "utils.c:(.text+0x1): undefined reference to `XML_Parse'\ncollect2: error: ld returned 1 exit status\n"
                "*** error linking uWSGI ***\nERROR: Failed building wheel for uwsgi\nERROR: Failed to build one or more wheels\n"
            ),
            "",
            (
                "utils.c:(.text+0x1): undefined reference to `XML_Parse'; mend what it needs (build-packages in [tool.lastgood.image]), or "
                "choose a version that has a wheel"
            ),
        ),
        (
            "Traceback\nModuleNotFoundError: No module named 'mesonpy'\n",
            "",
            (
                "ModuleNotFoundError: No module named 'mesonpy'; run `lastgood lock`, which locks what it takes to build, and if it is "
                "still missing tell its authors"
            ),
        ),
        (
            "",
            "",
            "it said nothing; mend what it needs (build-packages in [tool.lastgood.image]), or choose a version that has a wheel",
        ),
    ],
)
def test_why(tmp_path: Path, output: str, packages: str, said: str) -> None:
    source = Source("fast", "1.0", tmp_path / "x")
    found = compiling.explain(output, source, AMD64, lambda _header, _platform: packages)
    assert found == f"fast 1.0 does not compile for linux/amd64: {said}"
