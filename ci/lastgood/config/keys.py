"""What a table's class says about its keys, for the reader and for the documentation."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from lastgood.config.kinds import Kind
from lastgood.config.tables import Table

_NAMES: Mapping[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    Mapping: "a table",
}


class Value(msgspec.Struct, frozen=True):
    """What one value must be: `annotation`, taken apart.

    `base` is its type without annotations, `arguments` are the types of what a list or a table holds. `choices` are all that it may be.
    """

    annotation: Any
    base: Any
    arguments: tuple[Any, ...]
    kind: Kind
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, annotation: Any) -> Value:
        """Takes a type as a class has it."""
        base, kind = annotation, None
        while True:
            if typing.get_origin(base) is Annotated:
                kind = kind or next((one for one in base.__metadata__ if isinstance(one, Kind)), None)
                base = base.__origin__
            elif typing.get_origin(base) in (typing.Union, types.UnionType):  # X | None: TOML has no None
                base = next(one for one in typing.get_args(base) if one is not types.NoneType)
            else:
                break
        origin = typing.get_origin(base) or base
        kind = kind or Kind(_named(origin))
        choices = typing.get_args(kind.source) if typing.get_origin(kind.source) is typing.Literal else ()
        return cls(annotation, origin, typing.get_args(base), kind, choices)

    @property
    def source(self) -> Any:
        """Its type as the file has it."""
        return self.kind.source or self.annotation

    @property
    def type_name(self) -> str:
        """What the file must have, in words."""
        if self.choices or not self.kind.source:
            return _named(self.base)
        if typing.get_origin(self.kind.source) is types.UnionType:
            return self.kind.name
        return Value.of(self.kind.source).type_name

    @property
    def is_table(self) -> bool:
        """Whether it is a table with a class of its own."""
        return isinstance(self.base, type) and issubclass(self.base, Table)


class Key(msgspec.Struct, frozen=True):
    """One key: its name in the file, the class's attribute, what its value must be, and what is said of it.

    `extra` may have `default` (as the file would have it, read as if it stood there) and `variable` (of the
    environment, which comes before the file).
    """

    name: str
    attribute: str
    value: Value
    required: bool
    default: Any
    description: str
    examples: tuple[Any, ...]
    extra: Mapping[str, Any]


@functools.cache
def of(table: type[Table]) -> dict[str, Key]:
    """The keys of a table by their names in the file, in the order of the class."""
    return {key.name: key for key in _keys(table)}


def _keys(table: type[Table]) -> Iterator[Key]:
    for found in msgspec.structs.fields(table):
        metas = [one for one in getattr(found.type, "__metadata__", ()) if isinstance(one, msgspec.Meta)]
        extra: dict[str, Any] = {}
        for meta in metas:
            extra |= meta.extra or {}
        if extra.get("given"):
            continue
        yield Key(
            name=found.encode_name,
            attribute=found.name,
            value=Value.of(found.type),
            required=found.required and "default" not in extra,
            default=found.default_factory() if callable(found.default_factory) else found.default,
            description=next((one.description for one in reversed(metas) if one.description), ""),
            examples=next((tuple(one.examples) for one in reversed(metas) if one.examples), ()),
            extra=extra,
        )


def _named(base: Any) -> str:
    if isinstance(base, type) and issubclass(base, Table):
        return base.called
    return _NAMES[base]
