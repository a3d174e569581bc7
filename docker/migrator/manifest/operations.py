"""What the operations of a migration mean for the way back.

irreversible  Django can't undo it: RunPython or RunSQL without a reverse.
lossy         it takes data that undoing does not bring back: DeleteModel, RemoveField, an AlterField to something narrower (another
              type, a shorter text, fewer digits, no more NULL), a RunSQL that deletes, drops or truncates. Undoing makes the schema
              right again, and its rows stay lost.
holds         it makes room for data that goes when it is undone: CreateModel, AddField.
breaks        the code of the build before, which goes on while the new one starts and again while it comes back, can't live with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import kinds

if TYPE_CHECKING:
    from django.db.migrations import Migration as DjangoMigration
    from django.db.migrations.state import ProjectState

    from .graph import AtomLoader

DROPS = re.compile(r"\s*(DROP\b.*\bIF\s+EXISTS\b|$)", re.IGNORECASE | re.DOTALL)
# SQL that takes nothing and makes no rule: an old build's code does not notice.
PLAIN = re.compile(
    r"\s*((CREATE\s+INDEX|DROP\s+INDEX|CREATE\s+EXTENSION|INSERT|UPDATE|SELECT|COMMENT|ANALYZE|SET|RESET)\b|$)",
    re.IGNORECASE,
)
TAKES = re.compile(r"\b(DELETE\s+FROM|TRUNCATE|DROP\s+(TABLE|COLUMN|SCHEMA|TYPE))\b", re.IGNORECASE)


@dataclass(frozen=True)
class Loss:
    """What is said of one migration's operations; each is a description, of what is broken with the reason."""

    lossy: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    breaks: tuple[str, ...] | None = None


def irreversible(migration: DjangoMigration) -> Iterator[str]:
    """Yield a description of each operation of `migration` that has no way back."""
    for operation in _operations(migration.operations):
        if not operation.reversible:
            yield _name(operation)


def mixed(migration: DjangoMigration) -> bool:
    """Return whether `migration` changes data and schema, as far as its operations tell."""
    kinds = [type(one).__name__ for one in _operations(migration.operations)]
    data = [kind in ("RunPython", "RunSQL") for kind in kinds if kind != "SeparateDatabaseAndState"]
    return any(data) and not all(data)


def schema_alone(migration: DjangoMigration) -> bool:
    """Return whether `migration` is nothing but Django's own changes of a schema, which the schema editor sees all of."""
    return all(
        type(one).__module__ in ("django.db.migrations.operations.models", "django.db.migrations.operations.fields")
        for operation in migration.operations
        for one in inner(operation)
    )


def again(migration: DjangoMigration) -> Iterator[str]:
    """Yield the directions in which `migration` may be run once more after an interruption: it only drops, IF EXISTS."""
    operations = [one for operation in migration.operations for one in inner(operation)]
    for direction, kind in (("forward", "RemoveIndexConcurrently"), ("back", "AddIndexConcurrently")):
        if operations and all(type(one).__name__ == kind or _only_drops(one, direction) for one in operations):
            yield direction


def _only_drops(operation: Any, direction: str) -> bool:
    if type(operation).__name__ != "RunSQL":
        return False
    sql = operation.sql if direction == "forward" else operation.reverse_sql
    return sql is not None and all(DROPS.match(text) for text in _statements(sql))


def inner(operation: Any) -> Iterator[Any]:
    """Yield `operation`, or what it wraps where only that touches the database."""
    if hasattr(operation, "database_operations"):
        yield from (
            one for one in _operations(operation.database_operations) if not hasattr(one, "database_operations")
        )
    else:
        yield operation


def _operations(operations: Any) -> Iterator[Any]:
    # SeparateDatabaseAndState always calls itself reversible; what it wraps is run, so that is what counts.
    for operation in operations:
        yield operation
        yield from _operations(getattr(operation, "database_operations", ()))


def _name(operation: Any) -> str:
    kind = type(operation).__name__
    if kind == "RunPython":
        return f"RunPython({getattr(operation.code, '__name__', '…')})"
    if kind == "RunSQL":
        return f"RunSQL({' '.join(str(operation.sql).split())[:60]})"
    return str(operation.describe())


def losses(loader: AtomLoader, order: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Loss]:
    """Return what each atom of `order` loses, holds and breaks.

    Whether a field gets narrower shows only against what it was before, so the models' state is carried along.
    """
    from django.db.migrations.state import ProjectState

    found: dict[tuple[str, str], Loss] = {}
    state = ProjectState(real_apps=loader.unmigrated_apps)
    for key in order:
        migration = loader.disk_migrations[key]
        if key not in loader.graph.node_map:  # not an atom: it is not run
            continue
        lossy: list[str] = []
        holds: list[str] = []
        broken: list[str] = []
        known = set(state.models)
        for operation in migration.operations:
            for one in (operation, *_operations(getattr(operation, "database_operations", ()))):
                lossy += [_name(one)] if _takes(one, key[0], state) else []
                holds += [_name(one)] if kinds.holds(one) else []
            for one in inner(operation):
                why = breaks(one, key[0], known, state) or _unclear(one)
                broken += [f"{_name(one)}: {why}"] if why else []
            operation.state_forwards(key[0], state)
        found[key] = Loss(tuple(lossy), tuple(holds), tuple(broken))
    return found


