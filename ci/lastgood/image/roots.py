"""The root file systems made from the Debian lock: `wheels` and `compiler` to build with, and `runtime`, distroless, to run on."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lastgood.cache import store
from lastgood.config.project import ImageSettings, Project
from lastgood.debian import chosen, fetch, mirror, unpack
from lastgood.debian.locks import Lock
from lastgood.errors import UsageError
from lastgood.platform import Platform, native
from lastgood.python import bytecode, interpreter

# Counted up whenever the recipes below change what they make, so that no cache entry of an older recipe is used.
RECIPE = 8

# Data and tools that a running web application never opens. The interpreter's own modules stay, but for those whose C part or data
# is left out with them. LIB stands for the platform's folder of libraries, PY for the standard library.
_TRIM = (
    "usr/share/doc/*/[!c]*", "usr/share/doc/*/changelog*", "usr/share/doc/*/copyright-*", "usr/share/man/*", "usr/share/info/*",
    "usr/share/locale/*", "usr/share/lintian/*", "usr/share/bug/*", "usr/share/base-files/*", "usr/share/common-licenses/*",
    "usr/share/pixmaps/*", "usr/share/menu/*", "usr/share/binfmts/*", "usr/share/apps/*", "usr/share/applications/*",
    "usr/share/ca-certificates/mozilla/*",  # concatenated into one bundle below
    "usr/share/zoneinfo/tzdata.zi", "usr/share/zoneinfo/leap*", "usr/share/zoneinfo/zonenow.tab",
    "LIB/gconv/*", "LIB/perl*", "LIB/libmvec*", "LIB/libexpatw*",
    "LIB/libc_malloc_debug*", "LIB/libmemusage*", "LIB/libpcprofile*", "LIB/libthread_db*",  # for debuggers
    "LIB/libnsl*", "LIB/libnss_compat*", "LIB/libnss_hesiod*", "LIB/libBrokenLocale*",  # for NIS and programs of another age
    "usr/lib/locale/*", "usr/share/i18n/*",
    "usr/sbin/*", "etc/ca-certificates/*", "etc/update-motd.d/*", "etc/skel/*", "etc/profile*", "etc/dpkg/*", "etc/issue*",
    "PY/ensurepip/*", "PY/idlelib/*", "PY/tkinter/*", "PY/turtle*", "PY/test/*",
    "PY/pydoc_data/*", "PY/lib2to3/*", "PY/_pyrepl/*", "PY/curses/*", "PY/venv/*",
    "PY/lib-dynload/_test*", "PY/lib-dynload/_ctypes_test*", "PY/lib-dynload/_xxtestfuzz*",
    "PY/lib-dynload/xx*", "PY/lib-dynload/_curses*", "PY/lib-dynload/readline*",
    "PY/lib-dynload/_dbm*", "PY/lib-dynload/_gdbm*", "PY/lib-dynload/_tkinter*",
)  # fmt: skip
# Code that a project may say it has no use for (`without`): what is left of Python says so itself where something asks for it.
_WITHOUT: Mapping[str, tuple[str, ...]] = {
    "sqlite3": ("PY/sqlite3/*", "PY/dbm/sqlite3.py", "PY/lib-dynload/_sqlite3*"),
    "cjk-codecs": (
        "PY/lib-dynload/_codecs_*", "PY/lib-dynload/_multibytecodec*",
        *(f"PY/encodings/{name}.py" for name in (
            "big5*", "cp932", "cp949", "cp950", "euc_*", "gb*", "hz", "iso2022_*", "johab", "shift_jis*")),
    ),
}  # fmt: skip
# The libraries that then go with all of their package, unless something else in the image needs them.
_LIBRARIES = {"sqlite3": "libsqlite3-0"}
ABSENT = {
    "sqlite3": r"\b_?sqlite3\b",
    "cjk-codecs": r"\b_codecs_|\b_multibytecodec\b|unknown encoding",
}  # in the error of an import
# What `_TRIM` would take, and other modules import: pydoc (and so xmlrpc.server) asks for its pager.
_NEEDED = tuple(f"{interpreter.STDLIB}/_pyrepl/{name}.py" for name in ("__init__", "pager", "types"))
_NEVER = (
    "usr/share/man/*",
    "usr/share/locale/*",
    "usr/share/doc/*/changelog*",
    "usr/share/info/*",
    "usr/share/lintian/*",
)
_CERTIFICATES = "usr/share/ca-certificates"
_USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
_GROUP = "root:x:0:\nnonroot:x:65532:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


def lock(project: Project | None = None) -> Lock:
    """The Debian lock of the project's own packages if it adds any, else the bundle's. Raises UsageError where it is stale."""
    return chosen.locked(project)


def runtime(project: Project | None, platform: Platform) -> Path:
    """The runtime root file system, precompiled; fetched, checked and unpacked unless it is in the cache.

    `project` is whose own Debian packages, kept files and sources count; None is the bundle's base as it is. Beside the folder lies
    owners.json: {path of each file: owner, as "debian:libc6"}.
    """
    return _entry("runtime", project, platform, lambda folder: make_runtime(project, platform, folder))


def make_runtime(
    project: Project | None,
    platform: Platform,
    folder: Path,
    seen: Callable[[str, Path], None] = lambda _step, _root: None,
) -> None:
    """Makes the runtime root at `folder`/root; `seen` is told after each step that changed its size (--explain measures there)."""
    settings, root = _settings(project), folder / "root"
    keep = settings.keep
    trim = _patterns(_TRIM, platform)
    # The certificates are read when the bundle is made, and removed after it.
    owners = unpacked(
        "runtime",
        project,
        platform,
        root,
        lambda path: kept(path, (*keep, *_NEEDED)) or _kept(path, trim) or path.startswith(_CERTIFICATES),
    )
    _certificates(root, owners)
    store.remove(root / _CERTIFICATES)
    _finish(root)
    seen("documentation, tools, data that nothing opens", root)
    for part in settings.without:
        _leave_out(part, root, owners, settings, platform)
        seen(f"without {part}", root)
    # Byte-code is the same for every platform, so that of another one is compiled by this machine's Python. It is, to the last byte, only
    # if that Python itself runs on byte-code: what it has loaded from sources it shares strings with.
    if platform == native():
        bytecode.compile_tree(root, [interpreter.STDLIB], root)
    bytecode.compile_tree(root, [interpreter.STDLIB], root if platform == native() else runtime(project, native()))
    seen("byte-code", root)
    if _settings(project).sources == "app":
        for source in (root / interpreter.STDLIB).rglob("*.py"):
            if not kept(source.relative_to(root).as_posix(), keep):
                bytecode.sourceless(source)
        seen("sources", root)
    _prune_empty(root / interpreter.STDLIB)
    write_owners(root, owners, "debian:base-files")


def wheels(project: Project | None) -> Path:
    """The root file system to build with, of this machine's platform: the same Python, whole."""
    return _whole("wheels", project, native())


