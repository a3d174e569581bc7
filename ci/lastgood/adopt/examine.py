"""Reads a repository and runs nothing of it: what kind of Django project this is, and what could not be known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from lastgood.adopt import natives, needs, processes, settings
from lastgood.adopt.found import Found, Node, Process
from lastgood.adopt.tree import Tree
from lastgood.errors import UsageError
from lastgood.lock import sources
from lastgood.python import required
from lastgood.python.merge import normalised

_NAME = r"(?=.{2,40}$)[a-z][a-z0-9]*(-[a-z0-9]+)*"
_ENGINES = {
    "postgresql": "PostgreSQL",
    "postgis": "PostgreSQL",
    "mysql": "MySQL",
    "sqlite3": "SQLite",
    "oracle": "Oracle",
    "spatialite": "SQLite",
}
_DRIVERS = {
    "psycopg": "PostgreSQL",
    "psycopg2": "PostgreSQL",
    "psycopg2-binary": "PostgreSQL",
    "mysqlclient": "MySQL",
    "pymysql": "MySQL",
}
_MANAGERS = (
    ("package-lock.json", "npm", "npm ci"),
    ("yarn.lock", "yarn", "yarn install --frozen-lockfile"),
    ("pnpm-lock.yaml", "pnpm", "pnpm install --frozen-lockfile"),
)
# Where a bundler's configuration, or the script that calls it, says that its output goes.
_OUTPUTS = (
    r"outDir\s*:\s*[\"'`]([\w./-]+)|--out(?:file|dir|put|-dir)[= ]([\w./-]+)|(?:^|\s)-o\s+([\w./-]+)"
    r"|\bpath\s*:\s*path\.(?:resolve|join)\(__dirname,\s*[\"']([\w./-]+)"
)


def find(root: Path) -> Found:
    """What the repository below `root` says. Raises UsageError where there is no manage.py or no settings' module."""
    tree = Tree(root)
    manage = _manage(tree)
    app = PurePosixPath(manage).parent.as_posix()
    module, origin = settings.choose(tree, app, manage)
    if not module:
        raise UsageError(
            f"{root / manage} names no settings' module that is there (DJANGO_SETTINGS_MODULE): say which, as `settings` in "
            "[tool.lastgood] (README, “adopt it”)"
        )
    modules = settings.Modules(tree, app)
    modules.read(module)
    wanted = needs.find(tree)
    doubts = list(wanted.doubts)
    names = {normalised(Requirement(one).name) for one in wanted.requirements}
    running, said = processes.find(tree, app)
    doubts += said
    texts = [tree.text(path) for path in modules.files]
    celery = processes.celery(tree, app, "django-celery-beat" in names, iter(texts))
    server, entry = _server(modules, running, names)
    running = _completed(running, server, entry, celery)
    also = () if server in names or not wanted.source else (server,)
    database = _database(texts, names)
    doubts += _doubts(tree, modules, manage, module, texts, database, names, wanted.source)
    return Found(
        name=_name(tree, root),
        app=app,
        settings=module,
        settings_origin=origin,
        server=server,
        module=entry,
        processes=tuple(running),
        source=wanted.source,
        lock=wanted.lock,
        take_over=wanted.take_over,
        also=also,
        groups=(),
        requirements=tuple(sorted(names)),
        database=database,
        celery=celery.module if celery else "",
        native=tuple(natives.find([*wanted.requirements, *also], geo="django.contrib.gis" in "".join(texts))),
        node=_node(tree),
        variables=tuple(settings.variables(modules)),
        doubts=tuple(doubts),
    )


def _manage(tree: Tree) -> str:
    found = tree.called("manage.py")
    found = [one for one in found if not re.search(r"(^|/)(tests?|docs|examples?|demo|sandbox)/", one)] or found
    if not found:
        raise UsageError(
            f"there is no manage.py in {tree.root} or below it: run `lastgood init` in the folder of a Django project"
        )
    near = [one for one in found if one.count("/") == found[0].count("/")]
    if len(near) > 1:
        raise UsageError(
            f"{tree.root} holds several projects ({', '.join(near[:4])}): run `lastgood init --project FOLDER` for each, in a folder that "
            "holds one of them"
        )
    return found[0]


