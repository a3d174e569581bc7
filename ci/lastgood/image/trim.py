"""What an installed tree loses before it becomes a layer: data that a running application never opens, never code that can be imported.

Each step does one kind of thing to a tree of hard links (so a file is replaced, never written into), and `lastgood build --explain` shows
what each one saves. `keep` in [tool.lastgood.image] names what no step touches: a pattern of paths (in the image, or below its
dist-packages), a folder, or a distribution. What the steps leave alone on purpose:

- Static files of installed packages stay even though they were collected: code may read its own by path. Those of django.contrib, which
  does not, go where the settings as the build sees them collect static files and never look for them again (`choices.static_collected`).
  An environment whose settings turn DEBUG or WhiteNoise's finders on in the image needs `keep = ["django/contrib/admin/static"]`.
  Where the project says so (`static = "collected"`), no static file stays where it was installed.
- Of a service's model only the text of its documentation goes, which botocore shows in `help()` and loads with everything else.
- `.mo` catalogues of distributions that do not build on Django stay: USE_I18N and LANGUAGES say nothing about them.
- A distribution that asks for sources (`inspect.getsource`) keeps its own.
- Migrations keep their sources, since the manifest holds the hash of each one's file, and so do sources that do not compile.
- A bundle of certificates becomes a link to the image's own only where that one holds every certificate of it: then nothing that was
  trusted is refused. botocore's becomes a link to certifi's where that is installed, since botocore then asks certifi for it.
- Whatever else a package holds stays, whatever its folder is called: what is in `docs`, `examples` or `tests` of one is its data as often
  as not. In a folder `templates` or `static` nothing is taken for a developer's file.
"""

from __future__ import annotations

import base64
import csv
import fnmatch
import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lastgood import limits
from lastgood.image import compress
from lastgood.image.runtime import kept
from lastgood.python import bytecode
from lastgood.python.interpreter import DIST_PACKAGES

RECIPE = 6
CREDENTIALS = ("sts", "sso", "sso-oidc", "signin")  # what botocore itself calls to get credentials

_DEVELOPER = (
    "*.pyi",
    "*.pxd",
    "*.pyx",
    "*.pxi",
    "*.h",
    "*.hpp",
    "*.hh",
    "*.c",
    "*.cc",
    "*.cpp",
    "*.a",
    "*.o",
    "*.lib",
    "*.la",
)
_CODE = (".py", ".pyc", ".so")
# Where what collectstatic gathers is installed: django.contrib's, or every package's.
_STATIC = {"collected": re.compile(r"(.+?)/static/"), "contrib": re.compile(r"(django/contrib/\w+)/static/")}
_CATALOGUE = re.compile(r"(?:^|/)locale/([A-Za-z0-9_@-]+)/LC_MESSAGES/[^/]+\.(po|mo)$")
_MIGRATION = re.compile(rb"^class Migration\(", re.MULTILINE)
_ASKS_SOURCE = re.compile(rb"\b(getsource|getsourcelines|findsource)\(")
_MODEL = 256_000_000  # bytes; botocore's largest model has 10 MB
_LEFT_BY_PIP = ("direct_url.json", "REQUESTED", "INSTALLER")


@dataclass(frozen=True)
class Choices:
    """What a project needs of the data that can be trimmed. None for services or languages: all of them stay."""

    services: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    sources: str = "app"
    static: str = (
        "all"  # which static files stay: all, all but those of django.contrib, or only those that were collected
    )
    keep: tuple[str, ...] = ()


@dataclass
class Tree:
    """A tree that is being trimmed. `owners` maps each path below it to its distribution, as "python:django"."""

    root: Path
    owners: Mapping[str, str]
    choices: Choices
    bundle: Path  # the image's bundle of certificates
    django: frozenset[str] = frozenset()  # owners of distributions that are Django or build on it
    removed: list[str] = field(default_factory=list)

    def files(self) -> Iterator[tuple[str, Path]]:
        """(path below the tree, file) of every file that `keep` does not protect."""
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if (path.is_file() or path.is_symlink()) and not self.protected(name):
                yield name, path

    def protected(self, name: str) -> bool:
        """Whether `keep` names this path, or the distribution that it is of."""
        owner = self.owners.get(name) or self.owners.get(bytecode.source_of(name) or "", "")
        return kept(name, self.choices.keep) or owner.removeprefix("python:") in self.choices.keep

    def remove(self, name: str) -> None:
        """Removes one file."""
        (self.root / name).unlink()
        self.removed.append(name)


