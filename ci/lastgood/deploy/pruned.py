"""What of a template is decided already by its parameters, and what nothing in it refers to any more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NOTHING = {"Ref": "AWS::NoValue"}
_GONE: Any = object()


class _Unknown(Exception):
    """A parameter's value that is not known here."""


def decide(document: dict[str, Any], parameters: Mapping[str, str]) -> None:
    """Takes out of a template (as JSON has it) what its parameters decide: each `Fn::If`, and each resource's condition.

    Parameters that are not given have their default; a condition that hangs on anything unknown stays as it is.
    """
    conditions = {}
    for name in document["Conditions"]:
        try:
            conditions[name] = bool(_value({"Condition": name}, document, parameters))
        except _Unknown:
            continue
    resources = document["Resources"]
    for name in [name for name, one in resources.items() if one.get("Condition") in conditions]:
        if conditions[resources[name].pop("Condition")] is False:
            del resources[name]
    for part in ("Resources", "Outputs"):
        document[part] = _choose(document[part], conditions)


def _choose(value: Any, conditions: Mapping[str, bool]) -> Any:
    if isinstance(value, list):
        return [one for one in (_choose(one, conditions) for one in value) if one is not _GONE]
    if not isinstance(value, Mapping):
        return value
    if value == _NOTHING:
        return _GONE
    branches = value.get("Fn::If")
    if branches and branches[0] in conditions:
        return _choose(branches[1] if conditions[branches[0]] else branches[2], conditions)
    if branches:  # not decided: what is nothing must stay
        return {
            "Fn::If": [branches[0], *(one if one == _NOTHING else _choose(one, conditions) for one in branches[1:])]
        }
    chosen = {key: _choose(one, conditions) for key, one in value.items()}
    return {key: one for key, one in chosen.items() if one is not _GONE}


def _value(value: Any, document: Mapping[str, Any], parameters: Mapping[str, str]) -> Any:
    """What a condition's expression comes to."""
    if not isinstance(value, Mapping):
        return value
    ((name, inside),) = value.items()
    if name == "Condition":
        return _value(document["Conditions"][inside], document, parameters)
    if name == "Ref":
        if inside not in document["Parameters"]:
            raise _Unknown(inside)
        found = parameters.get(inside, document["Parameters"][inside].get("Default", _GONE))
        if found is _GONE:
            raise _Unknown(inside)
        return str(found)
    parts = [_value(one, document, parameters) for one in inside]
    if name == "Fn::Equals":
        return str(parts[0]) == str(parts[1])
    if name == "Fn::Not":
        return not parts[0]
    if name == "Fn::And":
        return all(parts)
    if name == "Fn::Join":  # of a parameter that is a list, which is text here
        return parts[1]
    raise _Unknown(name)


def unused(document: dict[str, Any]) -> None:
    """Takes out the conditions, and then the parameters, that nothing refers to."""
    while True:
        named = set(
            _names({key: document[key] for key in ("Resources", "Outputs", "Conditions")}, "Condition", "Fn::If")
        )
        gone = [name for name in document["Conditions"] if name not in named]
        for name in gone:
            del document["Conditions"][name]
        if not gone:
            break
    named = set(_names({key: one for key, one in document.items() if key != "Parameters"}, "Ref", "Fn::Sub"))
    for name in [one for one in document["Parameters"] if one not in named]:
        del document["Parameters"][name]


def _names(value: Any, *functions: str) -> Iterator[str]:
    """What these functions name, anywhere in a value."""
    if isinstance(value, list):
        for one in value:
            yield from _names(one, *functions)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key in functions:
                text = one[0] if isinstance(one, list) else one
                if isinstance(text, str):
                    yield from re.findall(r"\$\{(\w+)\}", text) if key == "Fn::Sub" else [text]
            yield from _names(one, *functions)