def _name(tree: Tree, root: Path) -> str:
    """A name for registry and stacks: the project's own, else the folder's."""
    own = str(needs.parsed(tree.text("pyproject.toml")).get("project", {}).get("name", ""))
    for one in (own, root.resolve().name):
        name = re.sub(r"[^a-z0-9]+", "-", one.lower()).strip("-")[:40].strip("-")
        if re.fullmatch(_NAME, name):
            return name
    return "project"


def _server(modules: settings.Modules, running: Iterable[Process], names: set[str]) -> tuple[str, str]:
    """What serves, and the module that it serves: by the web process, else by what is required and the settings say."""
    for one in running:
        server, module = processes.server(one.command)
        if server and one.name == "web":
            return server, module or _entry(modules, server)
    server = next((one for one in processes.SERVERS if one in names), "gunicorn")
    return server, _entry(modules, server)


def _entry(modules: settings.Modules, server: str) -> str:
    asynchronous = server in ("uvicorn", "daphne", "hypercorn")
    named = modules.literal("ASGI_APPLICATION" if asynchronous else "WSGI_APPLICATION")
    if named:
        module, _, attribute = named.rpartition(".")
        return f"{module}:{attribute}"
    kind = "asgi" if asynchronous else "wsgi"
    top = "" if modules.app == "." else f"{modules.app}/"
    path = next((one for one in modules.tree.called(f"{kind}.py") if one.startswith(top)), "")
    return f"{path.removeprefix(top).removesuffix('.py').replace('/', '.')}:application" if path else ""


def _completed(running: list[Process], server: str, entry: str, celery: processes.Celery | None) -> list[Process]:
    """With a web process, and with Celery's, where its app is there and nothing says how it is run."""
    found = list(running)
    names = {one.name for one in found}
    if "web" not in names and entry:
        commands = {
            "gunicorn": f"gunicorn {entry} --bind 0.0.0.0:8000", "uvicorn": f"uvicorn {entry} --host 0.0.0.0 --port 8000",
            "daphne": f"daphne -b 0.0.0.0 -p 8000 {entry}", "hypercorn": f"hypercorn {entry} --bind 0.0.0.0:8000",
            "granian": f"granian --interface wsgi --host 0.0.0.0 --port 8000 {entry}",
            "uwsgi": f"uwsgi --http-socket 0.0.0.0:8000 --module {entry}",
        }  # fmt: skip
        found.insert(0, Process("web", commands[server], "the settings"))
    if celery and not any("celery" in one.command for one in found):
        found.append(Process("worker", f"celery -A {celery.module} worker", celery.origin))
        if celery.beat:
            found.append(Process("beat", f"celery -A {celery.module} beat", celery.origin, single=True))
    return sorted(found, key=lambda one: (one.name != "web", one.name))


def _database(texts: Iterable[str], names: set[str]) -> str:
    driver = next((_DRIVERS[one] for one in _DRIVERS if one in names), "")
    body = "\n".join(texts)
    engine = next((_ENGINES[one] for one in re.findall(r"backends\.(\w+)[\"']", body) if one in _ENGINES), "")
    by_url = re.search(r"dj_database_url|env\.db|\.dj_db_url|DATABASE_URL", body)
    return driver or ("PostgreSQL" if by_url and engine != "SQLite" else engine)


