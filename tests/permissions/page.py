"""docs/permissions.md, made of the templates, the workflows, the attackers and the calls. A test says whether it is current."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from permissions import attackers, calls, handlers, templates, trust
from permissions.policy import Document, Request, Role, listed, statements

FILE = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
HEAD = """\
# Permissions

Written by `make permissions` from the templates, the workflows and the tests in `tests/permissions`; a test says whether it is current. It
shows project `shop`, environment `production`, in the region and account of `…`; the bundle is `acme/lastgood`, trusted in versions `v1.*`.
[The threat model](threat-model.md) says what that is good for.

## Who is who

| role | made by | who becomes it | what for |
|---|---|---|---|
| push | access stack | a job of {push}, from `refs/heads/main` of one repository, by its number | sends images, notes builds |
| deploy | access stack | a job of {deploy}, the same, in GitHub's environment `production` | changes one stack by the service role |
| service | access stack | CloudFormation, while it changes that stack | the resources of `service.yml` |
| schedule | access stack | EventBridge | starts jobs, with the roles of tasks |
| task, execution | the stack itself | ECS, for tasks | what the application does, within the boundary |
| function | account stack | Lambda | moves databases of the project's environments |

The account stack `lastgood-shop` (`bootstrap.yml`) and the access stack `lastgood-shop-production` (`environment.yml`) are made by an
administrator with `lastgood bootstrap`, and no role of this table can change them.
"""


def render() -> str:
    """The page."""
    made, account = templates.environment(), templates.account()
    service = templates.service(made)
    push, deploy = (", ".join(f"`{name}`" for name in names) for names in (trust.access.PUSH, trust.access.DEPLOY))
    parts = [
        HEAD.format(push=push, deploy=deploy),
        "## Which job gets which role\n",
        _trust(),
        "Everybody else is a stranger, and gets none:\n",
        _bullets(one.can for one in attackers.strangers()),
        "## What each role may do\n",
        *(
            _role(title, role)
            for title, role in (
                ("push", made.role("PushRole")),
                ("deploy", made.role("DeployRole")),
                ("service", made.role("ServiceRole")),
                ("schedule", made.role("ScheduleRole")),
                ("function", account.role("MigrationRole")),
            )
        ),
        "### boundary\n\nNo role of the stack does more, whatever the template gives it.\n",
        _policy(made.resources["Boundary"]["Properties"]["PolicyDocument"]),
        "## What was tried, and is refused\n",
        *(
            f"{title}:\n\n{_bullets(attempts)}"
            for title, attempts in (
                ("Whoever writes the template, by CloudFormation's service role, can not", attackers.template()),
                ("Whoever holds the deploy role's credentials can not", attackers.deployer("arn")),
                ("Whoever holds the push role's credentials can not", attackers.pusher()),
                ("Code in a task, with all that a template can give it, can not", attackers.task()),
                ("EventBridge, misled by a schedule, can not", attackers.schedule()),
                ("The function, misled by a request, can not", attackers.function()),
            )
        ),
        PRUNE,
        "A test takes each condition and each narrow resource away, one at a time: every time somebody of these gets further.\n",
        "## Allowed, and not seen in a run\n",
        "The demo's calls are noted (`tests/permissions/calls.json`), and no role is allowed what nobody calls, but for these:\n",
        _table(("action", "when"), sorted(calls.RARELY.items())),
        "What CloudFormation calls by the service role stands in the registry's schemas (each type's handlers), and here:\n",
        _table(("action", "why"), sorted(handlers.BESIDES.items())),
        "Those lists name what any property may need. Left out, because `service.yml` does not:\n",
        _table(
            ("resource type", "action", "why not"),
            [
                (type_, action, reason)
                for type_ in handlers.NOT_GRANTED
                for action, reason in sorted(handlers.left_out(type_).items())
            ],
        ),
        "## What can't be narrower\n",
        _table(
            ("role", "action", "why"),
            [
                *(
                    (
                        title,
                        action,
                        WIDE.get(action, "it lists or describes, and AWS knows no narrower resource for it"),
                    )
                    for title, role in (
                        ("push", made.role("PushRole")),
                        ("deploy", made.role("DeployRole")),
                        ("service", made.role("ServiceRole")),
                        ("function", account.role("MigrationRole")),
                    )
                    for action in wide(role)
                )
            ],
        ),
    ]
    assert service.resources
    return "\n".join(parts).rstrip("\n") + "\n"


PRUNE = (
    "No role may delete an image or a build of the release record: `lastgood prune --delete` is an administrator's, as `bootstrap` is. It "
    "asks for `dynamodb:Scan`, `PutItem`, `UpdateItem` and `DeleteItem` on the record, and for `ecr:DescribeRepositories`, "
    "`DescribeImages`, `BatchGetImage`, `BatchDeleteImage` and `GetAuthorizationToken`.\n"
)
WIDE = {
    "ecr:GetAuthorizationToken": "the password is the account's; the other statements say what it opens",
    "ecs:DeregisterTaskDefinition": "ECS knows no resource for it; the function's code forgets only what it registered itself",
    "ecs:DescribeTaskDefinition": "ECS knows no resource for it: whoever deploys can read all of the region, so none may hold a secret",
}


def wide(role: Role) -> list[str]:
    """The actions that are allowed on everything, whatever the request brings."""
    return sorted(
        action
        for policy in role.policies
        for one in statements(policy)
        if one["Resource"] == "*" and "Condition" not in one
        for action in listed(one["Action"])
    )


def _trust() -> str:
    """One line for all environments where they get the same."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in trust.rows():
        got = ", ".join(f"**{name}**" for name in row.roles) or "none"
        lines.setdefault((f"{row.job.file}, job {row.job.name}", row.ref), {})[row.environment] = got
    rows = [
        (*key, environment, got)
        for key, each in lines.items()
        for environment, got in ({"any": next(iter(each.values()))} if len(set(each.values())) == 1 else each).items()
    ]
    return _table(("innermost workflow", "called from", "environment", "roles"), rows)


def _role(title: str, role: Role) -> str:
    return f"### {title}\n\n" + "\n".join(_policy(one) for one in role.policies)


def _policy(document: Document) -> str:
    return _table(
        ("", "actions", "on", "if"),
        [
            (
                one["Sid"],
                " ".join(f"`{action}`" for action in listed(one["Action"])),
                " ".join(f"`{_short(resource)}`" for resource in listed(one["Resource"])),
                "; ".join(
                    f"{operator} `{key}` {' or '.join(f'`{_short(value)}`' for value in listed(wanted))}"
                    for operator, keys in one.get("Condition", {}).items()
                    for key, wanted in keys.items()
                ),
            )
            for one in statements(document)
        ],
    )


def _short(text: str) -> str:
    return text.replace(f":{templates.REGION}:{templates.ACCOUNT}:", ":…:").replace(f"::{templates.ACCOUNT}:", "::…:")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _bullets(names: Iterable[str] | Mapping[str, list[Request]]) -> str:
    return "\n".join(f"- {name}" for name in names) + "\n"
