"""Secrets in a layer, found by detect-secrets. What was found is never kept or shown: only which kind, in which file, on which line.

Two measures. What a stranger published (Debian's packages, distributions) can hold no secret of yours, but a private index or a copied file
can: there only what has an unmistakable form counts, private keys with their body and access tokens, and nothing in folders of tests and
examples, which ship throw-away keys. In the project's own files passwords given to names (`SECRET_KEY = "…"`), passwords in addresses and
strings of high entropy count, too; but not in its tests, whose passwords are nobody's, in assets that a bundler made and named by their
content, and in `[tool.lastgood]`, whose values are those of a build. A line that ends in `# pragma: allowlist secret` is left out, as
detect-secrets has it.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lastgood import beneath

# Counted up whenever other things are found, so that no cache entry of an older recipe is used.
RECIPE = 3

_LARGEST = 1_000_000  # bytes; larger files of a project are data
_TOKENS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector",
    "MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
    "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
)  # fmt: skip
_STRANGERS = ("AWSKeyDetector", "GitHubTokenDetector", "GitLabTokenDetector", "PrivateKeyDetector", "PypiTokenDetector",
              "SendGridDetector", "SlackDetector", "StripeDetector")  # fmt: skip
_OWN = (*_TOKENS, "BasicAuthDetector", "JwtTokenDetector", "KeywordDetector")
_ENTROPY = ({"name": "Base64HighEntropyString", "limit": 4.8}, {"name": "HexHighEntropyString", "limit": 3.3})
_FILTERS = (
    "detect_secrets.filters.allowlist.is_line_allowlisted",
    *(f"detect_secrets.filters.heuristic.{name}" for name in (
        "is_sequential_string", "is_potential_uuid", "is_likely_id_string", "is_templated_secret", "is_prefixed_with_dollar_sign",
        "is_indirect_reference", "is_lock_file", "is_not_alphanumeric_string", "is_swagger_file")),
)  # fmt: skip
# Where strings of high entropy are settings and not data.
_SETTINGS = re.compile(r"\.(py|toml|ya?ml|ini|cfg|conf|env|properties|sh)$|(^|/)\.env")
_STRANGE = re.compile(r"(site|dist)-packages/|^(usr|lib|lib64|bin|sbin|etc|var|opt/lastgood)/")
_SERVED = re.compile(
    r"(^|/)static(files|_root|_collected)?/|\.min\.(js|css)$|[.-][0-9a-f]{8,}\.(bundle\.|chunk\.)?[cm]?(js|css)$|\.(map|svg|po|mo|lock|pyc)$|(^|/)(package-lock\.json|requirements[^/]*\.txt)$"
)
_TESTS = re.compile(r"(^|/)(tests?|testing|examples?|docs?|samples?|fixtures?|demo)(/|\.py$)|(^|/)test_", re.IGNORECASE)
# Of the project's own: narrower, as a project may be called demo.
_OWN_TESTS = re.compile(r"(^|/)(tests/|(tests|conftest|test_[^/]*)\.py$)")
_ENV_FILE = re.compile(r"(^|/)\.env(\.(?!example|sample|template|dist)[^/]*)?$")
# Each is in every string of its kind, and quick to look for.
_SIGNS = (b"PRIVATE KEY", b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"glpat-", b"xoxb", b"xoxp", b"xoxa",
          b"hooks.slack.com", b"k_live_", b"SG.", b"pypi-AgE")  # fmt: skip
# A key is more than its first line, which programs that read keys hold, too.
_KEY = re.compile(
    r"BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[\s\"'+(),]|\\n)*(?:[A-Z][\w-]*: .*\s+)*"
    r"(?:[A-Za-z0-9+/=]|[\s\"'+,]|\\n){48}"
)
# Values that documentation and defaults use: nobody's secret.
_MAKE_BELIEVE = re.compile(
    r"example|dummy|change-?me|insecure|placeholder|your[-_]|xxxx|\.\.\.|…"
    r"|^[a-z]+(-[a-z]+){2,}$"  # a sentence
    r"|^(pass|password|passwd|secret|user|test|postgres)$",
    re.IGNORECASE,
)
_one_at_a_time = threading.Lock()  # detect-secrets has one set of settings a process


class Hit(NamedTuple):
    """One secret: its kind in detect-secrets' words, and its line, counted from 1 (0: the file as a whole)."""

    kind: str
    line: int


def own(path: str) -> bool:
    """Whether a file is the project's by where it lies."""
    return not _STRANGE.search(path) and not _SERVED.search(path)


