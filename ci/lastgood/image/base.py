"""The two root file systems made from the Debian lock: one to build with (`wheels`), one distroless to run on (`runtime`)."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from lastgood.errors import UsageError
from lastgood.image import debian, python, store
from lastgood.image.platform import native
from lastgood.lock import mirror, packages
from lastgood.lock.debian import Lock
from lastgood.project import ImageSettings, Project, cache

# Counted up whenever the recipes below change what they make, so that no cache entry of an older recipe is used.
RECIPE = 2

_STDLIB = f"usr/lib/python{python.VERSION}"

# Data and tools that a running web application never opens. The interpreter's own modules stay, but for those whose C part or data
# is left out with them.
_TRIM = (
    "usr/share/doc/*/[!c]*", "usr/share/doc/*/changelog*", "usr/share/doc/*/copyright-*", "usr/share/man/*", "usr/share/info/*",
    "usr/share/locale/*", "usr/share/lintian/*", "usr/share/bug/*", "usr/share/base-files/*", "usr/share/common-licenses/*",
    "usr/share/pixmaps/*", "usr/share/menu/*", "usr/share/binfmts/*", "usr/share/apps/*", "usr/share/applications/*",
    "usr/share/ca-certificates/mozilla/*",  # concatenated into one bundle below
    f"{python.LIBRARIES}/gconv/*", f"{python.LIBRARIES}/perl*", f"{python.LIBRARIES}/libmvec*", f"{python.LIBRARIES}/libexpatw*",
    "usr/lib/locale/*", "usr/share/i18n/*",
    "usr/sbin/*", "etc/ca-certificates/*", "etc/update-motd.d/*", "etc/skel/*", "etc/profile*", "etc/dpkg/*", "etc/issue*",
    f"{_STDLIB}/ensurepip/*", f"{_STDLIB}/idlelib/*", f"{_STDLIB}/tkinter/*", f"{_STDLIB}/turtle*", f"{_STDLIB}/test/*",
    f"{_STDLIB}/pydoc_data/*", f"{_STDLIB}/lib2to3/*", f"{_STDLIB}/_pyrepl/*", f"{_STDLIB}/curses/*", f"{_STDLIB}/venv/*",
    f"{_STDLIB}/lib-dynload/_test*", f"{_STDLIB}/lib-dynload/_ctypes_test*", f"{_STDLIB}/lib-dynload/_xxtestfuzz*",
    f"{_STDLIB}/lib-dynload/xx*", f"{_STDLIB}/lib-dynload/_curses*", f"{_STDLIB}/lib-dynload/readline*",
    f"{_STDLIB}/lib-dynload/_dbm*", f"{_STDLIB}/lib-dynload/_gdbm*", f"{_STDLIB}/lib-dynload/_tkinter*",
)  # fmt: skip
_NEVER = (
    "usr/share/man/*",
    "usr/share/locale/*",
    "usr/share/doc/*/changelog*",
    "usr/share/info/*",
    "usr/share/lintian/*",
)
_USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
_GROUP = "root:x:0:\nnonroot:x:65532:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


def lock(project: Project | None = None) -> Lock:
    """The Debian lock of the project's own packages if it adds any, else the bundle's. Raises UsageError where it is stale."""
    return packages.locked(project)


def runtime(settings: ImageSettings) -> Path:
    """The runtime root file system, precompiled; fetched, checked and unpacked unless it is in the cache."""
    return _root("runtime", settings, _finish_runtime)


def wheels(settings: ImageSettings) -> Path:
    """The root file system to build with: the same Python, whole."""
    return _root("wheels", settings, _certificates)


def runtime_key() -> str:
    """A sha256 of all that the runtime root is made from."""
    return _key("runtime", lock())


def _key(stage: str, locked: Lock) -> str:
    recipe = json.dumps([RECIPE, stage, _TRIM, _NEVER, _USERS, _GROUP, _NSSWITCH, locked.key(stage, native().debian)])
    return hashlib.sha256(recipe.encode()).hexdigest()


def _root(stage: str, settings: ImageSettings, finish: Callable[[Path], None]) -> Path:
    locked = lock()
    trim = _TRIM if stage == "runtime" else _NEVER

    def make(folder: Path) -> None:
        files = debian.fetch(
            locked.packages(stage, native().debian),
            lambda: mirror.find(settings.mirror, locked.suite),
            cache(),
            mirror.snapshot(settings.snapshot, locked.resolved),
        )
        root = folder / "root"
        # The certificates are read when the bundle is made, and removed after it.
        debian.unpack(
            files.items(), root, lambda path: _kept(path, trim) or path.startswith("usr/share/ca-certificates/")
        )
        finish(root)

    return store.entry(cache() / "base" / f"{stage}-{_key(stage, locked)[:24]}", make) / "root"


def _kept(path: str, trim: tuple[str, ...]) -> bool:
    if path.startswith("usr/share/doc/") and not path.endswith("/copyright"):
        return False
    return not any(fnmatch.fnmatchcase(path, pattern) for pattern in trim)


def _certificates(root: Path) -> None:
    """One bundle of all certificates where OpenSSL's default points to; Debian makes it in a script that we never run."""
    folder = root / "usr/share/ca-certificates"
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


def _finish_runtime(root: Path) -> None:
    _certificates(root)
    store.remove(root / "usr/share/ca-certificates")
    (root / "etc/passwd").write_text(_USERS, encoding="utf-8")
    (root / "etc/group").write_text(_GROUP, encoding="utf-8")
    (root / "etc/nsswitch.conf").write_text(_NSSWITCH, encoding="utf-8")
    for name in ("dev", "proc", "sys", "tmp", "home/nonroot", "app", "opt/lastgood", python.DIST_PACKAGES):
        (root / name).mkdir(parents=True, exist_ok=True)
    _prune_empty(root / "usr/share")
    compile_tree(root, [_STDLIB], interpreter=root)


def _prune_empty(folder: Path) -> None:
    for path in sorted((path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def compile_tree(tree: Path, folders: list[str], interpreter: Path) -> None:
    """Byte-compiles `folders` of `tree` by the Python of the root `interpreter`.

    Unchecked-hash files never look at the source's time, which layers set to one value; `-f` replaces what an import during the
    compilation itself may have written. One process in a fixed order: what a process has compiled before decides which strings it shares,
    and so a few bytes of a later file. Raises UsageError naming the file that does not compile.
    """
    program = python.wrapper(interpreter, interpreter.parent / "bin")
    arguments = ["-B", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    arguments += ["-s", str(tree), "-p", "/", *[str(tree / folder) for folder in sorted(folders)]]
    done = python.run(program, arguments, environment={"PYTHONNODEBUGRANGES": "1"})
    if done.returncode:
        lines = (done.stdout + done.stderr).replace(f"{tree}/", "").strip()
        raise UsageError(
            f"the image's Python can't compile what is to go into it: {lines}; mend the file and build again"
        )
