"""The root file systems that the peers are made of, from Debian packages: slim, with what builds need, distroless; and CPython compiled
as docker-library compiles it.

Every one is made once and kept under .lastgood/bench/roots by its recipe. Where packages come from is the machine's business
(`lastgood.debian.mirror`); the address is in no file that is kept.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.debian import locks, mirror
from lastgood.report.terminal import step

from bench.machine import run

SUITE = "trixie"
PYTHON = "3.13"
LABEL = "lastgood.bench"
_KEYRING = Path(locks.__file__).with_name("debian-archive-keyring.pgp")
# What Debian's own slim images leave out.
_SLIM = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    *(f"path-exclude=/usr/share/{name}/*" for name in ("groff", "info", "linda", "lintian", "locale", "man")),
)
# What docker-library's python images have beside Python, and what compiles it.
PYTHON_NEEDS = ("ca-certificates", "netbase", "tzdata")
_PYTHON_BUILDS = (
    *("dpkg-dev", "gcc", "libbluetooth-dev", "libbz2-dev", "libc6-dev", "libdb-dev", "libffi-dev", "libgdbm-dev"),
    *("liblzma-dev", "libncursesw5-dev", "libreadline-dev", "libsqlite3-dev", "libssl-dev", "make", "tk-dev"),
    *("uuid-dev", "xz-utils", "zlib1g-dev"),
)
# docker-library's flags, profile-guided and link-time optimised; then what it removes, and the list of packages its libraries are of.
_COMPILE = r"""
set -eu
mkdir /build
tar -x -f /srv/python3*.orig.tar.xz -C /build --strip-components=1
cd /build
machine=$(dpkg-architecture --query DEB_BUILD_GNU_TYPE)
./configure --build="$machine" --enable-loadable-sqlite-extensions --enable-optimizations --enable-option-checking=fatal \
    --enable-shared --with-lto --with-ensurepip
cflags="$(dpkg-buildflags --get CFLAGS) -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"
ldflags="$(dpkg-buildflags --get LDFLAGS),--strip-all"
make -j "$(nproc)" "EXTRA_CFLAGS=$cflags" "LDFLAGS=$ldflags"
rm python
make -j "$(nproc)" "EXTRA_CFLAGS=$cflags" "LDFLAGS=$ldflags,-rpath='\$\$ORIGIN/../lib'" python
make install
find /usr/local -depth \( -type d \( -name test -o -name tests -o -name idle_test \) -o -type f \( -name '*.py[co]' -o -name 'libpython*.a' \) \) \
    -exec rm -rf {} +
for name in idle pip pydoc python; do ln -s "${name}3" "/usr/local/bin/$name"; done
ln -s python3-config /usr/local/bin/python-config
find /usr/local -type f -executable -not -name '*tkinter*' -exec ldd {} \; 2>/dev/null \
    | sed -n 's,.* => /\(usr/\)\?\(lib/[^ ]*\) .*,\2,p' | sort -u | sed 's,^,*/,' | xargs dpkg-query --search \
    | sed 's/:.*//' | sort -u > /out/packages
tar -c -C / --sort=name -f /out/python.tar usr/local
"""  # noqa: E501
# https://github.com/GoogleContainerTools/distroless: static, base, cc and python3 of debian13 (python3-debian13).
_DISTROLESS = (
    *("base-files", "ca-certificates", "media-types", "netbase", "tzdata"),
    *("libc6", "libssl3t64", "libzstd1", "zlib1g", "libgomp1", "libstdc++6", "libgcc-s1", "gcc-14-base"),
    *("libbz2-1.0", "libdb5.3t64", "libexpat1", "liblzma5", "libsqlite3-0", "libuuid1", "libncursesw6", "libtinfo6"),
    *("libcom-err2", "libcrypt1", "libgssapi-krb5-2", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0"),
    *("libnsl2", "libreadline8t64", "libtirpc3t64", "libffi8", "libpython3.13-minimal", "libpython3.13-stdlib"),
    *("python3.13-minimal", "python3.13-venv"),
)
_DISTROLESS_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


@dataclass(frozen=True)
class Recipe:
    """One mmdebstrap run: `packages` above the minimal system; to its /srv, the packages `fetched` and the source package `source`."""

    name: str
    packages: tuple[str, ...]
    fetched: tuple[str, ...] = ()
    source: str = ""
    options: tuple[str, ...] = field(default=_SLIM)

    @property
    def key(self) -> str:
        """A short hash of all of it; the suite's state is not part: what was made stays until .lastgood goes."""
        return hashlib.sha256(repr((SUITE, self)).encode()).hexdigest()[:12]


def make(folder: Path, recipe: Recipe) -> Path:
    """The tar of the root file system of `recipe` under `folder`, made unless it is there."""
    return store.entry(_kept(folder, recipe), lambda part: _bootstrap(recipe, part)) / "root.tar"


def _kept(folder: Path, recipe: Recipe) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{recipe.name}-{recipe.key}"


