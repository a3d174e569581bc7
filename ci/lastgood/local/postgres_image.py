"""The image of the one-machine cloud's PostgreSQL, made from Debian packages."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import Any

from lastgood import beneath, tar
from lastgood.cache import store
from lastgood.config.project import ImageSettings
from lastgood.debian.locks import Lock
from lastgood.debian.seeds import Seeds
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError
from lastgood.local.postgres import DATA, HOME
from lastgood.platform import native
from lastgood.report.terminal import step

SEEDS = Path(__file__).with_name("postgres.toml")
LOCK = Path(__file__).with_name("postgres.lock")
STAGE = "postgres"
USER = 70  # of the server in its container, and nobody's on the host
BINARIES = "/usr/lib/postgresql/17/bin"
_ACCESS = "local all all trust\nhost all all all scram-sha-256\n"
_NOT_WANTED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/info/")

# Counted up whenever what is made from the packages changes, so that no cache entry of an older recipe is used.
RECIPE = 2


def lock() -> Lock:
    """The packages of the image. Raises UsageError where the lock is missing, damaged or not made from its seeds."""
    locked = Lock.read(LOCK)
    if locked.seeds != Seeds.read(SEEDS).digest:
        raise UsageError(
            f"{LOCK} was not made from {SEEDS} as it is now: run `lastgood lock-base --seeds {SEEDS}` and commit it"
        )
    return locked


def tag() -> str:
    """The image's name, which changes with its packages."""
    return f"lastgood-postgres:{lock().key(STAGE, native().debian)[:12]}"


def ensure(client: Any, settings: ImageSettings) -> str:
    """Returns the tag of the image, which is made where the engine does not have it, from the mirror that `settings` name."""
    from docker.errors import ImageNotFound

    name = tag()
    try:
        client.images.get(name)
    except ImageNotFound:
        with step("PostgreSQL image") as progress:
            _build(client, settings, name)
            progress.note(name)
    return name


def _build(client: Any, settings: ImageSettings, name: str) -> None:
    stages = Stages(lock(), settings.mirror, settings.snapshot)

    def make(folder: Path) -> None:
        stages.unpack(STAGE, native(), folder / "root", lambda path: not path.startswith(_NOT_WANTED))
        _finish(folder / "root")

    tree = store.entry(store.cache() / "postgres" / f"{stages.key(STAGE, native())[:24]}-{RECIPE}", make) / "root"
    with tempfile.TemporaryDirectory(dir=store.cache()) as scratch:
        archive = Path(scratch) / "root.tar"
        tar.write([(tree, "")], archive)
        _own(archive, HOME)
        with archive.open("rb") as file:
            client.api.import_image_from_data(
                iter(lambda: file.read(1 << 20), b""),
                repository=name.partition(":")[0],
                tag=name.partition(":")[2],
                changes=[
                    f"USER {USER}:{USER}",
                    f"ENV PATH={BINARIES}:/usr/bin LANG=C.UTF-8 PGDATA={DATA}",
                    f"LABEL lastgood.postgres={name}",
                    'ENTRYPOINT ["postgres"]',
                ],
            )


def _finish(root: Path) -> None:
    for folder in ("var/lib", "tmp", "run", "proc", "sys", "dev", "etc/postgresql"):
        beneath.folder(root, folder)
    if not (beneath.folder(root, "usr/bin") / "sh").exists():
        beneath.place(root, "usr/bin/sh").symlink_to("dash")
    beneath.write(root, "etc/passwd", f"root:x:0:0::/:/nonexistent\npostgres:x:{USER}:{USER}::{HOME}:/nonexistent\n")
    beneath.write(root, "etc/group", f"root:x:0:\npostgres:x:{USER}:\n")
    beneath.write(root, "etc/postgresql/pg_hba.conf", _ACCESS)


def _own(archive: Path, home: str) -> None:
    """Adds the server's home folder, its own: a volume takes its owner from there, and layers belong to root."""
    with tarfile.open(archive, "a", format=tarfile.PAX_FORMAT) as opened:
        info = tarfile.TarInfo(home.lstrip("/"))
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o700, USER, USER
        opened.addfile(info)
