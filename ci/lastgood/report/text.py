"""Texts from outside made fit to be shown: without their secrets, and as text alone, wherever they are shown.

What a project, a package, a log or a record says is content. It is masked first and cut after that (`head`, `tail`): a cut through an
address would leave its password without what tells that it is one. Then it is made fit for its place: `line` for one line of a terminal,
`cell` for Markdown, `shown` for whatever is printed.
"""

from __future__ import annotations

import contextlib
import os
import re

_NAMES = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret(?:[_-]?(?:access[_-]?)?key|[_-]?string|[_-]?value)?|token|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|signature|credentials?)(?:_\w{1,40})?[\"']?"
)
_VALUE = r"""(?!\*\*\*)(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[^\s"']\S*)"""
_SCHEME = r"([a-zA-Z][a-zA-Z0-9+.-]{0,20}://)"
# Compiled where they are first used: most commands end without that.
_SECRETS = (
    # scheme://user:password@host, where the password may hold what it should not (/ @ # ?); but not host:8000/path@version
    (rf"{_SCHEME}[^\s/?#@:'\"<>]*:(?!\d{{1,5}}/)\S{{0,1000}}@", r"\1***@"),
    (rf"{_SCHEME}[^\s/?#@:.'\"<>]+/\S{{0,1000}}@(?=[\w-]+[.:/])", r"\1***@"),
    (rf"{_SCHEME}[^\s/?#'\"<>]*@\S{{0,1000}}@(?=[\w-]+[.:/])", r"\1***@"),
    (rf"{_SCHEME}[^\s/?#'\"<>]*@", r"\1***@"),
    (
        r"(?i)(authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?)(?:(?:bearer|basic|token|digest|negotiate)\s+)?[^\s\"']+",
        r"\1***",
    ),
    (r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}", r"\1***"),
    # password=…, "password": …, password: …; but not name==1.0, nor secretsmanager:GetSecretValue
    (rf"(?i)({_NAMES}\s{{0,3}}=(?!=)\s{{0,3}}){_VALUE}", r"\1***"),
    (rf"(?i)({_NAMES}(?:(?<=[\"'])\s{{0,3}}:\s{{0,3}}|:\s+(?=\S))){_VALUE}", r"\1***"),
    (r"(?i)((?<![a-z])(?:password|passwd|pwd):)(?=[^\s:/])\S+", r"\1***"),
    (r"\b(A[KS]IA)[A-Z0-9]{16}\b", r"\1***"),
    (r"\b(gh[pousr]_|github_pat_|glpat-|xox[abprs]-|[sr]k_live_|pypi-AgE)[\w-]{10,}", r"\1***"),
    (r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(?:(?!-----END)[\s\S])*", r"\1 *** "),
)
_PLAIN = r"(?i)://|pass|pwd|secret|token|key|signature|credential|authorization|bearer|A[KS]IA|gh[pousr]_|github_pat|glpat|xox|_live_|pypi"
_CREDENTIALS = _SECRETS[3][0]
# C0 and C1 with escape and 8-bit CSI, line and paragraph separators, and what turns the direction of writing round.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
_BUT_LINES = _CONTROL.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f")
_PAINT = r"(\x1b\[(?:0|1|31|32)m)"  # what report/terminal.py itself writes
_COMMAND = r"(?m)^(\s*)::"


def masked(text: str) -> str:
    """`text` with the passwords, tokens and keys in it replaced by `***`. To be called before anything is cut off."""
    if not re.search(_PLAIN, text):
        return text
    for pattern, instead in _SECRETS:
        text = re.sub(pattern, instead, text)
    return text


def names_user(text: str) -> bool:
    """Whether an address in `text` holds a user or a password."""
    return bool(re.search(_CREDENTIALS, text))


def head(text: str, count: int) -> str:
    """The first `count` characters, masked before they were cut off."""
    return masked(text)[:count]


def tail(text: str, count: int) -> str:
    """The last `count` characters, masked before the rest was cut off."""
    return masked(text)[-count:] if count else ""


def readable(name: str) -> str:
    """A file name in no encoding, its odd bytes shown as `\\xff`; control characters as `line` shows them."""
    with contextlib.suppress(UnicodeEncodeError):  # a surrogate that stands for no byte
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return line(name)


def line(text: str) -> str:
    """`text` in one line: what a terminal would obey is shown as an escape, as `\\n` and `\\x1b`."""
    return re.sub(_CONTROL, _escape, text)


def shown(text: str) -> str:
    """`text` as it may be printed: with its lines, tabs and our own colours, and nothing else that a terminal or a CI system obeys.

    GitHub takes a line that begins with `::` (after spaces) for a command, and `##[` anywhere in one.
    """
    parts = re.split(_PAINT, text.replace("\r\n", "\n"))
    plain = "".join(part if at % 2 else re.sub(_BUT_LINES, _escape, part) for at, part in enumerate(parts))
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return plain
    return re.sub(_COMMAND, r"\1\\::", plain).replace("##[", "##\\[")


def in_json(document: str) -> str:
    """A JSON document as it may be printed: the same data, and nothing that a terminal or a CI system obeys."""
    plain = "\n".join(
        re.sub(_CONTROL, lambda found: f"\\u{ord(found.group()):04x}", part) for part in document.split("\n")
    )
    return plain.replace("##[", "##\\u005b")


def cell(text: str) -> str:
    """`text` for a cell or a line of Markdown: one line, no markup, no HTML, no mention, no reference to an issue.

    A backslash does not stop a mention or a reference, which are looked for in what was rendered: a space of no width does.
    """
    escaped = re.sub(r"([\\`*_<>|\[\]~&])", r"\\\1", line(text))
    return re.sub(r"([@#])", "\\1\u200b", escaped)


def _escape(found: re.Match[str]) -> str:
    letter = found.group()
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter)
    return named or (f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}")