def suspicious(path: str, content: bytes) -> bool:
    """Whether a file is worth reading line by line."""
    if own(path) and _OWN_TESTS.search(path):
        return b"\0" not in content[:1000] and any(sign in content for sign in _SIGNS)
    if own(path):
        return len(content) <= _LARGEST and b"\0" not in content[:8000]
    if _TESTS.search(path) or b"\0" in content[:1000]:
        return False
    return any(sign in content for sign in _SIGNS)


def search(files: Mapping[str, bytes]) -> dict[str, tuple[Hit, ...]]:
    """What is found in {path: content}; files without a hit are left out."""
    if not files:
        return {}
    found: dict[str, tuple[Hit, ...]] = {}
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="lastgood-scan-") as folder:
        # Each below a number of ours: a path in a layer is a stranger's, and could lead anywhere. Plugins look at the name.
        names = {path: PurePosixPath(path).name[-100:] for path in files}
        places = {path: f"{at}/{name if name.strip('.') else 'file'}" for at, (path, name) in enumerate(names.items())}
        for path, place in places.items():
            beneath.write(Path(folder), place, files[path])
        for plugins, chosen in _groups(files):
            for path in chosen:
                hits = set(_hits(Path(folder), places[path], plugins))
                if PurePosixPath(path).name == "pyproject.toml":
                    table = _lines_of_ours(files[path].decode("utf-8", "replace"))
                    hits = {hit for hit in hits if hit.line not in table}
                if _ENV_FILE.search(path):
                    hits.add(Hit("Environment file", 0))
                if hits:
                    found[path] = tuple(sorted(hits))
    return found


def _lines_of_ours(text: str) -> frozenset[int]:
    """The lines of `[tool.lastgood]` and its tables in a pyproject.toml."""
    found, inside = set(), False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+)", line)
        if header:
            inside = bool(re.match(r"tool\.lastgood(\.|$)", re.sub(r"[\"' ]", "", header[1])))
        if inside:
            found.add(number)
    return frozenset(found)


def _groups(files: Mapping[str, bytes]) -> Iterator[tuple[tuple[Mapping[str, Any], ...], list[str]]]:
    groups: dict[str, list[str]] = {"strange": [], "own": [], "settings": []}
    for path in sorted(files):
        groups[
            "strange" if not own(path) or _OWN_TESTS.search(path) else "settings" if _SETTINGS.search(path) else "own"
        ].append(path)
    named: dict[str, tuple[Mapping[str, Any], ...]] = {
        "strange": tuple({"name": name} for name in _STRANGERS),
        "own": tuple({"name": name} for name in _OWN),
        "settings": (*({"name": name} for name in _OWN), *_ENTROPY),
    }
    for group, chosen in groups.items():
        yield named[group], chosen


def _hits(folder: Path, path: str, plugins: tuple[Mapping[str, Any], ...]) -> Iterator[Hit]:
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import transient_settings

    with transient_settings({"plugins_used": plugins, "filters_used": [{"path": name} for name in _FILTERS]}):
        collection = SecretsCollection(root=str(folder))
        collection.scan_file(path)
        text = (folder / path).read_text(encoding="utf-8", errors="replace")
        for _file, secret in collection:
            if secret.type == "Private Key":
                if _KEY.search(text):
                    yield Hit(secret.type, secret.line_number)
            elif not _MAKE_BELIEVE.search(secret.secret_value or "") and _alone(secret.secret_value or "", text):
                yield Hit(secret.type, secret.line_number)


def _alone(value: str, text: str) -> bool:
    """Whether a value stands by itself: in a font or a picture in base64 anything can be found."""
    places = [one.start() for one in re.finditer(re.escape(value), text)]
    around = (text[max(place - 1, 0) : place] + text[place + len(value) : place + len(value) + 1] for place in places)
    return not places or any(not re.search(r"[A-Za-z0-9+/]", sides) for sides in around)


def in_configuration(lines: Mapping[str, str]) -> dict[str, tuple[Hit, ...]]:
    """What is found in the image's settings and history, given as {what it is: text}, as `Env SECRET_KEY`: `SECRET_KEY=…`."""
    names = {f"configuration/{number}.env.txt": what for number, what in enumerate(lines)}
    files = {file: f"{lines[what]}\n".encode() for file, what in names.items()}
    found = {names[file]: hits for file, hits in search(files).items()}
    for what, text in lines.items():
        name, _, value = text.partition("=")
        if re.search(r"(SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE_?KEY)", name) and " " not in name and value:
            found.setdefault(what, (Hit("Secret Keyword", 0),))
    return found