def _doubts(
    tree: Tree,
    modules: settings.Modules,
    manage: str,
    module: str,
    texts: list[str],
    database: str,
    names: set[str],
    source: str,
) -> list[str]:
    said = []
    refused = required.refusal(tree.root / "pyproject.toml")
    if refused:
        said.append(refused)
    choices = _choices(tree) if source in (*sources.LOCKS, "pyproject.toml") else []
    if choices:
        said.append(
            f"pyproject.toml has {', '.join(choices)}: name those that the image needs as extras or groups in [tool.lastgood.lock]"
        )
    first = settings.named(tree.text(manage))
    if first and first != module:
        said.append(
            f"{manage} names {first}, and {module} is taken for production: change `settings` if another one is"
        )
    if not any(True for _ in modules.values("STATIC_ROOT")):
        said.append(
            'the settings have no STATIC_ROOT: no static file is collected until it is there, as BASE_DIR / "staticfiles"'
        )
    if not any(True for _ in modules.values("SECRET_KEY")):
        said.append(f'{module} has no SECRET_KEY: Django starts only with one, as os.environ["SECRET_KEY"]')
    for origin, value in modules.values("DEBUG"):
        if getattr(value, "value", None) is True:
            said.append(
                f"{origin} says DEBUG = True: an image is refused with it; let a variable decide, or name production's settings"
            )
        break
    if database == "SQLite":
        said.append(
            "the database is SQLite, a file that is lost with each task: let DATABASES read DATABASE_URL before the first deploy"
        )
    if "MySQL" in database or database == "Oracle":
        said.append(
            f"the database is {database}: releases go both ways on PostgreSQL; docs/migrations.md says what holds elsewhere"
        )
    if "pydantic-settings" in names or any("pydantic_settings" in text for text in texts):
        said.append(
            "settings by pydantic-settings name their variables as fields, which are not read: add what has no default by hand"
        )
    if tree.called(".env.example", ".env.sample", "env.example"):
        said.append(
            f"{tree.called('.env.example', '.env.sample', 'env.example')[0]} may name variables that have a default and need a value"
        )
    return said


def _choices(tree: Tree) -> list[str]:
    """The extras and groups that pyproject.toml declares, but those that only developers need."""
    document = needs.parsed(tree.text("pyproject.toml"))
    poetry = document.get("tool", {}).get("poetry", {})
    tables = (
        ("extra", document.get("project", {}).get("optional-dependencies", {}) or poetry.get("extras", {})),
        ("group", document.get("dependency-groups", {}) or poetry.get("group", {})),
    )
    return [
        f"the {kind} {name}"
        for kind, table in tables
        for name in table
        if not re.search(r"dev|test|lint|doc|typing|types|ci$|all$", str(name), re.IGNORECASE)
    ]


def _node(tree: Tree) -> Node | None:
    """The nearest package.json that has a build."""
    for path in tree.called("package.json"):
        try:
            scripts = json.loads(tree.text(path)).get("scripts", {})
        except (ValueError, AttributeError):
            continue
        names = [one for one in ("build:production", "build:prod", "build", "production") if one in scripts]
        if not names:
            continue
        folder = PurePosixPath(path).parent.as_posix()
        beside = [one for one in tree.names if PurePosixPath(one).parent.as_posix() == folder]
        inside = {PurePosixPath(one).name for one in beside}
        manager, install = next(
            ((tool, how) for file, tool, how in _MANAGERS if file in inside), ("npm", "npm install")
        )
        run = f"{install} && {manager} run {names[0]}"
        configured = " ".join(
            [
                str(scripts[names[0]]),
                *(
                    tree.text(one)
                    for one in inside
                    if re.search(r"(webpack|vite|rollup|esbuild)[\w.-]*\.[cm]?[jt]s$", one)
                ),
            ]
        )
        outputs = sorted({next(filter(None, one)) for one in re.findall(_OUTPUTS, configured)})
        places = tuple(
            f"{folder}/{one.removeprefix('./')}".removeprefix("./")
            for one in outputs
            if not one.startswith(("/", "../"))
        )
        places = tuple(
            one for one in places if not tree.below(one, "") and one not in tree
        )  # what git has is no output
        return Node(folder, (run if folder == "." else f"cd {folder} && {run}",), places)
    return None
