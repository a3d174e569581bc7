"""What a restart would lose: the state is saved while the emulator runs, and stack operations that were cut off are rolled back."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lastgood.local.adapters.settings import ACCOUNT, REGION, Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "app:_load_persisted_state",
    "app:_build_persistence_save_dict",
    "app:save_all",
    "core.persistence:STATE_DIR",
    "core.responses:request_scope",
    "services.ecs:_start_restored_service_reconciler",
    "services.ecs:_reconcile_restored_services",
    "services.cloudformation:_stacks",
    "services.cloudformation.stacks:_deploy_stack_async",
    "services.cloudformation.stacks:_delete_stack_async",
    "services.cloudformation.stacks:_roll_back_operation",
    "services.cloudformation.stacks:_failed_operation",
    "services.cloudformation.stacks:_evaluate_conditions",
    "services.cloudformation.stacks:_topological_sort",
    "services.cloudformation.stacks:_resolve_refs",
    "services.cloudformation.handlers:_deploy_stack_async",
    "services.cloudformation.changesets:_deploy_stack_async",
)
INTERVAL = 5.0  # seconds between two savings while requests come in
REASON = "The emulator was stopped during the operation. "
OPERATION = "_lastgood_operation"

SNAPSHOT = "snapshot.json"  # beside the state's folder: every file of it, from one moment

_log = logging.getLogger("lastgood.restart")
_changed = threading.Event()
_saving = threading.Lock()


def touch() -> None:
    """A request has come that may have changed something."""
    _changed.set()


def save() -> None:
    """Writes the state of every service to the disk."""
    module("app").save_all(module("app")._build_persistence_save_dict())


def pack(folder: Path) -> None:
    """Makes the snapshot of a state's folder, all or nothing: ministack writes a file a service, and a kill may come between two."""
    snapshot = folder.with_name(SNAPSHOT)
    written = snapshot.with_suffix(".new")
    files = {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.json"))}
    written.write_text(json.dumps(files), encoding="utf-8")
    written.replace(snapshot)


def unpack(folder: Path) -> None:
    """Brings a state's folder back to its snapshot, if there is one."""
    snapshot = folder.with_name(SNAPSHOT)
    if not snapshot.exists():
        return
    files = json.loads(snapshot.read_text(encoding="utf-8"))
    for file in folder.glob("*.json"):
        if file.name not in files:
            file.unlink()
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def done_so_far(
    order: Sequence[str], now: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], str | None]:
    """The logical ids that an operation had finished when it was cut off, and the one it was at.

    `order` is the order of the operation, `now` and `before` are the stack's resources.
    """
    finished = [
        one
        for one in order
        if one in now and (one not in before or now[one].get("Timestamp") != before[one].get("Timestamp"))
    ]
    at = order.index(finished[-1]) + 1 if finished else 0
    return finished, order[at] if at < len(order) else None


def install(settings: Settings) -> None:
    """Remembers every operation with its stack, and looks for cut off ones when the state has been loaded."""
    stacks = module("services.cloudformation.stacks")
    tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them only weakly

    @wrap("services.cloudformation.stacks:_deploy_stack_async")
    async def deploy(
        original: Any, name: str, stack_id: str, template: Any, parameters: Any, *args: Any, **options: Any
    ) -> Any:
        stack = module("services.cloudformation")._stacks[name]
        stack[OPERATION] = {
            "template": template,
            "parameters": parameters,
            "is_update": options.get("is_update", False),
            "previous": copy.deepcopy(options.get("previous_stack")),
        }
        try:
            return await original(name, stack_id, template, parameters, *args, **options)
        finally:
            stack.pop(OPERATION, None)

    state = Path(module("core.persistence").STATE_DIR)

    @wrap("app:save_all")
    def save_all(original: Any, services: Any) -> None:
        with _saving:
            original(services)
            pack(state)

    for importer in ("handlers", "changesets"):  # both have it by name
        module(f"services.cloudformation.{importer}")._deploy_stack_async = stacks._deploy_stack_async

    @wrap("app:_load_persisted_state")
    def load(original: Any) -> Any:
        unpack(state)
        original()
        threading.Thread(target=_keep_saving, daemon=True, name="lastgood-save").start()
        cut_off = [
            (name, stack)
            for (account, region, name), stack in module("services.cloudformation")._stacks.all_items()
            if (account, region) == (ACCOUNT, REGION) and str(stack.get("StackStatus")).endswith("_IN_PROGRESS")
        ]
        tasks.add(asyncio.get_running_loop().create_task(_resume(settings.port, cut_off)))

    @wrap("services.ecs:_start_restored_service_reconciler")
    def start_reconciler(_original: Any) -> None:
        """Not yet: secrets may not be loaded, and images are pulled from our own port. `_resume` does it."""


