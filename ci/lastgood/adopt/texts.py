"""What `lastgood init` writes: the tables of pyproject.toml, the workflows that call the bundle's, and lines of .gitignore."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from lastgood.adopt import processes
from lastgood.adopt.found import Found, Native, Process, Variable
from lastgood.config import keys
from lastgood.config.tables import ImageSettings, LockSettings, Project

ENVIRONMENT = "production"
IGNORED = ("/.lastgood/", "/.venv-local/")
_URLS = {
    "DATABASE": "postgresql://build:build@db.invalid/build", "REDIS": "redis://cache.invalid:6379/0", "CACHE": "redis://cache.invalid:6379/0",
    "BROKER": "redis://cache.invalid:6379/0", "RESULT_BACKEND": "redis://cache.invalid:6379/0", "EMAIL": "smtp://mail.invalid:25",
}  # fmt: skip
_PLAIN = {"bool": "false", "int": "1", "float": "1", "list": "", "tuple": "", "dict": "", "json": "{}", "path": "/tmp"}  # noqa: S108


def placeholder(variable: Variable) -> str:
    """A value that settings can be imported with and that nothing answers to."""
    upper = variable.name.upper()
    if variable.kind in _PLAIN:
        return _PLAIN[variable.kind]
    if variable.kind == "url" or re.search(r"(URL|URI|DSN|BROKER|BACKEND)$", upper):
        return next((value for word, value in _URLS.items() if word in upper), "https://build.invalid")
    if variable.secret:
        return "only-while-the-image-is-built"
    if upper.endswith("PORT"):
        return "1"
    return "build.invalid" if upper.endswith(("HOST", "HOSTS", "DOMAIN", "BUCKET", "BUCKET_NAME")) else "build"


def tables(found: Found) -> str:
    """The tables of `[tool.lastgood]` for what was found. What this version's classes do not know stands in comments."""
    parts = [_project(found), _lock(found), _image(found)]
    running = _running(found)
    parts.append(
        running
        if "processes" in keys.of(Project)
        else _commented(running, "how it is run, for a version that knows processes")
    )
    parts.append(_environment(found))
    return "\n".join(part for part in parts if part)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_value(one)}" for name, one in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _line(key: str, value: object, comment: str = "") -> str:
    return f"{key} = {_value(value)}" + (f"  # {comment}" if comment else "")


def _project(found: Found) -> str:
    lines = [
        "[tool.lastgood]  # written by `lastgood init`; docs/configuration.md has every key",
        _line("project", found.name),
    ]
    if found.app != ".":
        lines.append(_line("app", found.app))
    lines.append(_line("settings", found.settings, found.settings_origin))
    return _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _commented(text: str, why: str) -> str:
    return _joined([f"# {why}", *(f"# {line}".rstrip() for line in text.splitlines())]) if text else ""


def _lock(found: Found) -> str:
    plain = LockSettings()
    lines = []
    if found.source and found.source != plain.source:
        lines.append(_line("source", found.source))
    if found.source and found.lock != plain.file:
        lines.append(_line("file", found.lock))
    if found.groups:
        lines.append(_line("groups", found.groups))
    if found.also:
        lines.append(_line("also", found.also, f"what serves it; {found.source} does not name it"))
    return _joined(["[tool.lastgood.lock]", *lines]) if lines else ""


def _image(found: Found) -> str:
    lines = []
    for key, attribute in (("packages", "packages"), ("build-packages", "build_packages"), ("accept", "accept")):
        values = _unique(one for native in found.native for one in getattr(native, attribute))
        if values:
            lines.append(
                _line(
                    key,
                    values,
                    ", ".join(
                        _unique(_reason(native, attribute) for native in found.native if getattr(native, attribute))
                    ),
                )
            )
    if found.node and "before-static" in keys.of(ImageSettings):
        lines.append(_line("before-static", found.node.commands))
        made = _line("before-static-makes", found.node.outputs or ("…",))
        lines.append(
            made if found.node.outputs else f"# {made}: what the command makes, below the application's folder"
        )
    text = _joined(["[tool.lastgood.image]", *lines]) if lines else ""
    if found.variables:
        text += _joined([
            *([""] if text else []),
            "[tool.lastgood.image.environment]",
            "# Only while static files and the manifest are made; nothing of it is in the image.",
            *(_line(one.name, placeholder(one), one.origin) for one in found.variables),
        ])  # fmt: skip
    return text


