"""What a project has that this migrator would pass over: refused where it stands, for "in step" must mean all of it.

The migrator moves one schema of one database by the files of migrations. A project may do more: an engine that goes from schema to schema
(a tenant each), a `migrate` of its own, models that a router keeps in another database, models without any migration. What a person says in
the settings is done otherwise, with the reason, is passed over: `LASTGOOD_PASSES_OVER = {"migrate": "it only prints a banner first"}`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pkgutil import iter_modules
from types import CodeType, ModuleType
from typing import Any

from ..errors import UsageError, cause

SETTING = "LASTGOOD_PASSES_OVER"
DEFAULT = "default"  # the alias that a release moves
SWITCHES = ("set_schema", "set_tenant", "set_schema_to_public", "set_current_schema", "activate_schema")
CURSORS = (
    "_cursor",
    "cursor",
    "create_cursor",
    "chunked_cursor",
    "_prepare_cursor",
    "make_cursor",
    "make_debug_cursor",
)
PLAIN = ("help", "autodetector")  # what Django itself says a project's `migrate` may be made for
MANY = ("schema", "tenant", "shard")


def check(alias: str | None = None) -> None:
    """Raise UsageError for what the project has and the migrator would not move; `alias`: the database that the caller has named."""
    from django.conf import settings

    passed = getattr(settings, SETTING, {})
    if not isinstance(passed, dict) or not all(isinstance(why, str) and why.strip() for why in passed.values()):
        raise UsageError(f'{SETTING} in the settings must be like {{"legacy": "why nobody misses it"}}')
    for name, sentence in _found(alias):
        if name not in passed:
            raise UsageError(f"{sentence}, or say in the settings why that is right: {SETTING} = {{{name!r}: 'why'}}")


def _found(alias: str | None) -> Iterator[tuple[str, str]]:
    yield from _engine(alias or DEFAULT)
    yield from _commands()
    if alias is None:
        yield from _databases()
    yield from _without_migrations()


def _engine(alias: str) -> Iterator[tuple[str, str]]:
    from django.conf import settings
    from django.db.utils import load_backend

    engine = settings.DATABASES.get(alias, {}).get("ENGINE") or "django.db.backends.dummy"
    try:
        wrapper = load_backend(engine).DatabaseWrapper
    except Exception:  # what is missing to talk to a database is said by who talks to it
        return
    if _switches(wrapper):
        what = f"the engine {engine} goes from schema to schema of one database, and this migrator moves one schema: the others would stay"
        yield (
            engine,
            f"{what} as they are; migrate such a project by the command that its package brings, without lastgood",
        )


def _switches(wrapper: type) -> bool:
    for one in wrapper.__mro__:
        if one.__module__.startswith("django.") or one is object:
            continue
        if any(name in vars(one) for name in SWITCHES):
            return True
        if any(name in vars(one) for name in CURSORS) and _mentions(sys.modules[one.__module__], "search_path"):
            return True
    return False


def _commands() -> Iterator[tuple[str, str]]:
    from django.core.management import get_commands

    for name, app in sorted(get_commands().items()):
        if app == "django.core" or "migrat" not in name:
            continue
        if _other_than_django(app) if name == "migrate" else _moves(app, name):
            what = f"the command `{name}` of {app} is not Django's, and this migrator runs neither: what it does beyond Django's `migrate`"
            yield name, f"{what} would be left out; take it out of INSTALLED_APPS"


def _other_than_django(app: Any) -> bool:
    from django.core.management.commands.migrate import Command

    found = _load(app, "migrate")
    if not issubclass(found, Command):
        return True
    own = [one for one in found.__mro__ if not one.__module__.startswith("django.") and one is not object]
    return any(name not in PLAIN and not name.startswith("__") for one in own for name in vars(one))


def _moves(app: Any, name: str) -> bool:
    """Return whether a command takes migrations to several schemas, and does not just sound so."""
    from django.core.management.commands.migrate import Command

    found = _load(app, name)
    words = ("MigrationExecutor", "MigrateCommand", "migrate")
    if found.__module__.startswith("django."):
        return False
    module = sys.modules[found.__module__]
    if not issubclass(found, Command) and not any(_mentions(module, one, whole=True) for one in words):
        return False
    return any(word in name for word in MANY) or _mentions(module, "search_path")


def _load(app: Any, name: str) -> type:
    from django.core.management import load_command_class

    try:
        return type(load_command_class(app, name) if isinstance(app, str) else app)
    except Exception as error:  # whatever the project's own module raises
        raise UsageError(f"the command `{name}` of {app} does not load: {cause(error)}") from error


def _databases() -> Iterator[tuple[str, str]]:
    from django.apps import apps
    from django.conf import settings

    if len(settings.DATABASES) < 2 or not settings.DATABASE_ROUTERS:
        return
    elsewhere: dict[str, str] = {}
    for model in apps.get_models():
        if _made(model) and (home := _home(model)):
            elsewhere.setdefault(home, model._meta.label)
    for home, label in elsewhere.items():
        what = f"the routers keep {label} in the database {home}, and a release moves {DEFAULT} alone"
        yield home, f"{what}: run `python -m migrator forward --database {home}` yourself"


def _home(model: Any) -> str | None:
    """Return the database beside the default one in which the routers keep `model`."""
    from django.conf import settings
    from django.db import router

    try:
        there = [one for one in settings.DATABASES if router.allow_migrate_model(one, model)]
        writes = router.db_for_write(model)
    except Exception:  # a router that wants a request, or a database: who runs migrations will hear of it
        return None
    if there and DEFAULT not in there:
        return str(there[0])
    return str(writes) if writes != DEFAULT and writes in there else None


def _without_migrations() -> Iterator[tuple[str, str]]:
    from django.apps import apps
    from django.db.migrations.loader import MigrationLoader

    for app in apps.get_app_configs():
        model = next((one for one in app.get_models() if _made(one)), None)
        if model is None:
            continue
        name, _ = MigrationLoader.migrations_module(app.label)
        if name is None:
            why = f"MIGRATION_MODULES has None for the app {app.label}: take it out"
        elif not _files(name):
            why = f"the app {app.label} has no migrations: make them (`manage.py makemigrations {app.label}`)"
        else:
            continue
        yield app.label, f"nobody would make the table of {model._meta.label}, for {why}"


def _files(name: str) -> bool:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return False
    if spec is None or spec.origin is None:  # Django takes no folder without __init__.py
        return False
    return any(one.name[0] not in "_~" for one in iter_modules(spec.submodule_search_locations))


def _made(model: Any) -> bool:
    """Return whether Django would make a table for `model`."""
    options = model._meta
    return bool(options.managed and not options.proxy and not options.swapped)


def _mentions(module: ModuleType, word: str, *, whole: bool = False) -> bool:
    """Return whether the code of a module names `word`, or has it in a text (`whole`: as the text); byte-code is enough."""
    codes = [code for value in vars(module).values() for code in _codes(value, module.__name__)]
    for code in codes:  # grows while it is walked
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
        texts = [one for one in (*code.co_consts, *code.co_names) if isinstance(one, str)]
        if any(word == one if whole else word in one.lower() for one in texts):
            return True
    return False


def _codes(value: Any, module: str) -> list[CodeType]:
    if getattr(value, "__module__", None) != module:
        return []
    inside = vars(value).values() if isinstance(value, type) else [value]
    return [one.__code__ for one in inside if hasattr(one, "__code__")]
