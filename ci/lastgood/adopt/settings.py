"""What Django's settings say, read and never run: which module, what it imports, and the variables that it has no default for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lastgood.adopt.found import Variable
from lastgood.adopt.tree import Tree

# Better first. `local`, `dev` and `test` are nobody's production.
PRODUCTION = ("production", "prod", "live", "deploy", "deployment", "heroku", "aws", "docker")
_CASTS = {
    "int",
    "bool",
    "float",
    "str",
    "list",
    "tuple",
    "dict",
    "json",
    "url",
    "db",
    "cache",
    "email",
    "search_url",
    "path",
}
_URLS = {"db": "DATABASE_URL", "db_url": "DATABASE_URL", "cache": "CACHE_URL", "cache_url": "CACHE_URL", "email": "EMAIL_URL",
         "email_url": "EMAIL_URL", "dj_db_url": "DATABASE_URL", "dj_email_url": "EMAIL_URL", "dj_cache_url": "CACHE_URL"}  # fmt: skip
_PREFIXED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass
class Modules:
    """The files that settings are made of, read once: {path: its tree}. Values are literals by name, the last one wins."""

    tree: Tree
    app: str
    files: dict[str, ast.Module] = field(default_factory=dict)

    def path(self, module: str) -> str:
        """The file of a dotted module below the app folder; empty where there is none."""
        top = "" if self.app == "." else f"{self.app}/"
        base = top + module.replace(".", "/")
        return next((one for one in (f"{base}.py", f"{base}/__init__.py") if one in self.tree), "")

    def read(self, module: str) -> None:
        """Reads a module, and all of the project that it imports with a star or by name."""
        path = self.path(module)
        if not path or path in self.files:
            return
        try:
            body = ast.parse(self.tree.text(path))
        except (SyntaxError, ValueError, RecursionError):
            return
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        self.files[path] = body
        for node in ast.walk(body):
            if isinstance(node, ast.ImportFrom):
                for one in _imported(node, package):
                    self.read(one)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self.read(alias.name)

    def values(self, name: str) -> Iterator[tuple[str, ast.expr]]:
        """Every value that is assigned to a name in a module, with its `path:line`; those of the first module first."""
        for path, body in self.files.items():
            for node in ordered(body):
                if isinstance(node, ast.Assign):
                    targets, value = node.targets, node.value
                elif isinstance(node, ast.AnnAssign) and node.value:
                    targets, value = [node.target], node.value
                else:
                    continue
                if any(isinstance(one, ast.Name) and one.id == name for one in targets):
                    yield f"{path}:{node.lineno}", value

    def literal(self, name: str) -> str:
        """The string that a setting is, or nothing."""
        for _, value in self.values(name):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
        return ""


def ordered(body: ast.Module) -> list[ast.AST]:
    """All nodes of a module in the order of its lines."""
    return sorted(ast.walk(body), key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))


def _imported(node: ast.ImportFrom, package: str) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        parts = parts[: len(parts) - node.level + 1]
        base = ".".join([*parts, *([node.module] if node.module else [])])
    if base:
        yield base
    yield from (f"{base}.{alias.name}".strip(".") for alias in node.names if alias.name != "*")


def named(source: str) -> str:
    """The settings' module that a manage.py or wsgi.py names: what stands beside DJANGO_SETTINGS_MODULE."""
    try:
        body = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(body):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            values = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            values = [node.targets[0].slice, node.value]
        texts = [one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if len(texts) > 1 and texts[0] == "DJANGO_SETTINGS_MODULE":
            return texts[1]
    return ""


def choose(tree: Tree, app: str, manage: str) -> tuple[str, str]:
    """The settings' module of production and where that is said; empty where there is none."""
    modules = Modules(tree, app)
    first = named(tree.text(manage))
    said = [(first, manage)]
    top = "" if app == "." else f"{app}/"
    said += [(named(tree.text(path)), path) for path in tree.called("wsgi.py", "asgi.py") if path.startswith(top)]
    for path in tree.called(
        "Procfile", "Dockerfile", "docker-compose.yml", "compose.yml", "docker-compose.production.yml", "app.json"
    ):
        found = re.search(r"DJANGO_SETTINGS_MODULE[\"']?\s*[:= ]\s*[\"']?([A-Za-z_][\w.]*)", tree.text(path))
        if found:
            said.append((found[1], path))
    there = [(module, origin) for module, origin in said if module and modules.path(module)]
    live = [one for one in there if _rank(one[0]) < len(PRODUCTION)]
    if live:
        return min(live, key=lambda one: _rank(one[0]))
    for module, _ in there[:1]:
        variants = [(one, path) for one, path in _beside(tree, modules, module) if _rank(one) < len(PRODUCTION)]
        if variants:
            return min(variants, key=lambda one: _rank(one[0]))
    return there[0] if there else ("", "")


def _beside(tree: Tree, modules: Modules, module: str) -> Iterator[tuple[str, str]]:
    """The modules beside one, and those of a package of settings."""
    path = modules.path(module)
    inside = path.endswith("/__init__.py")
    folder = PurePosixPath(path).parent.as_posix()
    package = module if inside else module.rpartition(".")[0]
    for one in tree.below(folder, ".py"):
        stem = PurePosixPath(one)
        if stem.parent.as_posix() == folder and stem.stem != "__init__":
            yield (f"{package}.{stem.stem}" if package else stem.stem), one


def _rank(module: str) -> int:
    last = module.rpartition(".")[2].lower()
    for number, word in enumerate(PRODUCTION):
        if re.fullmatch(rf"(settings_)?{word}(_settings)?", last):
            return number
    return len(PRODUCTION)


def variables(modules: Modules) -> Iterator[Variable]:
    """The variables that are read and have no default: os.environ["X"], env("X") (django-environ, environs), config("X") (decouple)."""
    seen: set[str] = set()
    for path, body in modules.files.items():
        reader = _Reader(body)
        for node in ordered(body):
            for name, kind in reader.read(node):
                if name not in seen:
                    seen.add(name)
                    yield Variable(name, kind, f"{path}:{getattr(node, 'lineno', 0)}")


class _Reader:
    """How one module reads its environment."""

    def __init__(self, body: ast.Module) -> None:
        self._environs = "environs" in {one for node in ast.walk(body) for one in _froms(node)}
        self._decouple = {"config"} if "decouple" in {one for node in ast.walk(body) for one in _froms(node)} else set()
        self._known: set[str] = set()
        self._casts: dict[int, str] = {}
        for node in ast.walk(body):
            if isinstance(node, ast.Call):
                if ast.unparse(node.func).rpartition(".")[2] in ("Env", "FileAwareEnv"):
                    self._known |= {one.arg for one in node.keywords if one.arg and isinstance(one.value, ast.Tuple)}
                if isinstance(node.func, ast.Name) and node.func.id in ("int", "float", "bool", "Path") and node.args:
                    self._casts[id(node.args[0])] = node.func.id.lower()
        # A variable that is looked for before it is read has a default in its own way: `if "X" in os.environ`.
        for node in ast.walk(body):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and "environ" in ast.unparse(node):
                self._known.add(str(node.left.value))

    def read(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """(name, kind) of what one node reads."""
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            if ast.unparse(node.value) in ("os.environ", "environ", "env") and (name := _string(node.slice)):
                yield from self._unless_known(name, self._casts.get(id(node), "str"))
        elif isinstance(node, ast.Call):
            yield from self._call(node)

    def _call(self, node: ast.Call) -> Iterator[tuple[str, str]]:
        where, _, method = ast.unparse(node.func).rpartition(".")
        given = {one.arg for one in node.keywords}
        kind = next((ast.unparse(one.value) for one in node.keywords if one.arg == "cast"), "str")
        first = _string(node.args[0]) if node.args else next(
            (_string(one.value) for one in node.keywords if one.arg in ("var", "name")), ""
        )  # fmt: skip
        if "default" in given:
            return
        if where == "" and method in self._decouple:
            if first and len(node.args) == 1:
                yield from self._unless_known(first, self._casts.get(id(node), kind))
        elif where == "" and method in ("env", "environ"):
            if first and (len(node.args) == 1 or not self._environs):
                casts = node.args[1:2]
                yield from self._unless_known(
                    first, ast.unparse(casts[0]) if casts else self._casts.get(id(node), kind)
                )
        elif where in ("env", "environ") and (method in _CASTS or method in _URLS):
            name = first or _URLS.get(method, "")
            if name and len(node.args) < 2:
                yield from self._unless_known(name, "url" if method in _URLS else method)

    def _unless_known(self, name: str, kind: str) -> Iterator[tuple[str, str]]:
        if name not in self._known and _PREFIXED.fullmatch(name):
            yield name, kind


def _froms(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        yield (node.module or "").split(".")[0]
    elif isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)


def _string(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
