"""What requirements.in, the files that it includes, and the lock may say: one place, which lock, check and build ask.

What only one of the three would obey is refused, with what to write instead. What counts is what a line means: line endings, a byte order
mark, blanks and comments do not.
"""

from __future__ import annotations

import re
import shlex
import tomllib
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lastgood.errors import UsageError
from lastgood.report.text import line as one_line
from lastgood.report.text import masked, names_user

INCLUDES = ("requirement", "constraint")
_SHORT = {
    "-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links", "-C": "--config-settings",
}  # fmt: skip
_VALUED = ("--requirement", "--constraint", "--editable", "--no-binary", "--only-binary")
_FLAGS = ("--pre", "--prefer-binary")
_INDEX = "index-url"
_INDEXES = (f"--{_INDEX}", "--pypi-url", f"--extra-{_INDEX}", "--find-links", "--no-index", "--trusted-host")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_HASH = re.compile(r"\s--hash[= ](\w+):(\w+)")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_FILE = re.compile(r"\.(whl|zip|tar\.\w+|tgz)$")
_VCS = re.compile(r"(git|hg|svn|bzr)\+")


@dataclass(frozen=True)
class Line:
    """One line, joined where it goes on in the next one: an option with its value, or a requirement with its hashes."""

    file: str
    number: int
    text: str
    options: tuple[tuple[str, str], ...] = ()  # as ("--no-binary", "alpha,beta")
    requirement: Requirement | None = None
    hashes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.file}:{self.number}"


