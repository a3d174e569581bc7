"""Which Debian package holds a file: by the Contents index, fetched only when asked for, or by the rule that names libraries' packages.

Format: https://wiki.debian.org/DebianRepository/Format#A.22Contents.22_indices
"""

from __future__ import annotations

import lzma
import re
import zlib

from lastgood.debian import archive
from lastgood.debian.mirror import Mirror


def find(path: str, source: Mirror, suite: str, architecture: str) -> tuple[str, ...]:
    """The packages that hold `path` (as usr/lib/x86_64-linux-gnu/libpq.so.5), by name; none where no package does.

    The index of the architecture is asked, and that of packages for all architectures only where it knows nothing. Both are kept in the
    cache. Raises UsageError for a mirror that does not answer, or an index that is not what the signed Release names.
    """
    wanted = path.strip("/")
    # Packages ship below usr/ what is found through the links /lib, /bin and /sbin.
    names = {wanted, f"usr/{wanted}"} if wanted.startswith(("lib", "bin/", "sbin/")) else {wanted}
    release = archive.release(source, "debian", suite)
    for one in (architecture, "all"):
        body = archive.index(source, "debian", suite, release, f"main/Contents-{one}.gz")
        found = _search(zlib.decompress(body, wbits=31), names)
        if found:
            return found
    return ()


def named(library: str, source: Mirror, suite: str, architecture: str) -> tuple[str, ...]:
    """The package that is named after a shared library (as libpq.so.5), if the suite has one; none otherwise.

    For mirrors whose Contents index is missing or not the signed one. The rule is section 8.1 of the Debian Policy Manual: the name, a
    hyphen where it ends in a digit, the version; since Debian 13 some end in t64. Raises UsageError for a mirror that does not answer.
    """
    name = (
        re.sub(r"\.so(\.|$)", "", re.sub(r"([0-9])\.so\.", r"\1-", library.rpartition("/")[2]))
        .replace("_", "-")
        .lower()
    )
    release = archive.release(source, "debian", suite)
    body = archive.index(source, "debian", suite, release, f"main/binary-{architecture}/Packages.xz")
    known = re.findall(rf"^Package: ({re.escape(name)}(?:t64)?)$", lzma.decompress(body).decode(), re.MULTILINE)
    return tuple(sorted(set(known)))


def _search(text: bytes, names: set[str]) -> tuple[str, ...]:
    choice = b"|".join(re.escape(name.encode()) for name in sorted(names))
    packages = {
        entry.rpartition("/")[2]
        for line in re.finditer(rb"^(?:" + choice + rb")[ \t]+(\S+)$", text, re.MULTILINE)
        for entry in line.group(1).decode().split(",")
    }
    return tuple(sorted(packages))
