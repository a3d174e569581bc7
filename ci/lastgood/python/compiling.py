"""Compiles what has no wheel, in a container made of the `compiler` stage: no network, no rights, fixed paths, the same bytes every time.

For another platform than this machine's a cross compiler does it; nothing is emulated.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lastgood import limits, tar
from lastgood.cache import store
from lastgood.debian import contents, mirror
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError
from lastgood.platform import Platform, native
from lastgood.python import engine, fetch, locked
from lastgood.python.interpreter import VERSION
from lastgood.python.sources import Files, Source, unpack

RECIPE = 1
_ROOT = "/build"
_EPOCH = "315532800"  # 1980-01-01, the first time that a zip can hold
_USER = 65532
# What it takes to build is installed beside the source; what is done with both follows.
_SET_UP = f"""set -e
cd {_ROOT}
python=/usr/bin/python{VERSION}
export PYTHONPATH={_ROOT}/tools
for one in requirements/*.whl; do [ ! -e "$one" ] || (
    unset _PYTHON_HOST_PLATFORM _PYTHON_SYSCONFIGDATA_NAME  # what it takes to build runs here
    $python -m pip install --quiet --no-index --no-compile --no-deps --target env "$one"
); done
export PYTHONPATH={_ROOT}/tools:{_ROOT}/env PATH={_ROOT}/bin:{_ROOT}/env/bin:/usr/bin
"""
_WHEEL = "exec $python -m pip wheel --no-index --no-deps --no-build-isolation --no-cache-dir -v -w out ./source\n"
# Debian's pg_config is written in Perl, tells of the machine it runs on, and is all that stops libpq from being compiled against.
_PG_CONFIG = """#!/bin/sh
for wanted in "$@"; do case $wanted in
    --includedir|--includedir-server|--pkgincludedir) echo /usr/include/postgresql ;;
    --libdir) echo /usr/lib/TRIPLET ;;
    --version) echo "PostgreSQL $(pkgconf --modversion libpq)" ;;
    --cflags|--cppflags|--ldflags|--libs) echo ;;
    *) echo "pg_config: $wanted is not known while lastgood compiles" >&2; exit 1 ;;
esac; done
"""


@dataclass(frozen=True)
class Compiler:
    """Compiles for a project: `stages` has the compilers, `lock` names what builds need, and exists only where something is compiled."""

    stages: Stages
    lock: Path

    def key(self, platform: Platform) -> list[str]:
        """What every compiled wheel depends on but for its own source."""
        return [
            str(RECIPE),
            platform.name,
            native().name,
            self.stages.key("compiler", platform),
            _sha256(self.lock) if self.lock.is_file() else "",
            hashlib.sha256(json.dumps([_SET_UP + _WHEEL, _PG_CONFIG, environment(platform)]).encode()).hexdigest(),
            importlib.metadata.version("pip"),
        ]

    def wheel(self, platform: Platform, source: Source, target: Path) -> Path:
        """Puts the wheel of `source` for `platform` into the folder `target`, compiled unless the cache has it.

        Raises UsageError for a source that is unsafe to unpack or does not compile, and where no engine answers.
        """
        digest = hashlib.sha256(json.dumps([*self.key(platform), _sha256(source.file)]).encode()).hexdigest()

        def make(folder: Path) -> None:
            if not self.lock.is_file():
                raise UsageError(
                    f"{source.name} {source.version} has no wheel for {platform.name} and must be compiled, and {self.lock}, which "
                    "locks what that takes, does not exist: run `lastgood lock`"
                )
            unpacked = unpack(source)
            body = self.run(
                platform,
                source,
                unpacked,
                sorted(_tools(self.lock).glob("*.whl")),
                _WHEEL,
                lambda output: explain(output, source, platform, self.holders),
            )
            made = _only_wheel(body, source)
            (folder / made[0]).write_bytes(normalised(made[1]))

        entry = store.entry(store.cache() / "wheels" / f"{source.name}-{digest[:24]}", make)
        made = next(entry.glob("*.whl"))
        copy = target / made.name
        copy.write_bytes(made.read_bytes())
        return copy

    def image(self, client: Any, platform: Platform) -> str:
        """The tag of the engine's image of the compiler stage, made where the engine does not have it."""

        def archive() -> Iterator[bytes]:
            with tempfile.TemporaryDirectory(dir=store.cache(), prefix="compiler-") as scratch:
                file = Path(scratch) / "root.tar"
                tar.write([(self.stages.compiler(platform), "")], file)
                with file.open("rb") as opened:
                    yield from iter(lambda: opened.read(1 << 20), b"")

        return engine.image(client, "compiler", self.stages.key("compiler", platform)[:12], archive)

    def run(
        self,
        platform: Platform,
        source: Source,
        files: Files,
        wheels: Iterable[Path],
        command: str,
        said: Callable[[str], str],
    ) -> bytes:
        """Runs a line of shell in the container, beside `source`, whose files are `files`, with `wheels` installed.

        Returns the tar of its folder `out`. Raises UsageError with what `said` makes of the output, and where no engine answers.
        """
        from docker.errors import DockerException

        with _engine(source, platform) as client:
            try:
                container = client.containers.create(
                    self.image(client, platform), ["/usr/bin/dash", f"{_ROOT}/compile"], user=f"{_USER}:{_USER}", working_dir="/",
                    environment=environment(platform), labels={"lastgood.compile": source.name}, **engine.ALONE,
                )  # fmt: skip
                try:
                    container.put_archive("/", _context(platform, files, wheels, command))
                    container.start()
                    if container.wait()["StatusCode"]:
                        raise UsageError(said(container.logs().decode(errors="replace")))
                    chunks, _ = container.get_archive(f"{_ROOT}/out")
                    return _gathered(chunks, source)
                finally:
                    container.remove(force=True, v=True)
            except DockerException as error:
                raise UsageError(
                    f"the Docker engine did not compile {source.name}: {error}; see `lastgood doctor`"
                ) from None

    def holders(self, header: str, platform: Platform) -> str:
        """The Debian packages that hold a header, as words, or nothing where Debian's index can't be asked."""
        suite = self.stages.lock.suite
        try:
            source = mirror.find(self.stages.mirror, suite)
            for folder in ("usr/include", f"usr/include/{platform.triplet}"):
                found = contents.find(f"{folder}/{header}", source, suite, platform.debian)
                if found:
                    return " or ".join(found)
        except UsageError:
            pass
        return ""


def environment(platform: Platform) -> dict[str, str]:
    """The variables of the container. Debug information and symbols are left out where the compiler and the linker make them."""
    cross = platform != native()
    prefix = f"{platform.machine}-linux-gnu-" if cross else ""
    values = {
        "HOME": f"{_ROOT}/home", "TMPDIR": f"{_ROOT}/scratch", "LC_ALL": "C.UTF-8", "PATH": f"{_ROOT}/bin:/usr/bin",
        "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_NO_COLOR": "1",
        "CFLAGS": f"-g0 -O2 -ffile-prefix-map={_ROOT}/source=.", "CXXFLAGS": f"-g0 -O2 -ffile-prefix-map={_ROOT}/source=.",
        "LDFLAGS": "-Wl,--strip-all -Wl,-z,relro -Wl,-z,now",
        "PKG_CONFIG": "/usr/bin/pkgconf", "PKG_CONFIG_LIBDIR": f"/usr/lib/{platform.triplet}/pkgconfig:/usr/share/pkgconfig",
    }  # fmt: skip
    if cross:
        compiler = f"{prefix}gcc"
        values |= {
            "CC": compiler, "CXX": f"{prefix}g++", "CPP": f"{compiler} -E", "AR": f"{prefix}ar", "RANLIB": f"{prefix}ranlib",
            "STRIP": f"{prefix}strip", "LD": f"{prefix}ld", "LDSHARED": f"{compiler} -shared", "LDCXXSHARED": f"{prefix}g++ -shared",
            "_PYTHON_HOST_PLATFORM": f"linux-{platform.machine}", "_PYTHON_SYSCONFIGDATA_NAME": f"_sysconfigdata__{platform.triplet}",
        }  # fmt: skip
    return values


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextlib.contextmanager
def _engine(source: Source, platform: Platform) -> Iterator[Any]:
    client = engine.connect(1800)
    if client is None:
        raise UsageError(
            f"{source.name} {source.version} has no wheel for Python {VERSION} on {platform.name} and must be compiled, "
            "for which a Docker engine is needed, and none answers: start one (`lastgood doctor` says how), or choose a version that has a "
            "wheel"
        )
    with contextlib.closing(client):
        yield client


def _context(platform: Platform, unpacked: Files, wheels: Iterable[Path], command: str) -> bytes:
    """The tar of the container's folder: the tools, what it takes to build, the source, all at fixed paths."""
    files = {f"source/{name}": entry for name, entry in unpacked.items()}
    files["compile"] = (0o755, (_SET_UP + command).encode())
    files["bin/pg_config"] = (0o755, _PG_CONFIG.replace("TRIPLET", platform.triplet).encode())
    for file in importlib.metadata.files("pip") or ():
        if file.parts[0].startswith("pip") and file.suffix != ".pyc":
            files[f"tools/{file.as_posix()}"] = (0o644, Path(str(file.locate())).read_bytes())
    for wheel_file in wheels:
        files[f"requirements/{wheel_file.name}"] = (0o644, wheel_file.read_bytes())
    names = dict.fromkeys(
        parent.as_posix()
        for name in files
        for parent in reversed(PurePosixPath(f"build/{name}").parents)
        if parent.as_posix() != "."
    )
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for folder in sorted({*names, "build/home", "build/scratch", "build/out", "build/requirements"}):
            archive.addfile(_member(folder, 0o755, tarfile.DIRTYPE))
        for name, (mode, content) in sorted(files.items()):
            info = _member(f"build/{name}", mode, tarfile.REGTYPE)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return body.getvalue()


def _member(name: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.uid, info.gid, info.mtime = mode, kind, _USER, _USER, int(_EPOCH)
    return info


def _tools(lock: Path) -> Path:
    """The wheels of the build requirements, for this machine's platform."""

    def make(folder: Path) -> None:
        left = fetch.download(lock, locked.read(lock, native()), native(), folder)
        if left:
            raise UsageError(
                f"{left[0].name}, which it takes to build, has no wheel itself: choose another version of it in {lock}"
            )

    return store.entry(store.cache() / "wheels" / f"tools-{_sha256(lock)[:24]}", make)


def _gathered(chunks: Iterable[bytes], source: Source) -> bytes:
    """What the source's own code left; as much as a wheel can be."""
    counts = limits.Unpacking(f"what {source.name} {source.version} builds", 0)
    body = io.BytesIO()
    for chunk in chunks:
        counts.bytes(len(chunk))
        body.write(chunk)
    return body.getvalue()


def files(body: bytes) -> Files:
    """{path below it: (mode, content)} of the files in the tar of `out`; nothing else counts that a source's own code leaves there."""
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        found = ((member, archive.extractfile(member)) for member in archive if member.isfile())
        return {member.name.partition("/")[2]: (member.mode, opened.read()) for member, opened in found if opened}


def _only_wheel(body: bytes, source: Source) -> tuple[str, bytes]:
    for name, (_, content) in files(body).items():
        if name.endswith(".whl"):
            return PurePosixPath(name).name, content
    raise UsageError(f"{source.name} {source.version} was built, and left no wheel: choose another version of it")


def normalised(body: bytes) -> bytes:
    """The wheel with its entries in order, of one time and one of two modes."""
    made = io.BytesIO()
    counts = limits.Unpacking("the wheel that was built", len(body))
    with zipfile.ZipFile(io.BytesIO(body)) as origin, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for info in sorted(origin.infolist(), key=lambda info: info.filename):
            counts.entry(info.filename, info.file_size)
            if not info.is_dir():
                entry = zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o100755 if info.external_attr >> 16 & 0o100 else 0o100644) << 16
                target.writestr(entry, origin.read(info))
    return made.getvalue()


def explain(output: str, source: Source, platform: Platform, holders: Callable[[str, Platform], str]) -> str:
    """One sentence for a compilation that failed: the compiler's first error, and what to do.

    `holders` is asked which packages hold a missing header.
    """
    what = f"{source.name} {source.version} does not compile for {platform.name}"
    header = re.search(r"fatal error: (\S+\.h\w*): No such file", output)
    if header:
        found = holders(header.group(1), platform)
        advice = (
            f"add {found} to build-packages"
            if found
            else "add the Debian package that has it (its name ends in -dev) to build-packages"
        )
        return f"{what}: the header {header.group(1)} is missing; {advice} in [tool.lastgood.image] and run `lastgood lock`"
    library = re.search(r"cannot find -l([\w.+-]+)", output)
    if library:
        return f"{what}: the library {library.group(1)} is missing; add its Debian -dev package to build-packages in [tool.lastgood.image]"
    cause = first_error(output)
    if "No module named" in cause or "BackendUnavailable" in cause:
        return f"{what}: {cause}; run `lastgood lock`, which locks what it takes to build, and if it is still missing tell its authors"
    return f"{what}: {cause}; mend what it needs (build-packages in [tool.lastgood.image]), or choose a version that has a wheel"


def first_error(output: str) -> str:
    """The line that says what went wrong in the container."""
    lines = [line.strip() for line in output.splitlines()]
    error = next((line for line in lines if re.match(r"\S+:\d+(:\d+)?: (fatal )?error: ", line)), None)
    error = error or next(
        (line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception|Unavailable|Missing\w*)\b: ?", line)), None
    )
    # What the linker says stands before what its callers make of it.
    linking = r"(?:\S*/ld(?:\.\w+)?: )?.*(?:undefined reference to|relocation \S+ against|undefined symbol: |DSO missing from)"
    error = next((line for line in lines if re.match(linking, line)), None) or error
    error = error or next((line for line in reversed(lines) if re.match(r"(error|ERROR): ", line)), None)
    return (error or ([line for line in lines if line] or ["it said nothing"])[-1]).replace(f"{_ROOT}/source/", "")
