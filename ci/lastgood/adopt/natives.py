"""What requirements need of Debian, for those that many projects have. Names are those of the image's release (trixie)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from packaging.requirements import Requirement

from lastgood.adopt.found import Native
from lastgood.python.merge import normalised

_PANGO = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")
# By the requirement's name: what it needs to run, what compiling it needs.
_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "psycopg-c": (("libpq5",), ("libpq-dev",)),
    "psycopg2": (("libpq5",), ("libpq-dev",)),
    "mysqlclient": (("libmariadb3",), ("libmariadb-dev", "pkgconf")),
    "python-ldap": (("libldap2", "libsasl2-2"), ("libldap-dev", "libsasl2-dev")),
    "django-auth-ldap": (("libldap2", "libsasl2-2"), ("libldap-dev", "libsasl2-dev")),
    "python-magic": (("libmagic1t64",), ()),
    "weasyprint": (_PANGO, ()),
    "cairosvg": (("libcairo2",), ()),
}
_GEO = ("libgdal36", "libgeos-c1t64", "libproj25")


def find(requirements: Iterable[str], *, geo: bool) -> Iterator[Native]:
    """The native needs of requirements (as `psycopg[c]>=3`), and of GeoDjango."""
    for line in requirements:
        asked = Requirement(line)
        name = normalised(asked.name)
        if name == "psycopg":
            name = "psycopg-c" if "c" in asked.extras else "psycopg-binary" if "binary" in asked.extras else "psycopg"
            if name == "psycopg":
                yield Native("psycopg", ("libpq5",))
        if name in ("psycopg-binary", "psycopg2-binary"):
            yield Native(name, accept=(f"second-openssl: {name}",))
        elif name in _NEEDS:
            yield Native(str(asked), *_NEEDS[name])
    if geo:
        yield Native("django.contrib.gis", _GEO)