@dataclass(frozen=True)
class Step:
    """One kind of trimming: `name` is shown, `do` changes the tree."""

    name: str
    do: Callable[[Tree], None]


def copy(origin: Path, target: Path) -> None:
    """Makes `target` a tree of hard links to the files of `origin`."""
    shutil.copytree(origin, target, symlinks=True, copy_function=_link)


def _link(origin: str, target: str) -> None:
    try:
        Path(target).hardlink_to(origin)
    except OSError:  # another file system, or a file with too many links
        shutil.copy2(origin, target)


def _programs(tree: Tree) -> None:
    """Programs start with the path of this machine's Python; what pip notes of an installation names its folders."""
    for name, _ in list(tree.files()):
        path = PurePosixPath(name)
        inside = name.removeprefix(f"{DIST_PACKAGES}/")
        if inside.startswith("bin/") or (path.parent.suffix == ".dist-info" and path.name in _LEFT_BY_PIP):
            tree.remove(name)


def _services(tree: Tree) -> None:
    if tree.choices.services is None:
        return
    wanted = {*tree.choices.services, *CREDENTIALS}
    for name, _ in list(tree.files()):
        parts = name.removeprefix(f"{DIST_PACKAGES}/").split("/")
        if len(parts) > 3 and parts[0] in ("botocore", "boto3") and parts[1] == "data" and parts[2] not in wanted:
            tree.remove(name)


def _models(tree: Tree) -> None:
    """The documentation in botocore's models of services: two thirds of each one, read and parsed with it for every client."""
    for name, path in list(tree.files()):
        parts = name.removeprefix(f"{DIST_PACKAGES}/").split("/")
        if parts[:2] == ["botocore", "data"] and parts[-1] == "service-2.json.gz":
            try:
                model = json.loads(limits.gunzip(path.read_bytes(), _MODEL))
            except (OSError, EOFError, zlib.error, ValueError):
                continue  # botocore says it better, where somebody asks for it
            body = json.dumps(undocumented(model), ensure_ascii=False, separators=(",", ":")).encode()
            _rewrite(path, compress.compress(body, "gzip", once=True))


def undocumented(model: Any) -> Any:
    """A model in the format of botocore's service-2.json without its texts; a member that is called `documentation` is no text."""
    if isinstance(model, list):
        return [undocumented(one) for one in model]
    if not isinstance(model, dict):
        return model
    return {
        key: undocumented(value) for key, value in model.items() if key != "documentation" or not isinstance(value, str)
    }


def locales(languages: tuple[str, ...]) -> frozenset[str]:
    """The folders of catalogues that `languages` (as `de-at`) need: each one's own, and those it falls back to."""
    found = {"en"}
    for language in languages:
        parts = re.split(r"[-_]", language)
        for count in range(1, len(parts) + 1):
            first, *rest = parts[:count]
            tail = [part.upper() if len(part) == 2 else part.title() for part in rest]
            found |= {"_".join([first.lower(), *tail]), "_".join(parts[:count])}
    return frozenset(found)


def _catalogues(tree: Tree) -> None:
    wanted = None if tree.choices.languages is None else locales(tree.choices.languages)
    catalogues = {name: found for name, _ in tree.files() if (found := _CATALOGUE.search(name))}
    for name, found in catalogues.items():
        of_django = tree.owners.get(name) in tree.django
        compiled = found.group(2) == "po" and f"{name[:-2]}mo" in catalogues
        if compiled or (found.group(2) == "mo" and wanted is not None and of_django and found.group(1) not in wanted):
            tree.remove(name)


def _static(tree: Tree) -> None:
    wanted = _STATIC.get(tree.choices.static)
    for name, path in list(tree.files()) if wanted else []:
        inside = name.removeprefix(f"{DIST_PACKAGES}/")
        found = wanted.match(inside) if wanted else None
        # A finder looks into packages; a folder of that name elsewhere, as below templates, is something else.
        if found and path.suffix not in _CODE and (tree.root / DIST_PACKAGES / found[1] / "__init__.py").is_file():
            tree.remove(name)


