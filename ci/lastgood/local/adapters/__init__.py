"""What ministack lacks for the design, gap by gap. Each module wraps named private functions of one pinned version.

| module | gap closed |
|---|---|
| events | task state changes reach EventBridge, after the task's last log line |
| containers | entry point, user, memory, read-only root, tmpfs, the network, decrypted secrets |
| registry | layers lie on the disk, repositories are named by an address that Docker can pull from |
| tasks | StopTask returns at once and gives the real exit status, RunTask knows its clientToken and refuses an inactive definition |
| balancer | health checks; only healthy targets get requests; a service is stable when its tasks are healthy |
| service | AWS::ECS::Service waits for its deployment and fails with it |
| custom_resource | answers are checked, ServiceToken is sent, the function is not waited for, and its crash does not hang the stack |
| cancel | what is cancelled ends at once, and its next request is sent while the function may still run |
| rollback | what was half created is deleted; a failed revert stops the rollback |
| restart | the state is saved while running; a stack whose operation a restart cut off is rolled back |
"""

from __future__ import annotations

from lastgood.local.adapters import (
    balancer,
    cancel,
    containers,
    custom_resource,
    events,
    registry,
    restart,
    rollback,
    service,
    site,
    tasks,
)
from lastgood.local.adapters.settings import Settings
from lastgood.local.adapters.wrap import check

ADAPTERS = (containers, registry, tasks, events, balancer, service, custom_resource, rollback, restart, cancel)
NAMES = tuple(sorted({name for adapter in (*ADAPTERS, site) for name in adapter.NAMES}))


def install(settings: Settings) -> None:
    """Puts every adapter in place, once a process. Raises AdapterError where ministack is not the one they know."""
    check(NAMES)
    for adapter in ADAPTERS:
        adapter.install(settings)