def _keep_saving() -> None:
    with module("core.responses").request_scope(ACCOUNT, REGION):
        while True:
            _changed.wait()
            _changed.clear()
            threading.Event().wait(INTERVAL)
            save()


async def _resume(port: int, cut_off: Sequence[tuple[str, Any]]) -> None:
    """Once our port answers: starts the services' tasks again, and rolls back what was cut off."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        break
    threading.Thread(
        target=module("services.ecs")._reconcile_restored_services, daemon=True, name="lastgood-services"
    ).start()
    for name, stack in cut_off:
        if stack["StackStatus"] != "REVIEW_IN_PROGRESS":
            await _recover(name, stack)


async def _recover(name: str, stack: Any) -> None:
    stacks = module("services.cloudformation.stacks")
    status, stack_id = stack["StackStatus"], stack["StackId"]
    _log.warning("stack %s was left in %s", name, status)
    with module("core.responses").request_scope(ACCOUNT, REGION):
        if status == "DELETE_IN_PROGRESS":
            await stacks._delete_stack_async(name, stack_id)
            return
        if status.endswith("COMPLETE_CLEANUP_IN_PROGRESS"):
            stack["StackStatus"] = status.removesuffix("_CLEANUP_IN_PROGRESS")
            return
        remembered = stack.pop(OPERATION, None)
        if remembered is None:
            stack.update(StackStatus="UPDATE_ROLLBACK_FAILED", StackStatusReason=REASON)
            return
        await stacks._roll_back_operation(name, stack_id, stack, _operation(name, stack, remembered), REASON)


def _operation(name: str, stack: Any, remembered: Any) -> Any:
    """The cut off operation, as ministack describes one that has failed."""
    stacks = module("services.cloudformation.stacks")
    template, parameters, previous = remembered["template"], remembered["parameters"], remembered["previous"]
    conditions = stacks._evaluate_conditions(template, parameters)
    resources, before = stack.setdefault("_resources", {}), (previous or {}).get("_resources", {})
    order = [
        one
        for one in stacks._topological_sort(template["Resources"], conditions)
        if conditions.get(template["Resources"][one].get("Condition"), True)
    ]
    finished, at = done_so_far(order, resources, before)
    failed_update = None
    if at in before:  # it may have begun: it is sent back, which has no effect if it had not
        record, definition = before[at], template["Resources"][at]
        wanted = stacks._resolve_refs(
            copy.deepcopy(definition.get("Properties", {})),
            resources,
            parameters,
            conditions,
            template.get("Mappings", {}),
            name,
            stack["StackId"],
        )
        identity, old = record["PhysicalResourceId"], record.get("Properties", {})
        failed_update = (at, record["ResourceType"], identity, wanted, old, record.get("Attributes", {}))
    return stacks._failed_operation(
        remembered["is_update"],
        previous,
        finished,
        failed_update,
        at,
        [],
        False,
        template,
        parameters,
        False,
        stack.get("Tags") or [],
        (previous or {}).get("Tags") or [],
        {},
    )
