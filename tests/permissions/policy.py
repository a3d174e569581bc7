"""IAM's decision, for what our policies are made of: identity policy x boundary, trust policy, and their conditions.

It knows no more than that, and says so: what it does not know (NotAction, variables, other operators) raises NotImplementedError, it is
never taken for allowed or denied. AWS's rules: "Policy evaluation logic" and "IAM JSON policy elements" in the IAM User Guide.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
Values = str | Sequence[str]


@dataclass(frozen=True)
class Request:
    """One call: `resource` is an ARN, or * for an action that knows none; `context` are condition keys with what the call brings."""

    action: str
    resource: str = "*"
    context: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Role:
    """A role as a template makes it. `boundary` is None where it has none: then its policies are all that counts."""

    arn: str
    trust: Document
    policies: Sequence[Document]
    boundary: Document | None = None

    def may(self, request: Request) -> bool:
        """Whether the role may do it: its policies allow it, its boundary does, and neither denies it."""
        inside = self.boundary is None or allows([self.boundary], request)
        return inside and allows(self.policies, request)

    def trusts(self, action: str, principal: Mapping[str, str], context: Mapping[str, Values]) -> bool:
        """Whether somebody may assume it: `principal` is one of Service, Federated, AWS with its name."""
        wanted = Request(action, self.arn, context)
        allowed = [
            one["Effect"]
            for one in statements(self.trust)
            if _principal(one["Principal"], principal)
            and _action(one, wanted.action)
            and conditions(one.get("Condition", {}), wanted.context)
        ]
        return "Deny" not in allowed and "Allow" in allowed


def allows(documents: Iterable[Document], request: Request) -> bool:
    """Whether policies allow it: one statement does, and none denies it."""
    effects = {one["Effect"] for document in documents for one in statements(document) if applies(one, request)}
    return "Deny" not in effects and "Allow" in effects


def statements(document: Document) -> list[dict[str, Any]]:
    found = document["Statement"]
    return [found] if isinstance(found, dict) else list(found)


def applies(statement: Mapping[str, Any], request: Request) -> bool:
    """Whether a statement speaks of the request."""
    known = {"Sid", "Effect", "Action", "Resource", "Condition"}
    if set(statement) - known:
        raise NotImplementedError(f"statements with {sorted(set(statement) - known)}")
    return (
        _action(statement, request.action)
        and any(like(pattern, request.resource) for pattern in listed(statement["Resource"]))
        and conditions(statement.get("Condition", {}), request.context)
    )


def _action(statement: Mapping[str, Any], action: str) -> bool:
    return any(like(pattern.lower(), action.lower()) for pattern in listed(statement["Action"]))


def _principal(named: Mapping[str, Values], principal: Mapping[str, str]) -> bool:
    ((kind, name),) = principal.items()
    return name in listed(named.get(kind, []))


def listed(value: Values) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def like(pattern: str, text: str) -> bool:
    """IAM's wildcards: * is any number of characters, / and : among them; ? is one."""
    return _pattern(pattern).fullmatch(text) is not None


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    if "${" in text:
        raise NotImplementedError(f"policy variables: {text}")
    return re.compile("".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in text), re.DOTALL)


def arn_like(pattern: str, text: str) -> bool:
    """ArnEquals and ArnLike, which are the same: each of the six parts is compared by itself."""
    wanted, found = pattern.split(":", 5), text.split(":", 5)
    return len(wanted) == len(found) == 6 and all(map(like, wanted, found))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringLike": like,
    "ArnEquals": arn_like,
    "ArnLike": arn_like,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
}


def conditions(block: Mapping[str, Mapping[str, Values]], context: Mapping[str, Values]) -> bool:
    """Whether all conditions hold; a key's values are alternatives."""
    brought = {key.lower(): value for key, value in context.items()}
    return all(
        _holds(operator, listed(wanted), brought.get(key.lower()))
        for operator, keys in block.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, wanted: Sequence[str], found: Values | None) -> bool:
    if operator == "Null":
        return any((found is None) == (value == "true") for value in wanted)
    quantifier, _, name = operator.rpartition(":")
    optional = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negated = name.replace("Not", "") in OPERATORS and "Not" in name
    compare = OPERATORS.get(name.replace("Not", "") if negated else name)
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise NotImplementedError(f"the operator {operator}")
    if found is None:
        return optional or quantifier == "ForAllValues" or (negated and not quantifier)
    values = listed(found)
    if not quantifier and len(values) != 1:
        raise NotImplementedError(f"{operator} over several values, which wants ForAllValues or ForAnyValue")

    def fits(value: str) -> bool:
        return any(compare(one, value) for one in wanted) is not negated

    return any(map(fits, values)) if quantifier == "ForAnyValue" else all(map(fits, values))


def actions(document: Document) -> Iterator[tuple[str, str]]:
    """(Sid, action) of everything that a policy allows."""
    for one in statements(document):
        for action in listed(one["Action"]):
            yield one.get("Sid", ""), action
