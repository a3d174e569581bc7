"""The ledger's two tables, made the way Django makes `django_migrations`: by no migration, so going back to zero leaves them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


@lru_cache(maxsize=None)
def models() -> tuple[Any, Any]:
    # Made on first use, like Django's own recorder: a model can't be defined before the apps are loaded.
    from django.apps.registry import Apps
    from django.db import models

    def number() -> Any:
        return models.BigAutoField(primary_key=True)

    def text(**options: Any) -> Any:
        return models.CharField(**{"max_length": 255, **options})

    def time(**options: Any) -> Any:
        return models.DateTimeField(**options)

    class Entry(models.Model):
        id = number()
        app = text()
        name = text()
        direction = text(max_length=7)
        build = text()
        digest = text()
        commit = text()
        sha256 = text(max_length=64)
        started = time()
        finished = time(null=True)  # None: it began outside a transaction, and nobody has seen it end
        actor = text()
        found: Any = models.TextField(null=True)  # what was there already, as a list in JSON; None: nobody looked

        class Meta:
            apps = Apps()
            app_label = "lastgood"
            db_table = "lastgood_ledger"

    class SeenBuild(models.Model):
        id = number()
        build = text(unique=True)
        digest = text()
        commit = text()
        first_seen = time()
        manifest: Any = models.TextField()
        # What a decision needs of all builds, so that it need not read all their manifests.
        replaces: Any = models.TextField(null=True)
        fingerprint: Any = models.TextField(null=True)

        class Meta:
            apps = Apps()
            app_label = "lastgood"
            db_table = "lastgood_build"

    return Entry, SeenBuild


def make(connection: BaseDatabaseWrapper) -> None:
    """Make the tables and columns that are not there yet."""
    there = names(connection)
    for model in models():
        table = model._meta.db_table
        if table not in there:
            with connection.schema_editor() as editor:
                editor.create_model(model)
            continue
        with connection.cursor() as cursor:
            known = {column.name: column for column in connection.introspection.get_table_description(cursor, table)}
        for field in model._meta.local_fields:
            if field.column not in known:
                with connection.schema_editor() as editor:
                    editor.add_field(model, field)
            elif field.null and not known[field.column].null_ok:
                stricter = field.clone()
                stricter.null = False
                stricter.set_attributes_from_name(field.name)
                stricter.model = model
                with connection.schema_editor() as editor:
                    editor.alter_field(model, stricter, field)


def columns(connection: BaseDatabaseWrapper, table: str) -> set[str]:
    """Return the names of the columns of `table`."""
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


def names(connection: BaseDatabaseWrapper) -> set[str]:
    """Return the names of all tables that are there."""
    with connection.cursor() as cursor:
        return set(connection.introspection.table_names(cursor))


def elsewhere(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the schemas of this database, other than the current one, in which migrations are recorded, too."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = 'django_migrations' AND c.relkind IN ('r', 'p') AND n.nspname <> current_schema() ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]
