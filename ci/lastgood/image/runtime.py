"""The runtime root file system, distroless: the lock's stage `runtime` less what a running application never opens, byte-compiled."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lastgood import beneath
from lastgood.cache import store
from lastgood.config.project import ImageSettings
from lastgood.debian.stages import CERTIFICATES, Stages, add_certificates, matches
from lastgood.debian.unpack import STATUS
from lastgood.image import owners as owner
from lastgood.platform import Platform, native
from lastgood.python import bytecode
from lastgood.python.contained import Contained
from lastgood.python.interpreter import DIST_PACKAGES, STDLIB, Python

# Counted up whenever the recipes below change what they make, so that no cache entry of an older recipe is used.
RECIPE = 10

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
_NEEDED = tuple(f"{STDLIB}/_pyrepl/{name}.py" for name in ("__init__", "pager", "types"))
_USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
_GROUP = "root:x:0:\nnonroot:x:65532:\n"
# What ends ctypes/util.py in the image, which has no ldconfig, compiler or linker to ask.
_FIND_LIBRARY = """

def _soname(path):
    import mmap, struct
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (start,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
        parts = [struct.unpack_from("<IIQQQQ", data, start + number * size) for number in range(count)]
        tags = {}
        for _, _, offset, _, _, length in (part for part in parts if part[0] == 2):  # PT_DYNAMIC
            for at in range(offset, offset + length, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                tags.setdefault(tag, value)
        if 14 not in tags:  # DT_SONAME
            return ""
        table = next(one[2] + tags[5] - one[3] for one in parts if one[0] == 1 and one[3] <= tags[5] < one[3] + one[5])
        return data[table + tags[14] : data.find(bytes(1), table + tags[14])].decode()

def find_library(name):
    "What Debian's ldconfig would answer; this is lastgood's, for an image that has none."
    pattern = re.compile(r"lib%s\\.\\S+" % re.escape(name))
    libraries = os.path.join(sys.base_prefix, "lib")
    for folder in (os.path.join(libraries, getattr(sys.implementation, "_multiarch", "")), libraries):
        names = os.listdir(folder) if os.path.isdir(folder) else ()
        paths = {os.path.realpath(os.path.join(folder, one)) for one in names if pattern.fullmatch(one) and ".so" in one}
        found = [_soname(path) for path in paths if _is_elf(path)]
        found = [one for one in found if pattern.fullmatch(one)]
        if found:
            return max(found, key=lambda one: [int(number) for number in re.findall(r"\\d+", one)])
    return None
"""
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


@dataclass(frozen=True)
class Runtime:
    """The runtime root of a project: `stages` are its packages, the rest is what its `[tool.lastgood.image]` says of them."""

    stages: Stages
    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    sources: str = "app"
    packages: tuple[str, ...] = ()

    @classmethod
    def of(cls, stages: Stages, image: ImageSettings) -> Runtime:
        """From a project's settings."""
        return cls(stages, image.keep, image.without, image.sources, image.packages)

    def key(self, platform: Platform) -> str:
        """A sha256 of all that the root is made from."""
        recipe: list[object] = [RECIPE, platform.name, _TRIM, _NEEDED, _USERS, _GROUP, _NSSWITCH, _FIND_LIBRARY]
        recipe += [self.sources, sorted(self.keep)]
        recipe += [{part: (_WITHOUT[part], _LIBRARIES.get(part)) for part in sorted(self.without)}]
        recipe.append(self.stages.key("runtime", platform))
        return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()

    def root(self, platform: Platform) -> Path:
        """The root file system, fetched, checked, unpacked and trimmed unless it is in the cache. Beside it lies owners.json."""
        name = f"runtime-{self.key(platform)[:24]}"
        return store.entry(store.cache() / "base" / name, lambda folder: self.make(platform, folder)) / "root"

    def python(self) -> Python:
        """The image's Python as it runs on this machine."""
        return Python(self.root(native()))

    @functools.cached_property
    def contained(self) -> Contained:
        """The same for code that is not ours."""
        return Contained(self.python())

    def make(
        self,
        platform: Platform,
        folder: Path,
        seen: Callable[[str, Path], None] = lambda _step, _root: None,
    ) -> None:
        """Makes the root at `folder`/root; `seen` is told after each step that changed its size (--explain measures there)."""
        root = folder / "root"
        trim = _patterns(_TRIM, platform)
        # The certificates are read when the bundle is made, and removed after it.
        owners = self.stages.unpack(
            "runtime",
            platform,
            root,
            lambda path: kept(path, (*self.keep, *_NEEDED)) or not matches(path, trim) or path.startswith(CERTIFICATES),
        )
        owners |= dict.fromkeys(add_certificates(root), "debian:ca-certificates")
        beneath.remove(root, CERTIFICATES)
        _finish(root)
        seen("documentation, tools, data that nothing opens", root)
        for part in self.without:
            self._leave_out(part, root, owners, platform)
            seen(f"without {part}", root)
        # Byte-code is the same for every platform, so that of another one is compiled by this machine's Python. It is, to the last byte,
        # only if that Python itself runs on byte-code: what it has loaded from sources it shares strings with.
        if platform == native():
            bytecode.compile_tree(root, [STDLIB], Python(root))
        bytecode.compile_tree(root, [STDLIB], Python(root) if platform == native() else self.python())
        seen("byte-code", root)
        if self.sources == "app":
            for source in beneath.folder(root, STDLIB).rglob("*.py"):
                if not kept(source.relative_to(root).as_posix(), self.keep):
                    bytecode.sourceless(source)
            seen("sources", root)
        _prune_empty(root, STDLIB)
        owner.write(root, owners, "debian:base-files")

    def _leave_out(self, part: str, root: Path, owners: dict[str, str], platform: Platform) -> None:
        patterns = _patterns(_WITHOUT[part], platform)
        for path in [path for path in owners if matches(path, patterns) and not kept(path, self.keep)]:
            beneath.remove(root, path)
            del owners[path]
        library = _LIBRARIES.get(part)
        if library and library not in self.packages and not _asked_for(root, library):
            for path in [path for path, owner in owners.items() if owner == f"debian:{library}"]:
                beneath.remove(root, path)
                del owners[path]
            _prune_empty(root, "usr/share/doc")


def kept(path: str, keep: tuple[str, ...]) -> bool:
    """Whether one of the patterns in `keep` names `path` or a folder above it, in the image or below its dist-packages."""
    short = path.removeprefix(f"{DIST_PACKAGES}/")
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern.rstrip('/')}/*")
        for pattern in keep
        for name in (path, short)
    )


def _patterns(patterns: Iterable[str], platform: Platform) -> tuple[str, ...]:
    return tuple(pattern.replace("LIB", platform.libraries).replace("PY", STDLIB) for pattern in patterns)


def _asked_for(root: Path, name: str) -> bool:
    """Whether a package in `root`, other than Python's standard library, depends on the package `name`."""
    for control in beneath.folder(root, STATUS).iterdir():
        depends = re.findall(r"^(?:Pre-)?Depends:.*$", control.read_text(encoding="utf-8"), re.MULTILINE)
        if not control.name.endswith("-stdlib") and any(
            re.search(rf"[ ,|]{re.escape(name)}\b", line) for line in depends
        ):
            return True
    return False


def _finish(root: Path) -> None:
    for name, content in (("etc/passwd", _USERS), ("etc/group", _GROUP), ("etc/nsswitch.conf", _NSSWITCH)):
        beneath.write(root, name, content)
    for file in beneath.files(root, f"{STDLIB}/ctypes", "util.py"):
        beneath.write(root, f"{STDLIB}/ctypes/util.py", file.read_text("utf-8") + _FIND_LIBRARY)
    for name in ("dev", "proc", "sys", "tmp", "home/nonroot", "app", "opt/lastgood", DIST_PACKAGES):
        beneath.folder(root, name)
    _prune_empty(root, "usr/share")


def _prune_empty(root: Path, name: str) -> None:
    top = beneath.there(root, name)
    folders = (path for path in top.rglob("*") if path.is_dir() and not path.is_symlink()) if top else ()
    for path in sorted(folders, reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