class Unfit(UsageError):
    """A line that may not stand where it stands: `what` is wrong with it, and what to do `instead`."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}: {instead}")
        self.what = what


def text(name: str, body: bytes) -> str:
    """The text of a file, with LF as pip reads lines. Raises UsageError where it is none."""
    try:
        return "\n".join(body.decode("utf-8-sig").splitlines()) + "\n"
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None


def meaning(body: str) -> str:
    """The lines of a file that count, each with one blank where there are several."""
    return "\n".join(" ".join(line.split()) for _, line in _joined(body))


def lines(name: str, body: str, root: Path | None = None) -> list[Line]:
    """The lines of an input. Raises Unfit for the first one that may not stand there. `root` is where its paths begin."""
    return [_checked(name, number, line, root) for number, line in _joined(body)]


def locked(name: str, body: str) -> list[Line]:
    """The lines of a lock: exact versions and addresses of wheels, and --no-binary. Raises Unfit for anything else."""
    found = []
    for number, text in _joined(body):
        try:
            line = _checked(name, number, text, None)
            wanted = line.requirement
            if any(option not in ("--no-binary", "--only-binary") for option, _ in line.options):
                raise Unfit(f"{line.where} says {line.options[0][0]}", "")
            if wanted and not wanted.url and not re.fullmatch(r"==[^=*][^*,]*", str(wanted.specifier)):
                raise Unfit(f"{line.where} names {wanted.name} without its one version", "")
        except Unfit as error:
            raise Unfit(
                f"{error.what}, which no lock holds",
                "mend requirements.in where it comes from there, and run `lastgood lock`",
            ) from None
        found.append(line)
    return found


def from_source(found: Iterable[Line]) -> frozenset[str]:
    """The distributions that are to be compiled though they may have a wheel (--no-binary): their normalised names."""
    names: set[str] = set()
    for option, value in (pair for line in found for pair in line.options):
        given = {str(canonicalize_name(name)) for name in value.split(",") if not name.startswith(":")}
        if option == "--no-binary":
            names |= given
        elif option == "--only-binary":
            names = set() if ":all:" in value.split(",") else names - given
    return frozenset(names)


def _joined(body: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of every line that says something, as pip joins them and leaves out comments."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate([*body.splitlines(), ""], start=1):
        comment = re.match(r"\s*#", line)
        first = first if parts else number
        if line.endswith("\\") and not comment:
            parts.append(line.strip("\\"))
            continue
        whole = _COMMENT.sub("", "".join([*parts, f" {line}" if comment else line])).strip()
        parts = []
        if whole:
            yield first, whole


def _checked(name: str, number: int, text: str, root: Path | None) -> Line:
    line = Line(name, number, text)
    variable = _VARIABLE.search(text)
    if variable:
        raise Unfit(
            f"{line.where} holds {variable.group()}, by which one input would be locked in two ways",
            "write out what it stands for, or, where it is a password, leave it to pip's settings (PIP_INDEX_URL, netrc)",
        )
    return _options(line, root) if text.startswith("-") else _requirement(line, root)


def _options(line: Line, root: Path | None) -> Line:
    try:
        words = iter(shlex.split(line.text))
    except ValueError as error:
        raise Unfit(f"{line.where} can't be read ({error})", "mend the line") from None
    found: list[tuple[str, str]] = []
    for word in words:
        option, sign, value = word.partition("=")
        if not word.startswith("--") and word[:2] in _SHORT:
            option, value = _SHORT[word[:2]], word[2:]
            sign = value
        if option in _INDEXES:
            raise Unfit(
                f"{line.where} names where packages come from ({masked(one_line(line.text))}), which no build would ask",
                "remove the line, and name it in pip's settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or pip.conf), which lock, check and "
                "build read alike",
            )
        if option in _VALUED and not sign:
            value = next(words, "")
        if option == "--editable":
            return _local(line, value, root)
        if option not in (*_VALUED, *_FLAGS) or (option in _VALUED and not value):
            raise Unfit(
                f"{line.where} says {masked(one_line(word))}, which lock and build could not both obey",
                "remove it (what may stand there: requirements, -r, -c, --no-binary NAME, --only-binary, --pre, --prefer-binary)",
            )
        if option == "--no-binary" and any(one.startswith(":") for one in value.split(",")):
            raise Unfit(
                f"{line.where} says --no-binary {one_line(value)}",
                "name the distributions that are to be compiled, as --no-binary lxml,pillow",
            )
        found.append((option, value))
    return Line(line.file, line.number, line.text, tuple(found))


def _requirement(line: Line, root: Path | None) -> Line:
    hashes = tuple(digest for kind, digest in _HASH.findall(line.text) if kind == "sha256")
    wanted, _, rest = _HASH.sub(" ", line.text).strip().partition(" -")
    if rest:
        raise Unfit(
            f"{line.where} gives {wanted.split()[0]} the option -{one_line(rest.split()[0])}, which no build would obey",
            "remove it",
        )
    wanted = wanted.strip()
    try:
        found = Requirement(wanted)
    except InvalidRequirement as error:
        if re.match(r"\.|/|~|file:|[\w.-]+/|\w+\+\w+:|https?:", wanted) or _FILE.search(wanted):
            return _local(line, wanted, root)
        said = str(error).splitlines()[0]
        raise Unfit(
            f"{line.where} is no requirement ({masked(one_line(line.text))!r}: {said})", "mend the line"
        ) from None
    if _FILE.search(found.name):
        return _local(line, wanted, root)
    if found.url:
        _address(line, found.name, found.url, root)
    return Line(line.file, line.number, wanted, (), found, hashes)


def _address(line: Line, name: str, url: str, root: Path | None) -> None:
    """Raises UsageError for what would be built where it is fetched, or is not the same for everybody."""
    parts = urllib.parse.urlsplit(url)
    if names_user(url):
        raise Unfit(
            f"{line.where} asks for {name} @ {masked(url)} by an address that holds a user or password, which would stand in the lock",
            "leave them out (pip reads them from netrc or its keyring)",
        )
    if _VCS.match(url):
        raise Unfit(
            f"{line.where} asks for {name} by a repository ({masked(url)}), of which no hash tells what it holds",
            f"publish it to an index that pip's settings name and write {name}==VERSION, or name a wheel, as "
            f"{name} @ https://…/{name.replace('-', '_')}-VERSION-py3-none-any.whl",
        )
    if parts.scheme not in ("http", "https"):
        _local(line, url, root, name)
    if not parts.path.endswith(".whl"):
        raise Unfit(
            f"{line.where} names {name} by the address of a source ({masked(url)}), whose code would run while it is fetched",
            "name a wheel, or a version that an index has",
        )


def _local(line: Line, wanted: str, root: Path | None, name: str = "") -> Line:
    """Refuses a path or an address without a name."""
    if re.match(r"https?:|\w+\+", wanted):
        found = re.search(r"#.*?\begg=([\w.-]+)", wanted)
        _address(line, found.group(1) if found else "NAME", wanted, root)
        wheel = PurePosixPath(urllib.parse.urlsplit(wanted).path).name.partition("-")[0]
        raise Unfit(
            f"{line.where} is an address without a name ({masked(wanted)})", f"write {wheel} @ {masked(wanted)}"
        )
    path = re.sub(r"^file:(//)?|\[[^\]]*\]$", "", wanted)
    folder = root / path if root else Path(path)
    said = "a folder" if folder.is_dir() else "a file" if folder.is_file() else "a path"
    known, version = _project(folder)
    named = f"{name or known or 'NAME'}=={version or 'VERSION'}"
    raise Unfit(
        f"{line.where} asks for {masked(one_line(wanted))}, {said} of this machine, which no hash in a lock could name",
        "put its package into the application's folder, so that it is part of the commit, or publish it to an index that pip's settings "
        f"name and write {named}",
    )


def _project(folder: Path) -> tuple[str, str]:
    """Name and version in the pyproject.toml of a folder; nothing where it says none."""
    try:
        table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        return one_line(str(table.get("name", ""))), one_line(str(table.get("version", "")))
    except (OSError, ValueError, AttributeError):
        return "", ""