def _bootstrap(recipe: Recipe, target: Path) -> None:
    # apt checks signatures as a user of its own, who must be able to read the keys.
    with step(f"root file system {recipe.name}"), tempfile.TemporaryDirectory() as readable:
        Path(readable).chmod(0o755)
        keyring = Path(shutil.copy(_KEYRING, Path(readable) / "debian.gpg"))
        keyring.chmod(0o644)
        run(_mmdebstrap(recipe, target / "root.tar", keyring))


def _mmdebstrap(recipe: Recipe, target: Path, keyring: Path) -> list[str | Path]:
    found = mirror.find(None, SUITE)
    kinds = ("deb", "deb-src") if recipe.source else ("deb",)
    places = ((found.debian, SUITE), (found.debian, f"{SUITE}-updates"), (found.security, f"{SUITE}-security"))
    sources = [f"{kind} [signed-by={keyring}] {url} {suite} main" for kind in kinds for url, suite in places]
    # apt of this machine, with the settings mmdebstrap has made: from outside, so that its network set-up holds.
    outside = 'cd "$1/srv" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q -o APT::Sandbox::User=root'
    hooks = [f"{outside} download {' '.join(recipe.fetched)}"] if recipe.fetched else []
    hooks += [f"{outside} source --download-only {recipe.source}"] if recipe.source else []
    hooks.append('rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*')
    options = [*(f"--dpkgopt={line}" for line in recipe.options), f"--include={','.join(recipe.packages)}"]
    options += [f"--customize-hook={hook}" for hook in hooks]
    return ["mmdebstrap", "--mode=root", "--variant=minbase", "--quiet", *options, SUITE, target, *sources]


def compiler() -> Recipe:
    """What compiles CPython; its source and the packages of distroless are brought with it."""
    return Recipe("compiler", (*PYTHON_NEEDS, *_PYTHON_BUILDS), _DISTROLESS, f"python{PYTHON}")


def python(client: Any, folder: Path) -> Path:
    """The folder with CPython (`python.tar`: usr/local) and `packages` (what its libraries need), compiled unless it is there.

    The first time takes a quarter of an hour or more: profile-guided optimisation runs CPython's tests.
    """
    recipe = compiler()
    key = hashlib.sha256((recipe.key + _COMPILE).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)

    def build(part: Path) -> None:
        root = make(folder, recipe)
        with step(f"CPython {PYTHON} compiled as docker-library does it (a quarter of an hour, once)"):
            image = load(client, root, "compiler")
            try:
                run(
                    [
                        *("docker", "run", "--rm", "--label", f"{LABEL}=1", "--network", "none", "--cpu-shares", "256"),
                        *("--volume", f"{part}:/out", image, "sh", "-c", _COMPILE),
                    ]
                )
            finally:
                client.images.remove(image, force=True)

    return store.entry(folder / f"python-{key}", build)


def distroless(folder: Path) -> Path:
    """The tar of Google's python3-debian13: its packages unpacked, no script run; users, certificates and dpkg's notes as there."""
    recipe = compiler()
    key = hashlib.sha256((recipe.key + repr(_DISTROLESS_FILES)).encode()).hexdigest()[:12]

    def build(part: Path) -> None:
        with step("root file system distroless"), tempfile.TemporaryDirectory(dir=part) as scratch:
            with tarfile.open(make(folder, recipe)) as archive:
                members = [one for one in archive if one.name.startswith("./srv/") and one.name.endswith(".deb")]
                archive.extractall(scratch, members, filter="data")
            root = Path(scratch) / "root"
            # base-files first: it brings the links /lib → /usr/lib, which the others' files go through.
            for deb in sorted(
                Path(scratch).glob("srv/*.deb"), key=lambda one: (not one.name.startswith("base-files_"), one.name)
            ):
                run(["dpkg-deb", "--extract", deb, root])
                note = root / "var/lib/dpkg/status.d" / deb.name.partition("_")[0]
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(run(["dpkg-deb", "--field", deb]), encoding="utf-8")
            _finish(root)
            run(["tar", "-c", "-C", root, "--sort=name", "--owner=0", "--group=0", "-f", part / "root.tar", "."])

    return store.entry(folder / f"distroless-{key}", build) / "root.tar"


def _finish(root: Path) -> None:
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = "".join(one.read_text(encoding="utf-8") for one in certificates)
    for name, text in {**_DISTROLESS_FILES, "etc/ssl/certs/ca-certificates.crt": bundle}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for name in ("home/nonroot", "tmp", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("python", "python3"):
        link = root / "usr/bin" / name
        if not link.exists():
            link.symlink_to(f"python{PYTHON}")
    for path in (*(root / "usr/share/man").glob("*"), *(root / "usr/share/lintian").glob("*")):
        shutil.rmtree(path)
    for path in (root / "usr/share/doc").rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "copyright":
            path.unlink()


def load(client: Any, archive: Path, name: str, changes: Sequence[str] = ()) -> str:
    """Imports a tar as the image lastgood-bench/`name`; returns that name."""
    repository = f"lastgood-bench/{name}"
    with archive.open("rb") as file:
        client.api.import_image_from_data(
            iter(lambda: file.read(1 << 20), b""),
            repository=repository,
            tag="latest",
            changes=[*changes, f"LABEL {LABEL}=1"],
        )
    return f"{repository}:latest"
