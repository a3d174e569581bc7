"""Whose database a request may move: that of its own stack's environment, whatever its template says.
All environments of a project share this function, and whoever deploys one of them writes its template. What he can't choose is the
service role: the deploy role passes exactly its environment's, whose path names it. A stack without one is an administrator's.
"""

from __future__ import annotations

from .decision import Item


def wrong_place(project: str, properties: Item, service_role: str) -> str:
    """Empty where a stack with that service role (empty: none) may ask for these properties, else what is wrong."""
    environment = properties["Environment"]
    name = f"{project}_{environment}"
    expected = {
        "Project": properties["Project"] == project,
        "Cluster": properties["Cluster"].endswith(f":cluster/{name}"),
        "TaskDefinition": f":task-definition/{name}_release:" in properties["TaskDefinition"],
        "LogGroup": properties["LogGroup"].startswith(f"/lastgood/{project}/{environment}/"),
    }
    others = [key for key, own in expected.items() if not own]
    if others:
        return f"{others[0]} is not that of environment {environment} of {project}: {properties[others[0]]}"
    if service_role and f":role/lastgood-access/{project}/{environment}/" not in service_role:
        return f"the stack's service role is not that of environment {environment}: {service_role}"
    return ""
