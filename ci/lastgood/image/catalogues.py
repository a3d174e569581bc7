"""Translations of the application: a `.po` without its `.mo`, as where git ignores those, is compiled: Django reads only the latter."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from lastgood.errors import UsageError

_CATALOGUE = re.compile(r"(^|/)locale/[\w@-]+/LC_MESSAGES/[^/]+\.po$|(^|/)[\w@-]+/LC_MESSAGES/django(js)?\.po$")


def add(tree: Path, names: Iterable[str]) -> dict[str, str]:
    """Compiles the catalogues among `names`, the files of `tree`, that have none yet; returns {path of what was made: its sha256}.

    Fuzzy and obsolete entries are left out, as by msgfmt. Raises UsageError for one that can't be read.
    """
    known = frozenset(names)
    made = {}
    for name in sorted(known):
        target = f"{name.removesuffix('.po')}.mo"
        if _CATALOGUE.search(name) and target not in known:
            body = _compiled(tree / name, name)
            (tree / target).write_bytes(body)
            made[target] = hashlib.sha256(body).hexdigest()
    return made


def _compiled(file: Path, name: str) -> bytes:
    import polib

    try:
        catalogue = polib.pofile(file.read_bytes().decode("utf-8-sig"), check_for_duplicates=True)
        body: bytes = catalogue.to_binary()
    except (OSError, ValueError, IndexError, LookupError) as error:
        said = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{name} can't be compiled ({said}): mend it (msgfmt --check says where), or commit the .mo beside it"
        ) from None
    return body
