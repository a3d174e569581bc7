"""Sends pre_migrate and post_migrate as `manage.py migrate` does: content types and permissions depend on them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import OutputWrapper
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db.migrations.state import ModelState, ProjectState
from django.utils.module_loading import module_has_submodule

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def register_receivers() -> None:
    """Import the `management` package of every app, where some register their receivers."""
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, "management"):
            import_module(".management", app.name)


def send_pre_migrate(connection: BaseDatabaseWrapper, state_apps: Any, plan: list[Any]) -> None:
    """Send pre_migrate; its receivers may put operations into the plan's migrations (renamed content types)."""
    stdout = OutputWrapper(sys.stdout)
    emit_pre_migrate_signal(0, False, connection.alias, stdout=stdout, apps=state_apps, plan=plan)


def send_post_migrate(connection: BaseDatabaseWrapper, state: ProjectState, plan: list[Any]) -> None:
    """Send post_migrate with the models of `state`."""
    # From here on as in Django's migrate command: models of apps without migrations are rendered again, with relations.
    state.clear_delayed_apps_cache()
    state_apps: Any = state.apps
    with state_apps.bulk_update():
        keys = [(model.app_label, model.name_lower) for model in state_apps.real_models]
        for key in keys:
            state_apps.unregister_model(*key)
    state_apps.render_multiple([ModelState.from_model(apps.get_model(*key)) for key in keys])
    stdout = OutputWrapper(sys.stdout)
    emit_post_migrate_signal(0, False, connection.alias, stdout=stdout, apps=state_apps, plan=plan)
