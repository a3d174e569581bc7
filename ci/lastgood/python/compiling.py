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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lastgood.cache import store
from lastgood.config.project import Project
from lastgood.debian.unpack import leaves
from lastgood.errors import UsageError
from lastgood.image import layers, roots
from lastgood.platform import Platform, native
from lastgood.python import interpreter

RECIPE = 1
_ROOT = "/build"
_EPOCH = "315532800"  # 1980-01-01, the first time that a zip can hold
_USER = 65532
_SHELL = f"""set -e
cd {_ROOT}
python=/usr/bin/python{interpreter.VERSION}
export PYTHONPATH={_ROOT}/tools
for one in requirements/*.whl; do [ ! -e "$one" ] || (
    unset _PYTHON_HOST_PLATFORM _PYTHON_SYSCONFIGDATA_NAME  # what it takes to build runs here
    $python -m pip install --quiet --no-index --no-compile --no-deps --target env "$one"
); done
export PYTHONPATH={_ROOT}/tools:{_ROOT}/env PATH={_ROOT}/bin:{_ROOT}/env/bin:/usr/bin
exec $python -m pip wheel --no-index --no-deps --no-build-isolation --no-cache-dir -v -w out ./source
"""
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
class Source:
    """A source distribution: its normalised name, its version, the file."""

    name: str
    version: str
    file: Path


def requirements(project: Project) -> Path:
    """The lock of what it takes to build: exists only where something must be compiled."""
    return project.root / "docker/build-requirements.txt"


def key(project: Project, platform: Platform) -> list[str]:
    """What every compiled wheel depends on but for its own source."""
    lock = requirements(project)
    return [
        str(RECIPE),
        platform.name,
        native().name,
        roots.key("compiler", project, platform),
        hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "",
        hashlib.sha256(json.dumps([_SHELL, _PG_CONFIG, environment(platform)]).encode()).hexdigest(),
        importlib.metadata.version("pip"),
    ]


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


def wheel(project: Project, platform: Platform, source: Source, target: Path) -> Path:
    """Puts the wheel of `source` for `platform` into the folder `target`, compiled unless the cache has it.

    Raises UsageError for a source that is unsafe to unpack or does not compile, and where no engine answers.
    """
    digest = hashlib.sha256(json.dumps([*key(project, platform), _sha256(source.file)]).encode()).hexdigest()

    def make(folder: Path) -> None:
        if not requirements(project).is_file():
            raise UsageError(
                f"{source.name} {source.version} has no wheel for {platform.name} and must be compiled, and {requirements(project)}, which "
                "locks what that takes, does not exist: run `lastgood lock`"
            )
        unpacked = unpack(source)
        with _engine(source, platform) as client:
            body = _compiled(client, project, platform, source, unpacked)
        made = _only_wheel(body, source)
        (folder / made[0]).write_bytes(normalised(made[1]))

    entry = store.entry(store.cache() / "wheels" / f"{source.name}-{digest[:24]}", make)
    made = next(entry.glob("*.whl"))
    copy = target / made.name
    copy.write_bytes(made.read_bytes())
    return copy


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def unpack(source: Source) -> dict[str, tuple[int, bytes]]:
    """{path: (mode, content)} of a source distribution, below its one folder.

    Raises UsageError for a damaged one, a name in no encoding, and a path or link that leaves the folder.
    """
    try:
        found = dict(_entries(source))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, UnicodeError) as error:
        raise UsageError(
            f"{source.file.name} can't be unpacked ({error}): choose another version of {source.name}"
        ) from None
    return found


