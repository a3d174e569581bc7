"""Static files and the manifest, made by the project's own code in the image's Python, again only when something that it read has changed.

Both are made in one process, which an audit hook watches: every file of the project that it opens, imports or lists is noted. The
result is kept with the hashes of those files, below a key of everything else that it can depend on:

- the names of all the project's files (so that a new migration, or a file that was looked for and is there now, counts),
- the environment, which we give it whole; the settings module; the dependencies, the base, the migrator and this recipe.

What an audit hook does not see: the size and time of a file that is only looked at (every copy has one time), and the clock. A program
that it starts could read anything, and so could an answer from the network change: then the result is not kept at all.
A file outside the project that is neither the image's nor the kernel's counts by its content, as one inside; in a container there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lastgood import bundle
from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image.application import Application
from lastgood.python.contained import Contained
from lastgood.python.interpreter import DIST_PACKAGES
from lastgood.report.text import masked

RECIPE = 4
_KEPT = 32  # results with the same names and dependencies; the oldest go first

# Runs with the project on its path. argv: where the answer goes. It says what was done last, so that an error can be placed.
_PROGRAM = """
import json, os, sys
seen, loose, doing = set(), set(), "collecting static files"
_LOOSE = ("socket.connect", "subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "os.spawn")
def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "sqlite3.connect", "ctypes.dlopen", "shutil.copyfile"):
        path = arguments[0]
    elif event == "import":
        path = arguments[1]
    elif event in _LOOSE:
        loose.add(event)
        return
    else:
        return
    if isinstance(path, (str, bytes, os.PathLike)):
        seen.add(os.path.abspath(os.fsdecode(path)))