def compiler(project: Project | None, platform: Platform) -> Path:
    """The root file system that compiles for `platform`, to run on this machine's platform: `wheels` with compiler and headers."""
    return _whole("compiler", project, platform)


def _whole(stage: str, project: Project | None, platform: Platform) -> Path:
    def make(folder: Path) -> None:
        owners = unpacked(stage, project, platform, folder / "root", lambda path: _kept(path, _NEVER))
        _certificates(folder / "root", owners)
        write_owners(folder / "root", owners, "debian:base-files")

    return _entry(stage, project, platform, make)


def runtime_key(project: Project | None, platform: Platform) -> str:
    """A sha256 of all that the runtime root is made from."""
    return key("runtime", project, platform)


def key(stage: str, project: Project | None, platform: Platform) -> str:
    """A sha256 of all that the root of `stage` is made from."""
    recipe: list[object] = [RECIPE, stage, platform.name, _TRIM, _NEEDED, _NEVER, _USERS, _GROUP, _NSSWITCH]
    if stage == "runtime":
        settings = _settings(project)
        recipe += [settings.sources, sorted(settings.keep)]
        recipe += [{part: (_WITHOUT[part], _LIBRARIES.get(part)) for part in sorted(settings.without)}]
    recipe.append(lock(project).key(stage, platform.debian))
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def _settings(project: Project | None) -> ImageSettings:
    return project.image if project else ImageSettings()


def _entry(stage: str, project: Project | None, platform: Platform, make: Callable[[Path], None]) -> Path:
    return store.entry(store.cache() / "base" / f"{stage}-{key(stage, project, platform)[:24]}", make) / "root"


