"""What is made by an administrator: once an account, registry, release record and migration function; once an environment, its access.

Both are stacks, lastgood-PROJECT and lastgood-PROJECT-ENVIRONMENT. The command can be run again: what was said before is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lastgood import bundle
from lastgood.aws.errors import code
from lastgood.aws.session import Session
from lastgood.deploy import access
from lastgood.deploy.access import GitHub
from lastgood.deploy.progress import line_of
from lastgood.deploy.removal import removal
from lastgood.deploy.stack import BACK, DONE, ChangeSet, Event, Stack, settled
from lastgood.errors import FailedNotRestored, FailedRestored, UsageError
from lastgood.report.terminal import counted, say, step

SERVICES = ("ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com")  # that work by a role of their own
_PROVIDER = "oidc-provider/token.actions.githubusercontent.com"
_SIGNS = {"Add": "+", "Modify": "~", "Remove": "-", "Import": "<"}


def bootstrap(
    session: Session, github: GitHub | None = None, *, boundary: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """Creates or updates both stacks in the environment's account. Returns their names, status and outputs.

    `boundary` is the ARN of a policy that takes the place of environment.yml's own. With `dry_run` the change sets are shown and nothing
    is changed. Raises UsageError where a value is missing or wrong, FailedRestored where an update went back.
    """
    given = {"Project": session.project} | ({"DeletionProtection": "false"} if session.cloud else {})
    template = with_names(bundle.path("cloudformation/bootstrap.yml").read_text(encoding="utf-8"), session.project)
    account, environment = Stack.of_account(session), Stack.of_environment(session)
    values = decided(session, environment, (github or GitHub()).values(), boundary)
    if not (session.cloud or dry_run):
        for service in SERVICES:
            service_linked_role(session, service)
    tags = {"lastgood:project": session.project}
    bring(account, template, given, tags, take_over=session.cloud is None, dry_run=dry_run)
    template = bundle.path("cloudformation/environment.yml").read_text(encoding="utf-8")
    tags |= {"lastgood:environment": session.environment.name}
    bring(environment, template, values, tags, take_over=False, dry_run=dry_run)
    return {
        "stack": account.name,
        "status": str(account.status()),
        **account.outputs(),
        "access": environment.name,
        "access_status": str(environment.status()),
        **environment.outputs(),
    }


def decided(session: Session, stack: Stack, said: Mapping[str, str], boundary: str) -> dict[str, str]:
    """The parameters of environment.yml that this run decides. Raises UsageError where something is missing for them."""
    name, known = session.environment.name, stack.parameters()
    owner = {key: known[key] for key in ("Project", "Environment") if key in known}
    if owner and owner != {"Project": session.project, "Environment": name}:
        raise UsageError(
            f"the stack {stack.name} is of environment {owner['Environment']} of {owner['Project']}: rename one of the two"
        )
    own = dict(session.cloud.parameters) if session.cloud else {}
    own |= session.environment.parameters
    values = access.network(own, name) | access.readable(own.values()) | dict(said)
    values["Attestations"] = "none" if session.cloud else session.environment.attestations
    if boundary:
        values["OwnBoundary"] = boundary
    if said or known.get("GitHubRepositoryId"):
        values["GitHubEnvironment"] = said.get("GitHubEnvironment") or known.get("GitHubEnvironment") or name
        values["GitHubProviderArn"] = (
            said.get("GitHubProviderArn") or known.get("GitHubProviderArn") or provider(session)
        )
        for key, option in (("GitHubRepositoryId", "--github-repository-id"), ("DeployWorkflows", "--bundle")):
            if not (values.get(key) or known.get(key)):
                raise UsageError(f"deployments from GitHub need {option}, too: who is it that may deploy {name}?")
    return values | {"Project": session.project, "Environment": name, "StackName": session.environment.stack}


def provider(session: Session) -> str:
    """The ARN of the account's OIDC provider for GitHub. Raises UsageError where it has none."""
    listed = session.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    for one in listed:
        if str(one["Arn"]).endswith(_PROVIDER):
            return str(one["Arn"])
    raise UsageError(
        "this account has no OIDC provider for GitHub: run `aws iam create-open-id-connect-provider --url "
        "https://token.actions.githubusercontent.com --client-id-list sts.amazonaws.com` once"
    )


def service_linked_role(session: Session, service: str) -> None:
    """Makes the role that a service works by, where the account has none yet: a new account's first cluster fails without it."""
    try:
        session.client("iam").create_service_linked_role(AWSServiceName=service)
        say(f"· {service} had no role of its own in this account: made")
    except Exception as error:
        if code(error) != "InvalidInput":  # it is there
            raise


def with_names(template: str, project: str) -> str:
    """bootstrap.yml with the names of what is retained written out.

    A first run that failed leaves the repository and the table. CloudFormation takes them over by their names, and reads only names that
    are no functions.
    """
    for before, after in (
        ("RepositoryName: !Ref Project\n", project),
        ("TableName: !Sub lastgood-${Project}\n", f"lastgood-{project}"),
    ):
        if template.count(before) != 1:
            raise ValueError(f"bootstrap.yml has no {before.strip()!r}: a first run that failed could not be run again")
        template = template.replace(before, f"{before.partition(':')[0]}: {after}\n")
    return template


def bring(
    stack: Stack, template: str, given: Mapping[str, str], tags: Mapping[str, str], *, take_over: bool, dry_run: bool
) -> None:
    """One stack as its template and these values say; other values that a person has set stay. Raises what `bootstrap` does."""
    failures: list[str] = []
    with step(f"stack {stack.name}") as shown:
        status = stack.status()
        if not settled(status):
            status = stack.watch(lambda _events: None)
        deletable = removal(status, serving=False).allowed and status != "REVIEW_IN_PROGRESS"
        if deletable and dry_run:
            shown.note(f"{status}: it would be deleted and made again")
            return
        if deletable:
            stack.delete()
            stack.watch(lambda _events: None)
        known, before = stack.known(template), stack.parameters()
        kept = {key: value for key, value in before.items() if key in known}
        change = stack.prepare(template, kept | dict(given), tags, take_over=take_over)
        if change is None:
            shown.note("as it should be")
            return
        for line in lines(change, before, given):
            say(line)
        if dry_run:
            stack.discard(change)
            shown.note(f"{counted(len(change.changes), 'change')}, not made")
            return
        names = {one["resource"] for one in change.changes}

        def show(events: list[Event]) -> None:
            failures.extend(f"{event.resource}: {event.reason}" for event in events if event.failed)
            for line in filter(None, (line_of(event, names) for event in events)):
                say(line)

        stack.execute(change)
        status = stack.watch(show)
        cause = failures[0] if failures else f"the stack ended as {status or 'deleted'}"
        if status in BACK:
            raise FailedRestored(f"{stack.name} was not updated: {cause}\nit is as it was before")
        if status not in DONE:
            raise FailedNotRestored(
                f"{stack.name} is {status or 'absent'}: {cause}\nmend that and run the command again"
            )
        shown.note(counted(len(change.changes), "change"))


def lines(change: ChangeSet, before: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """The change set for a person: what is decided anew, and each resource with what becomes of it."""
    said = [
        f"  {key} = {value}" + (f"  (was {before[key]})" if key in before else "")
        for key, value in given.items()
        if value and before.get(key) != value
    ]
    for one in change.changes:
        replaced = ", replaced" if one["replacement"] == "True" else ""
        said.append(f"{_SIGNS.get(one['action'], '?')} {one['resource']}  {one['type']}{replaced}")
    return said