sys.addaudithook(watch)
def answer(**facts):
    with open(sys.argv[1], "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump({"seen": sorted(seen), "loose": sorted(loose)} | facts, file)
try:
    import django
    from django.conf import settings
    try:
        django.setup()
    except Exception as error:
        from django.db import Error
        if isinstance(error, Error):
            from migrator.errors import UsageError, not_loaded
            doing = "loading the apps"
            raise UsageError(not_loaded(os.environ["DJANGO_SETTINGS_MODULE"], error)) from error
        raise
    from django.apps import apps
    target = os.path.abspath(settings.STATIC_ROOT) if settings.STATIC_ROOT else ""
    if apps.is_installed("django.contrib.staticfiles") and target.startswith(os.path.dirname(os.getcwd()) + "/"):
        from django.core.management import call_command
        call_command("collectstatic", interactive=False, verbosity=0)
    doing = "making the manifest"
    said = {"debug": bool(settings.DEBUG), "engine": str(settings.DATABASES.get("default", {}).get("ENGINE", ""))}
    from migrator import manifest
    text = manifest.compute("build", "commit").dumps()
except BaseException as error:
    import traceback
    own = type(error).__module__.startswith("migrator.")
    said = str(error) if own else "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    answer(failed=doing, cause=said)
    sys.exit(1)
answer(target=target, manifest=text, settings=said)
"""


@dataclass(frozen=True)
class Made:
    """What the project's code made. `static` is the entry of the cache that holds the tree, `place` where it belongs in the image.

    `manifest` names neither build nor commit yet. `said` is what the settings say of `debug` and the database's `engine`.
    """

    place: str
    static: str
    manifest: str
    said: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What runs: the files of `application` (path below its folder → sha256), on the dependencies in `tree`, by `python`.

    `dependencies` and `migrator` are the keys of what the tree, the Python and the migrator are made from.
    """

    application: Application
    files: Mapping[str, str]
    python: Contained
    tree: Path
    dependencies: str
    migrator: str


def manifest(made: Made, build: str, commit: str) -> bytes:
    """The manifest of that build and commit."""
    data = json.loads(made.manifest) | {"build": build, "commit": commit}
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def make(work: Work) -> Made:
    """What was kept from the same inputs, else what the project's code makes now. Raises UsageError with its error."""
    folder = store.cache() / "traces" / _key(work)[:32]
    found = _kept(folder, work)
    if found:
        return found
    with store.workspace(store.cache() / "work", f"{work.application.name}-run-") as place:
        # Settings may write when they are imported, and static files may go below the app: nothing of that may get into the image.
        copy = place / "app"
        shutil.copytree(work.application.folder, copy, symlinks=True)
        for path in copy.rglob("*"):
            os.utime(path, (0, 0), follow_symlinks=False)
        facts = _run(work, place)
        made = _static(work, place, facts)
        if not facts["loose"]:
            _keep(folder, work, place, facts["seen"], made)
    return made


def _key(work: Work) -> str:
    values = [
        RECIPE,
        _PROGRAM,
        sorted(work.files),
        work.dependencies,
        work.migrator,
        work.application.settings,
        sorted(work.application.variables.items()),
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _kept(folder: Path, work: Work) -> Made | None:
    try:
        results = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    except FileNotFoundError:
        return None
    for file in results:
        try:
            data = json.loads(file.read_bytes())
            made = Made(**data["made"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        static = store.cache() / "static" / made.static
        same = static.is_dir() and all(work.files.get(name) == digest for name, digest in data["inside"].items())
        if same and all(_hash(Path(name)) == digest for name, digest in data["outside"].items()):
            for used in (file, folder, static):
                store.touch(used)
            return made
    return None


def _keep(folder: Path, work: Work, place: Path, seen: list[str], made: Made) -> None:
    inside: dict[str, str] = {}
    outside: dict[str, str] = {}
    ours = (
        place,
        work.python.python.root.parent,
        work.tree.parent,
        bundle.path("docker"),
        *map(Path, ("/proc", "/sys", "/dev")),
    )
    top = f"{place}/app/"
    for path in {*seen, *map(os.path.realpath, seen)}:  # of a link, both what it says and what it leads to count
        name = path.removeprefix(top)
        if path.startswith(top) and name in work.files:
            inside[name] = work.files[name]
        elif work.python.doubts and not any(Path(path).is_relative_to(one) for one in ours):
            outside[path] = _hash(Path(path))
    body = json.dumps({"inside": inside, "outside": outside, "made": asdict(made)}).encode()
    name = hashlib.sha256(json.dumps([inside, outside]).encode()).hexdigest()[:32]
    with store.room(folder):
        store.write(folder / f"{name}.json", body)
    for old in sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)[_KEPT:]:
        old.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    try:
        if path.is_dir():
            return hashlib.sha256(b"\0".join(sorted(os.fsencode(one.name) for one in path.iterdir()))).hexdigest()
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _run(work: Work, place: Path) -> dict[str, list[str]]:
    file = place / "answer.json"
    app = place / "app"
    migrator = bundle.path("docker/migrator").parent
    environment = work.application.environment(app, migrator)
    done = work.python.run(
        _PROGRAM,
        [str(file)],
        environment=environment,
        folder=place,
        reads=[migrator],
        cwd=app,
        packages=work.tree / DIST_PACKAGES,
    )
    said = file.is_file() and not file.is_symlink()
    facts: dict[str, list[str]] = json.loads(file.read_text(encoding="utf-8")) if said else {}
    if done.returncode or "target" not in facts:
        lines = [line for line in (done.stderr + done.stdout).strip().splitlines() if line.strip()]
        doing = facts.get("failed", "collecting static files")
        last = str(facts.get("cause") or (lines.pop() if lines else "it said nothing"))
        # What stands before it names what it is about, as "Post-processing 'shop/style.css' failed!".
        cause = masked(" ".join([*lines[:3], last])).replace(f"{place}/", "")
        raise UsageError(
            f"{doing} failed in the image's Python with {work.application.settings}: {cause}; mend it, or set what it needs while building "
            "in [tool.lastgood.image.environment]"
        )
    return facts


def _static(work: Work, place: Path, facts: Mapping[str, object]) -> Made:
    target = str(facts["target"])
    text = str(facts["manifest"])
    # What was left there is of the project's making: a link would have us read what only we can.
    if target and not (Path(target).is_relative_to(place) and os.path.realpath(target) == target):
        raise UsageError(
            f"STATIC_ROOT is {target}, outside the project: derive it from BASE_DIR (as BASE_DIR.parent / 'static'), so that it is the "
            "same place in the image"
        )
    tree = Path(target) if target else place / "none"
    tree.mkdir(parents=True, exist_ok=True)
    seen = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or path.is_file():
            body = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            seen.update(os.fsencode(path.relative_to(tree)) + b"\0" + hashlib.sha256(body).digest())
    where = Path(target).relative_to(place).as_posix() if target else "static"
    name = hashlib.sha256(f"{where}\0{seen.hexdigest()}".encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        shutil.move(tree, folder / "tree")

    store.entry(store.cache() / "static" / name, make)
    settings = facts.get("settings")
    said = {key: settings.get(key) for key in ("debug", "engine")} if isinstance(settings, dict) else {}
    return Made(place=where, static=name, manifest=text, said=said)
