"""What Debian knows of the packages that an image is made of, or could be."""

from __future__ import annotations

from lastgood import bundle
from lastgood.errors import LastgoodError
from lastgood.platform import ALL


def suite() -> str:
    """The Debian release that images are made of."""
    from lastgood.debian.seeds import Seeds

    return Seeds.read(bundle.path("docker/base.toml")).suite


def holding(path: str, platform: str, mirror_setting: str | None) -> tuple[str, ...]:
    """The Debian packages that hold the library `path`, as the mirror's indices say; empty where none answers or knows."""
    from lastgood.debian import contents as index
    from lastgood.debian import mirror

    for look in (index.find, index.named):
        try:
            release = suite()
            found = look(path, mirror.find(mirror_setting, release), release, ALL[platform].debian)
        except (LastgoodError, OSError, KeyError):
            continue
        if found:
            return found
    return ()
