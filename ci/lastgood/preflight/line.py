"""What is said of one thing that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

GOOD, WRONG, NOTE, UNKNOWN = "good", "wrong", "note", "unknown"


@dataclass(frozen=True)
class Line:
    """`what` was looked at, its `state` (good, wrong, note or unknown), `text` says what was found, `todo` what to do about it."""

    what: str
    state: str
    text: str
    todo: str = ""

    def as_dict(self) -> dict[str, str]:
        """JSON-able facts."""
        return asdict(self)


@dataclass(frozen=True)
class Refusal:
    """What AWS answered instead of what was asked for. `code` is as `AccessDenied`."""

    code: str
    message: str

    @property
    def denied(self) -> bool:
        """Whether the caller may not ask that; so nothing is known."""
        return self.code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


@dataclass(frozen=True)
class Facts:
    """What was asked. `parameters` are those of the environment's stack, with the template's defaults.

    `answers` have AWS's answer to each operation, as `ec2:DescribeSubnets` (with the resource behind it where there are several, as
    `secretsmanager:DescribeSecret arn:…`), or a Refusal.
    """

    project: str
    environment: str
    region: str
    url: str | None
    parameters: Mapping[str, str]
    answers: Mapping[str, Any]
    # An administrator's stacks by name, as this version of lastgood makes them.
    templates: Mapping[str, str] = field(default_factory=dict)

    def answer(self, name: str) -> Mapping[str, Any] | None:
        """The answer to an operation; None where it was refused or not asked."""
        found = self.answers.get(name)
        return None if isinstance(found, Refusal) else found

    def refusal(self, name: str) -> Refusal | None:
        """Why an operation was not answered; None where it was, or was not asked."""
        found = self.answers.get(name)
        return found if isinstance(found, Refusal) else None

    def unknown(self, what: str, name: str) -> Line | None:
        """The line for what could not be looked at; None where the operation was answered, or said no by another reason than permission."""
        found = self.refusal(name)
        if found and found.denied:
            return Line(
                what,
                UNKNOWN,
                f"this identity may not ask {name.partition(' ')[0]}",
                "look yourself, or ask again with one that may",
            )
        return None


def listed(parameters: Mapping[str, str], name: str) -> list[str]:
    """The entries of a parameter that is a list."""
    return [one.strip() for one in parameters.get(name, "").split(",") if one.strip()]
