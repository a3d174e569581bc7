"""What the project needs of the data that can be trimmed: declared in [tool.lastgood.image], or found by reading it."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import commit
from lastgood.image.application import Application
from lastgood.python.contained import Contained
from lastgood.python.interpreter import DIST_PACKAGES

_WORD = re.compile(rb"""["']([a-z0-9][a-z0-9-]{1,40})["']""")

# Prints what the settings say of languages and of static files (whether they were collected while the image was made, and nothing looks
# for them where they were installed), and which files below the working folder were opened on the way.
_ASK = """
import json, os, sys
top, opened = os.getcwd() + os.sep, set()
def look(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and os.path.abspath(arguments[0]).startswith(top):
        opened.add(os.path.abspath(arguments[0])[len(top):])
sys.addaudithook(look)
from django.conf import global_settings, settings
answer = {
    "i18n": bool(settings.USE_I18N), "default": list(settings.LANGUAGES) == list(global_settings.LANGUAGES),
    "languages": [str(code) for code, _ in settings.LANGUAGES], "code": str(settings.LANGUAGE_CODE),
}
def value(name, default):
    return getattr(settings, name, default)
def collected():
    from django.core.files.storage import FileSystemStorage
    from django.utils.module_loading import import_string
    if "django.contrib.staticfiles" not in settings.INSTALLED_APPS or not settings.STATIC_ROOT or settings.DEBUG:
        return False
    if value("WHITENOISE_USE_FINDERS", False) or value("WHITENOISE_AUTOREFRESH", False):
        return False
    backend = import_string(settings.STORAGES["staticfiles"]["BACKEND"])
    return isinstance(backend, type) and issubclass(backend, FileSystemStorage)
answer["collected"] = collected()
print("\\n" + json.dumps(answer | {"opened": sorted(name for name in opened if os.path.isfile(name))}))
"""


def words(body: bytes, known: frozenset[str]) -> frozenset[str]:
    """Those of `known` that stand as a string of their own in the Python source `body`; docstrings do not count."""
    if not known.intersection(found.decode() for found in _WORD.findall(body)):
        return frozenset()
    try:
        module = ast.parse(body)
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    strings = (
        node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return known.intersection(strings)


def known_services(tree: Path) -> frozenset[str]:
    """The services that the botocore in `tree` has models of; empty without botocore."""
    data = tree / DIST_PACKAGES / "botocore/data"
    return frozenset(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else frozenset()


def services_of_distributions(tree: Path) -> frozenset[str]:
    """The services that installed code names which itself uses boto3 or botocore (as a storage backend does)."""
    known = known_services(tree)
    found: set[str] = set()
    top = tree / DIST_PACKAGES
    for file in top.rglob("*.py") if known else ():
        if file.relative_to(top).parts[0] not in ("boto3", "botocore", "s3transfer"):
            body = file.read_bytes()
            if b"boto" in body:
                found |= words(body, known)
    return frozenset(found)


def services(
    app: Path, declared: tuple[str, ...] | None, known: frozenset[str], named: frozenset[str]
) -> tuple[str, ...] | None:
    """The AWS services whose models stay; None for all of them, where nothing names one.

    `declared` is what the configuration says, if it does. Else a service counts as used where its name is a string of its own anywhere in
    the sources below `app` (so helpers and settings are seen, too), or is in `named`, by what is installed. Raises UsageError where the
    configuration names one that is not in `known`.
    """
    if not known:
        return None
    if declared is not None:
        for name in declared:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise UsageError(
                    f"[tool.lastgood.image] aws-services names {name!r}, which the locked botocore does not know"
                    f"{f' (did you mean {near[0]!r}?)' if near else ''}: mend it in pyproject.toml"
                )
        return tuple(sorted(declared))
    bodies = list(_sources(app))
    found = set(named)
    if any(b"boto" in body for body in bodies):
        found.update(*(words(body, known) for body in bodies))
    return tuple(sorted(found)) or None


def languages(
    application: Application, python: Contained, tree: Path, key: str, declared: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The languages whose catalogues stay, as `de-at`; None for all of them. `tree` is the whole tree, `key` names it.

    Those of the settings' LANGUAGES, and LANGUAGE_CODE. With USE_I18N off only the latter: Django then loads no catalogue. With USE_I18N on
    and Django's own LANGUAGES any language can be asked for, so all stay. So they do where the settings can't be imported, which the next
    steps of the build will say in full.
    """
    if declared is not None:
        return declared
    answer = _settings(application, python, tree, key)
    if answer is None:
        return None
    if not answer["i18n"]:
        return (answer["code"],)
    return None if answer["default"] else tuple(sorted({*answer["languages"], answer["code"]}))


def static_collected(application: Application, python: Contained, tree: Path, key: str, named: bool) -> bool:
    """Whether the static files of Django's own applications are of no use where they were installed.

    By the settings as the build sees them: collected into STATIC_ROOT on a file system, DEBUG and WhiteNoise's finders off. And nothing
    asks the finders: `named` says whether what is installed does, the project's own sources are read here.
    """
    answer = None if named else _settings(application, python, tree, key)
    if answer is None or not answer["collected"]:
        return False
    return not any(asks_finders(body) for body in _sources(application.folder))


def _sources(app: Path) -> Iterator[bytes]:
    """The Python sources below `app`, as git knows them."""
    for name in commit.files(app):
        if name.endswith(".py"):
            yield (app / name).read_bytes()


def asks_finders(body: bytes) -> bool:
    """Whether Python source mentions the finders of django.contrib.staticfiles."""
    return b"staticfiles" in body and b"finders" in body.replace(b"WHITENOISE_USE_FINDERS", b"")


def finders_of_distributions(tree: Path) -> bool:
    """Whether installed code other than Django's and WhiteNoise's (which do when the settings say so) mentions the finders."""
    top = tree / DIST_PACKAGES
    files = (file for file in top.rglob("*.py") if file.relative_to(top).parts[0] not in ("django", "whitenoise"))
    return any(asks_finders(file.read_bytes()) for file in files)


def _settings(application: Application, python: Contained, tree: Path, key: str) -> dict[str, Any] | None:
    """What the settings say; from the cache as long as the files that they read are the same. None where they can't be imported."""
    if not (tree / DIST_PACKAGES / "django/conf").is_dir():
        return None
    app = application.folder
    facts = [_ASK, key, str(app), application.settings, sorted(application.variables.items())]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    file = store.cache() / "settings" / f"{name}.json"
    try:
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if known["seen"] == _hashes(app, known["seen"]):
            return known
    except (OSError, ValueError, KeyError):
        pass
    found = _asked(application, python, tree)
    if found is not None:
        found["seen"] = _hashes(app, found.pop("opened"))
        file.parent.mkdir(parents=True, exist_ok=True)
        with store.replacing(file) as part:
            part.write_text(json.dumps(found), encoding="utf-8")
    return found


def _hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names if (folder / name).is_file()
    }


def _asked(application: Application, python: Contained, tree: Path) -> dict[str, Any] | None:
    # Settings may write when they are imported: they run in a copy, which the next build removes where this one is killed.
    with store.workspace(store.cache() / "work", f"{application.name}-") as work:
        copy = work / "app"
        for name in commit.files(application.folder):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(application.folder / name, copy / name)
        environment = application.environment(copy)
        packages = tree / DIST_PACKAGES
        done = python.run(_ASK, environment=environment, folder=work, cwd=copy, packages=packages)
    if done.returncode:
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