def _takes(operation: Any, app: str, state: ProjectState) -> bool:
    kind = kinds.kind(operation)
    if kind in ("DeleteModel", "RemoveField") or kinds.takes(operation):
        return True
    if kind == "RunSQL":
        return any(TAKES.search(text) for text in _statements(operation.sql))
    if kind == "AlterField":
        model = state.models.get((app, operation.model_name_lower))
        before = model.fields.get(operation.name) if model else None
        return before is not None and narrower(before, operation.field)
    return False


def _breaks_altered(before: Any, after: Any) -> str | None:
    if before.db_column != after.db_column or getattr(before, "db_table", None) != getattr(after, "db_table", None):
        return "it knows only the old name"
    if before.null and not after.null:
        return "it may write NULL"
    if narrower(before, after) or _target(before) != _target(after):
        return "it may write what no longer fits"
    if not before.unique and after.unique:
        return "it may write the same value twice"
    if _filled(before) and not _filled(after) and not after.null:
        return "its INSERT leaves the value to the database, which has none any more"
    return None


def _filled(field: Any) -> bool:
    """Return whether the database itself has a value for `field`; db_default is Django 5.0's."""
    from django.db.models import NOT_PROVIDED

    return getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED


def _target(field: Any) -> tuple[str, str]:
    """Return the model and the field that a relation points to; nothing for any other field."""
    relation = getattr(field, "remote_field", None)
    if relation is None:
        return "", ""
    model = relation.model if isinstance(relation.model, str) else relation.model._meta.label
    return model.lower(), getattr(relation, "field_name", None) or ""


def _unclear(operation: Any) -> str | None:
    """Return why nobody can tell what `operation` breaks, where that is so."""
    if type(operation).__name__ == "RunSQL":
        parts = [part for text in _statements(operation.sql) for part in text.split(";")]
        return None if all(PLAIN.match(part) for part in parts) else "nobody can tell what its SQL changes"
    if not type(operation).__module__.startswith("django."):
        return "nobody can tell what an operation of the project's own changes"
    return None


def _statements(sql: Any) -> Iterator[str]:
    for part in [sql] if isinstance(sql, str) else sql or ():
        yield part if isinstance(part, str) else str(part[0])


def narrower(before: Any, after: Any) -> bool:
    """Return whether rows that fit the field `before` may not fit, or not come back from, the field `after`."""
    if before.null and not after.null:
        return True  # which rows had no value is forgotten
    if before.get_internal_type() != after.get_internal_type():
        return (before.get_internal_type(), after.get_internal_type()) not in WIDER
    for name in ("max_length", "max_digits", "decimal_places"):
        old, new = getattr(before, name, None), getattr(after, name, None)
        if new is not None and (old is None or new < old):
            return True
    return False


def breaks(operation: Any, app: str, known: Collection[tuple[str, str]], state: ProjectState) -> str | None:
    """Return why the code of a build before, which has the models `known`, can't live with what `operation` does; `state` is before it."""
    kind = kinds.kind(operation)
    model = (
        getattr(operation, "model_name_lower", None)
        or getattr(operation, "name_lower", None)
        or getattr(operation, "old_name_lower", None)
    )
    if (app, model) not in known:
        return None  # new in this very step: nobody uses it yet
    if kind in ("RemoveField", "DeleteModel"):
        return "it reads and writes what is gone"
    if kind in ("RenameField", "RenameModel", "AlterModelTable"):
        return "it knows only the old name"
    if kind == "AddField":
        field = operation.field
        if field.many_to_many or field.null or _filled(field) or getattr(field, "generated", False):
            return None
        return "its INSERT has no value for it; give it db_default, or let it be NULL"
    if kind == "AlterOrderWithRespectTo":
        return "it knows nothing of the order, or writes one that is gone"
    if kind == "AlterField":
        before = state.models[app, model].fields.get(operation.name) if (app, model) in state.models else None
        return _breaks_altered(before, operation.field) if before is not None else None
    if kind in ("AddConstraint", "AddConstraintNotValid", "AlterUniqueTogether"):
        return "it does not know the new rule, and may break it"
    return None


_NUMBERS = ("SmallIntegerField", "IntegerField", "BigIntegerField")
_POSITIVE = ("PositiveSmallIntegerField", "PositiveIntegerField", "PositiveBigIntegerField")
_SERIALS = ("SmallAutoField", "AutoField", "BigAutoField")
# Every value of the first fits the second, and comes back from it as it was.
WIDER = frozenset(
    {(one, other) for row in (_NUMBERS, _POSITIVE, _SERIALS) for i, one in enumerate(row) for other in row[i + 1 :]}
    | {(one, "TextField") for one in ("CharField", "SlugField", "URLField", "EmailField", "FileField", "FilePathField")}
    | {(one, "CharField") for one in ("SlugField", "URLField", "EmailField")}
    | {("GenericIPAddressField", "TextField"), ("OneToOneField", "ForeignKey"), ("ForeignKey", "OneToOneField")}
)
