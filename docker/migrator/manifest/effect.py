"""What a migration does to a database, as a hash: the same for two files that differ only in what no database sees.

Of a field, what Django says is none of the database's business (`Field.non_db_attrs`: labels, choices, validators …) does not count, nor
does a default that is a function, nor where its class is kept; of an operation, its way back does not. RunPython and RunSQL count by their
text and by all that stands beside the class in their file, without imports, comments and docstrings.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.migrations import Migration as DjangoMigration

NOTHING = ("AlterModelOptions", "AlterModelManagers")
UNSEEN = ("reverse_code", "reverse_sql", "elidable", "hints", "preserve_default", "managers", "bases")
OPTIONS = (
    *("db_table", "db_table_comment", "db_tablespace", "unique_together", "index_together", "order_with_respect_to"),
    *("indexes", "constraints", "proxy", "managed", "swappable"),
)
CODE = ("RunPython", "RunSQL")


def of(migration: DjangoMigration) -> str:
    """Return the hash, as 16 hexadecimal digits; empty where an operation can't say what it is made of."""
    try:
        told: list[Any] = [one for operation in migration.operations for one in _operation(operation)]
        if any(one[0] in CODE for one in told):
            told.append(_beside(migration))
        text = json.dumps(told, sort_keys=True)
    except Exception:  # other people's operations raise what they like
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _operation(operation: Any) -> Iterator[Any]:
    kind = type(operation).__name__
    if hasattr(operation, "database_operations"):
        for inner in operation.database_operations:
            yield from _operation(inner)
    elif kind not in NOTHING:
        _, args, kwargs = operation.deconstruct()
        kwargs = {name: value for name, value in kwargs.items() if name not in UNSEEN}
        if kind == "CreateModel":
            options = kwargs.pop("options", {})
            kwargs |= {name: options[name] for name in OPTIONS if options.get(name)}
        yield [kind, _values(args), _named(kwargs)]


def _beside(migration: DjangoMigration) -> str:
    """Return what stands in the migration's file beside its class."""
    module = sys.modules[type(migration).__module__]
    tree = ast.parse(inspect.getsource(module))
    body = [one for one in tree.body if not isinstance(one, (ast.Import, ast.ImportFrom, ast.ClassDef))]
    for node in (one for statement in body for one in ast.walk(statement)):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return "\n".join(ast.dump(one) for one in body if not _is_text(one))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _value(value: Any) -> Any:
    from django.db.models import Field

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Field):
        _, _, args, kwargs = value.deconstruct()
        unseen = {*type(value).non_db_attrs} - {"db_column"}
        kwargs = {name: one for name, one in kwargs.items() if name not in unseen}
        if callable(kwargs.get("default")):
            del kwargs["default"]
        return [type(value).__name__, value.get_internal_type(), _values(args), _named(kwargs)]
    if isinstance(value, Mapping):
        return _named(value)
    if isinstance(value, (list, tuple)):
        return _values(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if hasattr(value, "deconstruct") and not isinstance(value, type):
        path, args, kwargs = value.deconstruct()
        return [path.rpartition(".")[2], _values(args), _named(kwargs)]
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _values(values: Iterable[Any]) -> list[Any]:
    return [_value(one) for one in values]


def _named(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _value(one) for name, one in values.items()}
