"""The proof that trimming took no code: whatever could be imported before can be imported after.

Every module of every distribution is imported by the image's own Python from the trimmed tree, and those that fail there from the whole
one: they must fail there, too. A module that needs configured Django gets settings with django.contrib's applications and those that the
distributions bring. Each distribution is imported in a process of its own: one that crashes, exits or hangs costs that module alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.python.contained import Contained
from lastgood.python.interpreter import DIST_PACKAGES

# Modules by distribution in the file that argv names, as JSON; lines of JSON [module, error or null] on standard output. The parent
# prepares Django once and forks for each distribution. A child that dies is followed by one that begins behind the module it died of.
_IMPORT = """
import faulthandler, importlib, io, json, os, signal, sys, warnings
warnings.simplefilter("ignore")
with open(sys.argv[1]) as file:
    work = json.load(file)
out = os.dup(1)
null = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(null, number)
sys.argv = ["python"]

def forked(function):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            function(write)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        body = file.read()
    _, status = os.waitpid(child, 0)
    return body, status

try:
    import sqlite3
    ENGINE = "sqlite3"
except ImportError:
    ENGINE = "dummy"

def configure(applications):
    from django.conf import settings
    settings.configure(
        SECRET_KEY="x", INSTALLED_APPS=applications, USE_TZ=True, ROOT_URLCONF="x", STATIC_URL="/static/", STATIC_ROOT="/x",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends." + ENGINE, "NAME": ":memory:"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    )
    import django
    django.setup()

CONTRIB = ["django.contrib." + name for name in (
    "admin", "admindocs", "auth", "contenttypes", "flatpages", "humanize", "messages", "postgres", "redirects", "sessions", "sitemaps",
    "sites", "staticfiles", "syndication")]

def works(applications):
    def attempt(write):
        try:
            signal.alarm(60)
            configure(applications)
            os.write(write, b"1")
        except BaseException:
            pass
    return forked(attempt)[0] == b"1"

if work["django"]:
    first = ["django.contrib.contenttypes", "django.contrib.auth"]
    applications = [*first, *(name for name in [*CONTRIB, *work["applications"]] if name not in first)]
    if not works(applications):
        wanted, applications = applications[2:], first
        for name in wanted:
            if works([*applications, name]):
                applications = [*applications, name]
    try:
        configure(applications)
    except BaseException:
        pass

def attempt(name):
    def late(*_):
        raise TimeoutError("it did not end within 30 s")
    signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    try:
        importlib.import_module(name)
        return None
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)

for modules in work["modules"]:
    position = 0
    while position < len(modules):
        def run(write, start=position):
            for name in modules[start:]:
                line = json.dumps([name, attempt(name)]).encode() + b"\\n"
                while line:
                    line = line[os.write(write, line):]
        body, status = forked(run)
        lines = body.splitlines()
        position += len(lines)
        if position < len(modules):
            lines.append(json.dumps([modules[position], f"the process ended (status {status})"]).encode())
            position += 1
        os.write(out, b"".join(line + b"\\n" for line in lines))
