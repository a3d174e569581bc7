"""Who asks, in which account, and what an administrator made there with `lastgood bootstrap`."""

from __future__ import annotations

from lastgood.attest.signer import Signer
from lastgood.preflight.line import GOOD, NOTE, UNKNOWN, WRONG, Facts, Line

IDENTITY = "sts:GetCallerIdentity"
ECS, BALANCING = "AWSServiceRoleForECS", "AWSServiceRoleForElasticLoadBalancing"


def lines(facts: Facts) -> list[Line]:
    """Credentials first: without them nothing else could be asked."""
    found = [_identity(facts)]
    if found[0].state != GOOD:
        return found
    project = f"lastgood-{facts.project}"
    found += [_stack(facts, "bootstrap", project), _stack(facts, "access", f"{project}-{facts.environment}")]
    if found[-1].state == GOOD:
        found.append(_signers(facts, f"{project}-{facts.environment}"))
    return [*found, _registry(facts), *(_linked(facts, name) for name in (ECS, BALANCING))]


def _identity(facts: Facts) -> Line:
    answer, refusal = facts.answer(IDENTITY), facts.refusal(IDENTITY)
    if answer is None:
        return Line(
            "credentials",
            WRONG,
            f"AWS does not take them ({refusal.message if refusal else 'nothing was answered'})",
            "sign in, or set AWS_PROFILE, and ask again; in a workflow, assume the role first",
        )
    return Line(
        "credentials", GOOD, f"account {answer['Account']}, {facts.region}, as {str(answer['Arn']).rpartition(':')[2]}"
    )


def _stack(facts: Facts, what: str, name: str) -> Line:
    """A stack of an administrator's: what an account has once, or who may do what in the environment."""
    run = f"run `lastgood bootstrap --environment {facts.environment}`"
    unknown = facts.unknown(what, f"cloudformation:DescribeStacks {name}")
    if unknown:
        return unknown
    answer = facts.answer(f"cloudformation:DescribeStacks {name}")
    if answer is None:
        return Line(what, WRONG, f"there is no stack {name} in this account and region", run)
    status = str(answer["Stacks"][0]["StackStatus"])
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"):
        return Line(what, WRONG, f"the stack {name} is {status}", f"look at its events in CloudFormation, then {run}")
    template = facts.answer(f"cloudformation:GetTemplate {name}")
    if template is None:
        return Line(what, UNKNOWN, f"{name} is {status}; whether it is of this version can't be seen", run)
    if str(template["TemplateBody"]).strip() != facts.templates.get(name, "").strip():
        return Line(what, WRONG, f"{name} was made by another version of lastgood", run)
    return Line(what, GOOD, f"{name} is {status}, of this version")


def _signers(facts: Facts, name: str) -> Line:
    """Whose signature an administrator wants to see before anything is deployed."""
    what = "signatures"
    stack = (facts.answer(f"cloudformation:DescribeStacks {name}") or {})["Stacks"][0]
    decided = {one["ParameterKey"]: one.get("ParameterValue", "") for one in stack.get("Parameters", ())}
    if decided.get("Attestations") == "none":
        return Line(
            what, NOTE, "nobody is asked who has signed for a build", "take attestations out once a workflow pushes"
        )
    signer = Signer.of(decided)
    if signer is None:
        return Line(
            what,
            WRONG,
            "nobody has decided who signs for builds, so none is let in",
            f"run `lastgood bootstrap --environment {facts.environment}` with --github-repository-id and --bundle, or with attestations = "
            '"none"',
        )
    return Line(what, GOOD, f"by {' or '.join(signer.workflows)}, in repository {signer.repository}")


def _registry(facts: Facts) -> Line:
    what, name = "registry", "ecr:DescribeRepositories"
    unknown = facts.unknown(what, name)
    if unknown:
        return unknown
    answer = facts.answer(name)
    if answer is None:
        return Line(
            what,
            WRONG,
            f"there is no repository {facts.project} in ECR",
            f"run `lastgood bootstrap --environment {facts.environment}`",
        )
    repository = answer["repositories"][0]
    if repository.get("imageTagMutability") == "MUTABLE":
        return Line(what, NOTE, f"{repository['repositoryUri']}: its tags can be moved", "make them immutable in ECR")
    return Line(what, GOOD, str(repository["repositoryUri"]))


def _linked(facts: Facts, name: str) -> Line:
    """A role that AWS makes for itself with the first cluster or load balancer of an account, where who asks for that may make it."""
    what = {ECS: "role of ECS", BALANCING: "role of load balancing"}[name]
    service = {ECS: "ecs", BALANCING: "elasticloadbalancing"}[name]
    unknown = facts.unknown(what, f"iam:GetRole {name}")
    if unknown:
        return unknown
    if facts.answer(f"iam:GetRole {name}") is None:
        return Line(
            what,
            NOTE,
            f"{name} is not there yet: AWS makes it at the first release",
            f"if that is denied, run `aws iam create-service-linked-role --aws-service-name {service}.amazonaws.com` once",
        )
    return Line(what, GOOD, name)