def unpacked(
    stage: str,
    project: Project | None,
    platform: Platform,
    root: Path,
    wanted: Callable[[str], bool] = lambda _path: True,
) -> dict[str, str]:
    """Fetches the packages of a stage and unpacks what is `wanted` of them into `root`; returns {path: owner, as "debian:libc6"}."""
    locked = lock(project)
    settings = _settings(project)
    files = fetch.fetch(
        locked.packages(stage, platform.debian),
        lambda: mirror.find(settings.mirror, locked.suite),
        store.cache(),
        mirror.snapshot(settings.snapshot, locked.resolved),
    )
    return {path: f"debian:{owner}" for path, owner in unpack.unpack(files.items(), root, wanted).items()}


def kept(path: str, keep: tuple[str, ...]) -> bool:
    """Whether one of the patterns in `keep` names `path` or a folder above it, in the image or below its dist-packages."""
    short = path.removeprefix(f"{interpreter.DIST_PACKAGES}/")
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern.rstrip('/')}/*")
        for pattern in keep
        for name in (path, short)
    )


def write_owners(root: Path, owners: Mapping[str, str], default: str) -> None:
    """Writes owners.json beside `root`: every file's owner; byte-code belongs to its source's, what is left to `default`."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or path.is_file():
            name = path.relative_to(root).as_posix()
            found[name] = owners.get(name) or owners.get(bytecode.source_of(name) or "") or default
    text = json.dumps(found, indent=0, ensure_ascii=True)
    (root.parent / "owners.json").write_text(text, encoding="utf-8")


def _kept(path: str, trim: tuple[str, ...]) -> bool:
    if path.startswith("usr/share/doc/") and not path.endswith("/copyright"):
        return False
    return not any(fnmatch.fnmatchcase(path, pattern) for pattern in trim)


def _certificates(root: Path, owners: dict[str, str]) -> None:
    """One bundle of all certificates where OpenSSL's default points to; Debian makes it in a script that we never run."""
    folder = root / _CERTIFICATES
    certificates = sorted(folder.rglob("*.crt"))
    if not certificates:
        raise UsageError("the package ca-certificates holds no certificates: run `lastgood lock-base` and build again")
    target = root / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(file.read_bytes().rstrip(b"\n") + b"\n" for file in certificates))
    link = root / "usr/lib/ssl/cert.pem"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to("/etc/ssl/certs/ca-certificates.crt")
    owners |= dict.fromkeys((path.relative_to(root).as_posix() for path in (target, link)), "debian:ca-certificates")


def _patterns(patterns: Iterable[str], platform: Platform) -> tuple[str, ...]:
    return tuple(pattern.replace("LIB", platform.libraries).replace("PY", interpreter.STDLIB) for pattern in patterns)


def _leave_out(part: str, root: Path, owners: dict[str, str], settings: ImageSettings, platform: Platform) -> None:
    patterns = _patterns(_WITHOUT[part], platform)
    for path in [path for path in owners if not _kept(path, patterns) and not kept(path, settings.keep)]:
        (root / path).unlink(missing_ok=True)
        del owners[path]
    library = _LIBRARIES.get(part)
    if library and library not in settings.packages and not _asked_for(root, library):
        for path in [path for path, owner in owners.items() if owner == f"debian:{library}"]:
            (root / path).unlink(missing_ok=True)
            del owners[path]
        _prune_empty(root / "usr/share/doc")


def _asked_for(root: Path, name: str) -> bool:
    """Whether a package in `root`, other than Python's standard library, depends on the package `name`."""
    for control in (root / "var/lib/dpkg/status.d").iterdir():
        depends = re.findall(r"^(?:Pre-)?Depends:.*$", control.read_text(encoding="utf-8"), re.MULTILINE)
        if not control.name.endswith("-stdlib") and any(
            re.search(rf"[ ,|]{re.escape(name)}\b", line) for line in depends
        ):
            return True
    return False


def _finish(root: Path) -> None:
    (root / "etc/passwd").write_text(_USERS, encoding="utf-8")
    (root / "etc/group").write_text(_GROUP, encoding="utf-8")
    (root / "etc/nsswitch.conf").write_text(_NSSWITCH, encoding="utf-8")
    for name in ("dev", "proc", "sys", "tmp", "home/nonroot", "app", "opt/lastgood", interpreter.DIST_PACKAGES):
        (root / name).mkdir(parents=True, exist_ok=True)
    _prune_empty(root / "usr/share")


def _prune_empty(folder: Path) -> None:
    for path in sorted((path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


# Callers outside know it here.
compile_tree = bytecode.compile_tree