def _reason(native: Native, attribute: str) -> str:
    if attribute == "accept":
        other = "psycopg[c]" if native.requirement == "psycopg-binary" else "psycopg2"
        return f"{other} would use Debian's OpenSSL, which is kept free of known holes"
    return native.requirement


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _running(found: Found) -> str:
    lines = ["[tool.lastgood.processes]"] if found.processes else []
    lines += [f"{'# ' if processes.shell(one.command) else ''}{_process(one)}" for one in found.processes]
    given = [one for one in found.variables if not one.secret]
    secret = [one for one in found.variables if one.secret and one.name not in ("DATABASE_URL", "SECRET_KEY")]
    if given:
        lines += [
            "",
            "[tool.lastgood.variables]  # the values that they have where it runs",
            *(f'# {one.name} = "…"  # {one.origin}' for one in given),
        ]
    if secret:
        lines += [
            "",
            f"[tool.lastgood.environments.{ENVIRONMENT}.secrets]  # never a value, always a place",
            *(f'# {one.name} = "arn:…"  # {one.origin}' for one in secret),
        ]
    return _joined(lines)


def _process(one: Process) -> str:
    facts: dict[str, object] = {"command": one.command}
    if one.name == "web":
        facts["smoke"] = ("/",)
    if one.single:
        facts["single"] = True
    return _line(one.name, facts, one.origin)


def _environment(found: Found) -> str:
    return _joined([
        f"[tool.lastgood.environments.{ENVIRONMENT}]  # what only you know: docs/aws.md",
        '# region = "eu-central-1"',
        '# parameters = { VpcId = "vpc-…", Subnets = "subnet-…,subnet-…", DatabaseSecret = "arn:…", SecretKeySecret = "arn:…" }',
    ])  # fmt: skip


def workflows(bundle: str, version: str, branch: str, folder: str) -> Iterator[tuple[str, str]]:
    """(name, text) of the workflows that call those of `bundle` (OWNER/NAME) at `version`; `folder` holds pyproject.toml."""
    where = f"      working-directory: {folder}\n" if folder != "." else ""
    called = f"uses: {bundle}/.github/workflows"
    trusted = "# an immutable release, which the roles trust as v1.*"
    yield (
        "lastgood-release.yml",
        f"""\
# Written by `lastgood init`: what is merged is built, pushed and deployed; the last good build comes back when that fails.
name: Release

on:
  push:
    branches: [{branch}]
permissions: {{}}
jobs:
  release:
    {called}/pipeline.yml@{version} {trusted}
    permissions:
      contents: read # to check the project out
      id-token: write # to assume the roles, and to sign for the image
      attestations: write # to store what was signed
    with:
      environment: {ENVIRONMENT}
{where}      aws-region: ${{{{ vars.AWS_REGION }}}}
      role-to-assume: ${{{{ vars.LASTGOOD_DEPLOY_ROLE }}}} # DeployRoleArn of lastgood bootstrap
      push-role-to-assume: ${{{{ vars.LASTGOOD_PUSH_ROLE }}}} # PushRoleArn
""",
    )
    given = f"    with:\n{where}" if where else ""
    yield (
        "lastgood-pull-request.yml",
        f"""\
# Written by `lastgood init`: the locks are fresh, the commit builds, and the image is within its budget and its rules.
name: Pull request

on:
  pull_request:
permissions: {{}}
jobs:
  image:
    {called}/pull-request.yml@{version}
    permissions:
      contents: read # to check out the pull request
{given}""",
    )
    yield (
        "lastgood-rollback.yml",
        f"""\
# Written by `lastgood init`: the button for a bad night.
name: Rollback

on:
  workflow_dispatch:
    inputs:
      reason: {{ type: string, required: true, description: "Why, for the release record" }}
      to: {{ type: string, description: "The build to go back to (empty for the good release before)" }}
permissions: {{}}
jobs:
  rollback:
    {called}/rollback.yml@{version} {trusted}
    permissions:
      contents: read # to read your pyproject.toml
      id-token: write # to assume the deploy role
    with:
      environment: {ENVIRONMENT}
      reason: ${{{{ inputs.reason }}}}
      to: ${{{{ inputs.to }}}}
{where}      aws-region: ${{{{ vars.AWS_REGION }}}}
      role-to-assume: ${{{{ vars.LASTGOOD_DEPLOY_ROLE }}}}
""",
    )