def _entries(source: Source) -> Iterator[tuple[str, tuple[int, bytes]]]:
    if source.file.suffix == ".zip":
        with zipfile.ZipFile(source.file) as archive:
            for info in archive.infolist():
                if not info.is_dir() and (name := _inside(source, info.filename)):
                    yield name, (0o755 if info.external_attr >> 16 & 0o100 else 0o644, archive.read(info))
        return
    with tarfile.open(source.file) as archive:
        for member in archive:
            name = _inside(source, member.name)
            if not name or member.isdir():
                continue
            if member.issym() or member.islnk():
                link = member.linkname if member.issym() else f"/{member.linkname}"
                if member.issym() and (link.startswith("/") or leaves(name, link)):
                    raise _unsafe(source, f"{member.name}, a link to {link}, which lies outside its folder")
            opened = archive.extractfile(member) if member.isfile() or member.issym() or member.islnk() else None
            if opened is None:
                raise _unsafe(source, f"{member.name}, which is no file")
            yield name, (0o755 if member.mode & 0o100 else 0o644, opened.read())


def _inside(source: Source, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _unsafe(source, f"{name}, which lies outside its folder")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise _unsafe(source, f"a file whose name is no UTF-8 ({name.encode('utf-8', 'surrogateescape')!r})")
    return "/".join(path.parts[1:])


def _unsafe(source: Source, what: str) -> UsageError:
    return UsageError(f"{source.file.name} holds {what}: it is not compiled; choose another version of {source.name}")


@contextlib.contextmanager
def _engine(source: Source, platform: Platform) -> Iterator[Any]:
    import docker.client
    from docker.errors import DockerException

    client = None
    try:
        client = docker.client.from_env(timeout=1800)
        client.ping()
    except DockerException:
        if client:
            client.close()
        raise UsageError(
            f"{source.name} {source.version} has no wheel for Python {interpreter.VERSION} on {platform.name} and must be compiled, "
            "for which a Docker engine is needed, and none answers: start one (`lastgood doctor` says how), or choose a version that has a "
            "wheel"
        ) from None
    with contextlib.closing(client):
        yield client


def image(client: Any, project: Project, platform: Platform) -> str:
    """The tag of the engine's image of the compiler stage, made where the engine does not have it."""
    from docker.errors import ImageNotFound

    tag = roots.key("compiler", project, platform)[:12]
    with contextlib.suppress(ImageNotFound):
        client.images.get(f"lastgood-compiler:{tag}")
        return f"lastgood-compiler:{tag}"
    root = roots.compiler(project, platform)
    with tempfile.TemporaryDirectory(dir=store.cache(), prefix="compiler-") as scratch:
        archive = Path(scratch) / "root.tar"
        layers.write([(root, "")], archive)
        with archive.open("rb") as file:
            chunks = iter(lambda: file.read(1 << 20), b"")
            client.api.import_image_from_data(
                chunks, repository="lastgood-compiler", tag=tag, changes=["LABEL lastgood.compiler=1"]
            )
    return f"lastgood-compiler:{tag}"


def _compiled(
    client: Any, project: Project, platform: Platform, source: Source, unpacked: dict[str, tuple[int, bytes]]
) -> bytes:
    """Runs the container; returns the tar of its folder `out`."""
    from docker.errors import DockerException

    try:
        container = client.containers.create(
            image(client, project, platform), ["/usr/bin/dash", f"{_ROOT}/compile"], network_mode="none", user=f"{_USER}:{_USER}",
            environment=environment(platform), working_dir="/", cap_drop=["ALL"], security_opt=["no-new-privileges"],
            labels={"lastgood.compile": source.name},
        )  # fmt: skip
        try:
            container.put_archive("/", _context(project, platform, unpacked))
            container.start()
            status = container.wait()["StatusCode"]
            if status:
                output = container.logs().decode(errors="replace")
                raise UsageError(explain(output, project, source, platform))
            chunks, _ = container.get_archive(f"{_ROOT}/out")
            return b"".join(chunks)
        finally:
            container.remove(force=True, v=True)
    except DockerException as error:
        raise UsageError(f"the Docker engine did not compile {source.name}: {error}; see `lastgood doctor`") from None


def _context(project: Project, platform: Platform, unpacked: dict[str, tuple[int, bytes]]) -> bytes:
    """The tar of the container's folder: the tools, what it takes to build, the source, all at fixed paths."""
    files: dict[str, tuple[int, bytes]] = {f"source/{name}": entry for name, entry in unpacked.items()}
    files["compile"] = (0o755, _SHELL.encode())
    files["bin/pg_config"] = (0o755, _PG_CONFIG.replace("TRIPLET", platform.triplet).encode())
    lock = requirements(project)
    for file in importlib.metadata.files("pip") or ():
        if file.parts[0].startswith("pip") and file.suffix != ".pyc":
            files[f"tools/{file.as_posix()}"] = (0o644, Path(str(file.locate())).read_bytes())
    for wheel_file in sorted(_tools(lock).glob("*.whl")):
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
    from lastgood.python import wheels

    def make(folder: Path) -> None:
        left = wheels.download(lock, native(), folder)
        if left:
            raise UsageError(
                f"{left[0][0]}, which it takes to build, has no wheel itself: choose another version of it in {lock}"
            )

    return store.entry(store.cache() / "wheels" / f"tools-{_sha256(lock)[:24]}", make)


def _only_wheel(body: bytes, source: Source) -> tuple[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() and member.name.endswith(".whl") else None
            if opened is not None:
                return PurePosixPath(member.name).name, opened.read()
    raise UsageError(f"{source.name} {source.version} was built, and left no wheel: choose another version of it")


def normalised(body: bytes) -> bytes:
    """The wheel with its entries in order, of one time and one of two modes."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as origin, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for info in sorted(origin.infolist(), key=lambda info: info.filename):
            if not info.is_dir():
                entry = zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o100755 if info.external_attr >> 16 & 0o100 else 0o100644) << 16
                target.writestr(entry, origin.read(info))
    return made.getvalue()


def explain(output: str, project: Project, source: Source, platform: Platform) -> str:
    """One sentence for a compilation that failed: the compiler's first error, and what to do."""
    what = f"{source.name} {source.version} does not compile for {platform.name}"
    header = re.search(r"fatal error: (\S+\.h\w*): No such file", output)
    if header:
        found = owners_of(project, platform, header.group(1))
        advice = (
            f"add {found} to build-packages"
            if found
            else "add the Debian package that has it (its name ends in -dev) to build-packages"
        )
        return f"{what}: the header {header.group(1)} is missing; {advice} in [tool.lastgood.image] and run `lastgood lock`"
    library = re.search(r"cannot find -l([\w.+-]+)", output)
    if library:
        return f"{what}: the library {library.group(1)} is missing; add its Debian -dev package to build-packages in [tool.lastgood.image]"
    lines = [line.strip() for line in output.splitlines()]
    error = next((line for line in lines if re.match(r"\S+:\d+(:\d+)?: (fatal )?error: ", line)), None)
    error = error or next(
        (line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception|Unavailable|Missing\w*)\b: ?", line)), None
    )
    error = error or next((line for line in reversed(lines) if re.match(r"(error|ERROR): ", line)), None)
    cause = (error or ([line for line in lines if line] or ["it said nothing"])[-1]).replace(f"{_ROOT}/source/", "")
    if "No module named" in cause or "BackendUnavailable" in cause:
        return f"{what}: {cause}; run `lastgood lock`, which locks what it takes to build, and if it is still missing tell its authors"
    return f"{what}: {cause}; mend what it needs (build-packages in [tool.lastgood.image]), or choose a version that has a wheel"


def owners_of(project: Project, platform: Platform, header: str) -> str:
    """The Debian packages that hold the header, as words, or nothing where Debian's index can't be asked."""
    try:
        from lastgood.debian import contents, mirror

        locked = roots.lock(project)
        source = mirror.find(project.image.mirror, locked.suite)
        for folder in ("usr/include", f"usr/include/{platform.triplet}"):
            found = contents.find(f"{folder}/{header}", source, locked.suite, platform.debian)
            if found:
                return " or ".join(found)
    except (ImportError, UsageError):
        pass
    return ""