"""


def modules(names: Mapping[str, str]) -> dict[str, list[str]]:
    """{owner: modules that can be named in an import} of {path below dist-packages: owner}. `__main__` is left out: it runs a program."""
    found: dict[str, set[str]] = {}
    for path, owner in names.items():
        match = re.fullmatch(r"((?:[^\W\d]\w*/)*[^\W\d]\w*)(?:\.py|\.cpython-[\w-]+\.so|\.abi3\.so|\.so)", path)
        if match and "__pycache__" not in path and not path.startswith("bin/"):
            parts = match.group(1).split("/")
            if parts[-1] == "__init__":
                parts.pop()
            if parts and "__main__" not in parts:
                found.setdefault(owner, set()).add(".".join(parts))
    return {owner: sorted(of_it) for owner, of_it in sorted(found.items())}


def survey(tree: Path, python: Contained, by_owner: Mapping[str, list[str]]) -> dict[str, str | None]:
    """{module: None, or the error of importing it} by `python` from `tree`. The distributions are shared out over the cores."""
    count = max(1, os.cpu_count() or 1)
    shares: list[list[list[str]]] = [[] for _ in range(count)]
    # Half of a big distribution's modules cost more than half of the time: they are not split, the big ones begin first.
    for names in sorted(by_owner.values(), key=len, reverse=True):
        min(shares, key=lambda share: sum(map(len, share))).append(names)
    top = tree / DIST_PACKAGES
    applications = sorted(
        {
            name.rpartition(".")[0]
            for names in by_owner.values()
            for name in names
            if name.endswith((".apps", ".models"))
        }
    )
    applications = [name for name in applications if name and not name.startswith("django.")]

    def work(share: list[list[str]]) -> list[tuple[str, str | None]]:
        given = {"modules": share, "django": (top / "django").is_dir(), "applications": applications}
        with store.workspace(store.cache() / "work", "imports-") as home:
            (home / "given.json").write_text(json.dumps(given), encoding="utf-8")
            environment = {"TMPDIR": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
            done = python.run(_IMPORT, [str(home / "given.json")], environment=environment, folder=home, packages=top)
        if done.returncode:
            lines = (done.stderr.strip() or "it said nothing").splitlines()
            raise UsageError(f"the image's Python can't import what is installed: {lines[-1]}; see `lastgood doctor`")
        return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(count) as pool:
        try:
            answers = [*pool.map(work, [share for share in shares if share])]
        except BaseException:
            python.end()  # interrupted, we do not wait for them
            raise
    return {name: error for answer in answers for name, error in answer}


def prove(origin: Path, tree: Path, python: Contained, by_owner: Mapping[str, list[str]]) -> dict[str, str]:
    """Raises UsageError unless each module that `python` imports from `origin` can be imported from `tree`, what is left of it.

    Returns {module: error} of those that can be imported from neither.

    Only what fails in `tree` is tried in `origin`. That takes it out of the order it had among its distribution's modules: where it works
    there, the whole distribution decides.
    """
    after = survey(tree, python, by_owner)
    failed = _of(by_owner, {name for name, error in after.items() if error is not None})
    works = {name for name, error in (survey(origin, python, failed) if failed else {}).items() if error is None}
    suspects = {owner: by_owner[owner] for owner in _of(by_owner, works)}
    if suspects:
        check(survey(origin, python, suspects), after, by_owner)
    return {name: error for name, error in after.items() if error is not None}


def _of(by_owner: Mapping[str, list[str]], names: set[str]) -> dict[str, list[str]]:
    found = {owner: [name for name in of_it if name in names] for owner, of_it in by_owner.items()}
    return {owner: of_it for owner, of_it in found.items() if of_it}


def check(before: Mapping[str, str | None], after: Mapping[str, str | None], by_owner: Mapping[str, list[str]]) -> None:
    """Raises UsageError for the first module that could be imported before, and can't be after, with what to keep."""
    owners = {name: owner.removeprefix("python:") for owner, names in by_owner.items() for name in names}
    for name, error in sorted(after.items()):
        if error is None or before.get(name, "") is not None:
            continue
        wanted = re.search(rf"/{re.escape(DIST_PACKAGES)}/([^'\"]+)", error)
        advice = wanted.group(1) if wanted and "No such file" in error else owners[name]
        short = re.sub(rf"[^\s'\"]*/{re.escape(DIST_PACKAGES)}/", "", error.splitlines()[0])
        raise UsageError(
            f"{name} of {owners[name]} can't be imported once the image is trimmed ({short}): add {json.dumps(advice)} to keep in "
            "[tool.lastgood.image] and build again"
        )


# What a module says that wants a project's settings, which the proof does not have.
_UNCONFIGURED = re.compile(r"ImproperlyConfigured|AppRegistryNotReady|INSTALLED_APPS|SETTINGS")


def unimportable(failed: Mapping[str, str], by_owner: Mapping[str, list[str]]) -> list[str]:
    """A sentence for each distribution that can't be imported by its own name, of {module: error} of what fails."""
    said = []
    for owner, names in by_owner.items():
        broken = [
            name for name in names if "." not in name and name in failed and not _UNCONFIGURED.search(failed[name])
        ]
        if broken:
            error = re.sub(rf"[^\s'\"]*/{re.escape(DIST_PACKAGES)}/", "", failed[broken[0]].splitlines()[0])[:300]
            advice = (
                "add the Debian package that has the library to packages in [tool.lastgood.image]"
                if re.search(r"OSError|cannot (load|open)|\.so\b|librar", error)
                else "add what it asks for to requirements.in"
                if "ModuleNotFoundError" in error
                else "see whether your project imports it"
            )
            said.append(
                f"{broken[0]} of {owner.removeprefix('python:')} can't be imported in the image ({error}): {advice}"
            )
    return said


def missing(before: Mapping[str, str | None], names: Mapping[str, str]) -> list[str]:
    """Modules that could be imported before, and have no file among `names` (paths below dist-packages) now.

    For a platform whose modules this machine can't import: what the steps took is then proven on this machine's own platform.
    """
    there = {
        name
        for of_it in modules({path.removesuffix("c") if path.endswith(".pyc") else path: "" for path in names}).values()
        for name in of_it
    }
    return sorted(name for name, error in before.items() if error is None and name not in there)
