"""What a container definition says, as Docker takes it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from lastgood.local.adapters.settings import REGION, Settings
from lastgood.local.adapters.wrap import module, wrap

NAMES = (
    "services.ecs:_build_run_kwargs",
    "services.ecs:_run_docker_container",
    "services.ecs:_register_metadata",
    "services.ecs:_resolve_container_secrets",
    "services.ssm:resolve_parameter_value",
    "services.cloudformation.provisioners:_normalize_container_defs",
)
_FREE_KEYS = frozenset({"dockerLabels", "options"})  # below these, keys are the user's own


def camel(value: Any) -> Any:
    """CloudFormation's spelling of a container definition (ValueFrom) as ECS's (valueFrom), all the way down."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    spelled = {key[:1].lower() + key[1:]: entry for key, entry in value.items()}
    return {key: entry if key in _FREE_KEYS else camel(entry) for key, entry in spelled.items()}


def options(definition: Mapping[str, Any], task: Mapping[str, Any], *, has_init: bool) -> dict[str, Any]:
    """The arguments of docker's `run` for what ministack passes over.

    `definition` and `task` are a container definition and its task definition in ECS's spelling; `has_init`: whether the engine
    has an init process to give.
    """
    linux = definition.get("linuxParameters") or {}
    found: dict[str, Any] = {
        "entrypoint": definition.get("entryPoint"),
        "user": definition.get("user"),
        "working_dir": definition.get("workingDirectory"),
        "cap_drop": (linux.get("capabilities") or {}).get("drop"),
        "tmpfs": _memory_folders(definition, task, linux),
        "read_only": _is_true(definition.get("readonlyRootFilesystem")),
        "init": _is_true(linux.get("initProcessEnabled")) and has_init,
    }
    limit = definition.get("memory") or task.get("memory")
    if limit:
        found["mem_limit"] = int(limit) * 1024 * 1024
    return {name: value for name, value in found.items() if value}


def _memory_folders(definition: Mapping[str, Any], task: Mapping[str, Any], linux: Mapping[str, Any]) -> dict[str, str]:
    """tmpfs mounts, and the task's volumes without a host path: on Fargate those last as long as the task."""
    folders = {}
    for mount in linux.get("tmpfs") or ():
        folders[mount["containerPath"]] = ",".join([f"size={mount['size']}m", *(mount.get("mountOptions") or ())])
    volumes = [camel(volume) for volume in task.get("volumes") or ()]
    lasting = {volume.get("name") for volume in volumes if (volume.get("host") or {}).get("sourcePath")}
    for mount in definition.get("mountPoints") or ():
        if mount.get("sourceVolume") not in lasting:
            folders[mount["containerPath"]] = "mode=1777"
    return folders


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def tag(image: str) -> str:
    """The tag of a build that was loaded instead of pulled, as deploy/registry.py gives it; empty for no reference by digest.

    An engine before version 23 can't pull zstd layers, so `lastgood push` loads them there.
    """
    name, found, digest = image.partition("@sha256:")
    return f"{name}:sha256-{digest}" if found else ""


def install(settings: Settings) -> None:
    """Tasks run on our own network, as their definition says, and reach the emulator at the network's gateway."""
    has_init = shutil.which("docker-init") is not None

    @wrap("services.cloudformation.provisioners:_normalize_container_defs")
    def normalize(original: Any, definitions: Any) -> Any:
        return [camel(definition) for definition in original(definitions)]

    @wrap("services.ecs:_build_run_kwargs")
    def build_run_kwargs(original: Any, definition: Any, task: Any, *args: Any) -> Any:
        environment, ports, _network, host_mode, *rest = args
        identity, arn, _address, cluster = rest
        found = original(
            definition, task, environment, ports, settings.network, host_mode, identity, arn, settings.gateway, cluster
        )
        found.pop("platform", None)  # one machine has one architecture; an image for another says so itself
        found["name"] = f"{settings.prefix}-{identity[:8]}-{definition['name']}"
        found["labels"]["lastgood.instance"] = settings.instance
        return found | options(definition, task, has_init=has_init)

    @wrap("services.ecs:_run_docker_container")
    def run_docker_container(original: Any, client: Any, definition: Any, run: Any, **options: Any) -> Any:
        loaded = tag(definition["image"])
        if loaded and client.api.images(loaded):
            definition, options = definition | {"image": loaded}, options | {"refresh_image": False}
        return original(client, definition, run, **options)

    @wrap("services.ecs:_register_metadata")
    def register_metadata(original: Any, arn: Any, cluster: Any, task: Any, definition: Any, *args: Any) -> Any:
        launch_type, environment, host_mode, _address = args
        token = original(arn, cluster, task, definition, launch_type, environment, host_mode, settings.gateway)
        # SDKs take credentials from an address only if it is loopback or one of AWS's own, and the gateway is neither.
        del environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"], environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
        ):
            environment.setdefault(name, value)
        return token

    @wrap("services.ecs:_resolve_container_secrets")
    def resolve_container_secrets(original: Any, definition: Any) -> Any:
        found = original(definition)
        for secret in definition.get("secrets") or ():
            if secret.get("name") in found and "secretsmanager" not in secret["valueFrom"]:
                value = module("services.ssm").resolve_parameter_value(secret["valueFrom"], decrypt=True)
                found[secret["name"]] = str(value)
        return found