def _developer(tree: Tree) -> None:
    for name, path in list(tree.files()):
        if {"templates", "static"}.isdisjoint(name.split("/")) and any(
            fnmatch.fnmatchcase(path.name, pattern) for pattern in _DEVELOPER
        ):
            tree.remove(name)


def _examples(tree: Tree) -> None:
    for name, path in list(tree.files()):
        parts = name.removeprefix(f"{DIST_PACKAGES}/").split("/")
        if parts[:2] == ["boto3", "examples"] or (
            parts[:2] == ["botocore", "data"] and re.match(r"examples-\d|.*\.rst$", path.name)
        ):
            tree.remove(name)


def _descriptions(tree: Tree) -> None:
    """The long description of a distribution is its page at the index; the headers above it are what programs ask for."""
    for _name, path in list(tree.files()):
        if path.name == "METADATA" and path.parent.suffix == ".dist-info":
            headers, gap, _ = path.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
            if gap:
                _rewrite(path, headers + b"\n")


def certificates(body: bytes) -> frozenset[bytes]:
    """The certificates in a bundle (PEM), whatever stands between them and however their lines are broken."""
    found = re.findall(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", body, re.DOTALL)
    return frozenset(base64.b64decode(b"".join(one.split())) for one in found)


def _bundles(tree: Tree) -> None:
    own = certificates(tree.bundle.read_bytes())
    top = tree.root / DIST_PACKAGES
    for _, path in list(tree.files()):
        if path == top / "botocore/cacert.pem" and (top / "certifi/cacert.pem").is_file():
            path.unlink()
            path.symlink_to("../certifi/cacert.pem")
        if path.name == "cacert.pem" and not path.is_symlink():
            found = certificates(path.read_bytes())
            if found and found <= own:
                path.unlink()
                path.symlink_to("/etc/ssl/certs/ca-certificates.crt")


def _sources(tree: Tree) -> None:
    if tree.choices.sources == "all":
        return
    found = [(name, path) for name, path in tree.files() if path.suffix == ".py" and path.is_file()]
    asking = {tree.owners.get(name) for name, path in found if _ASKS_SOURCE.search(path.read_bytes())} - {None}
    for name, path in found:
        if tree.owners.get(name) not in asking and bytecode.cached(path).is_file() and not _is_migration(path):
            bytecode.sourceless(path)


def _is_migration(path: Path) -> bool:
    """Whether the manifest may hold this file's hash: its folder says so (but for Django's own code of that name), or its class."""
    if path.parent.name == "migrations" and path.parent.parent.name != "db":
        return True
    return bool(_MIGRATION.search(path.read_bytes()))


def _records(tree: Tree) -> None:
    """Leaves in every RECORD what is there, with its hash; programs' rows go, whose hash names this machine's Python."""
    top = tree.root / DIST_PACKAGES
    for record in top.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as file:
            rows = list(filter(None, csv.reader(file)))
        wanted = sorted({tuple(row) for name, *_ in rows for row in _rows(top, name, record)})
        part = record.with_name("RECORD.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(wanted)
        part.replace(record)


def _rows(top: Path, name: str, record: Path) -> Iterator[tuple[str, str, str]]:
    path = top / name
    if name.startswith(("..", "/")):
        return
    if path == record or path.is_symlink():
        yield name, "", ""
    elif path.is_file():
        body = path.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        yield name, f"sha256={digest}", str(len(body))
    elif path.suffix == ".py" and path.with_suffix(".pyc").is_file():
        yield f"{name}c", "", ""  # a RECORD need not have the hash of byte-code


def _rewrite(path: Path, body: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(body)
    part.replace(path)


STEPS = (
    Step("programs, notes of pip", _programs),
    Step("AWS services", _services),
    Step("documentation in AWS models", _models),
    Step("translations", _catalogues),
    Step("static files that were collected", _static),
    Step("developers' files", _developer),
    Step("examples of AWS services", _examples),
    Step("descriptions", _descriptions),
    Step("certificates", _bundles),
    Step("sources", _sources),
    Step("records", _records),
)


def apply(tree: Tree, step: Step) -> None:
    """Does one step, and removes the folders that it emptied."""
    step.do(tree)
    for path in sorted(
        (path for path in tree.root.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True
    ):
        if not any(path.iterdir()):
            path.rmdir()
