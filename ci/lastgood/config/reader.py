"""Reads tables into their classes. Every wrong key is found at once, and named with its line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lastgood.config import keys
from lastgood.config.keys import Key, Value
from lastgood.config.lines import Lines
from lastgood.config.near import near, nearest
from lastgood.config.tables import Table
from lastgood.errors import UsageError

T = TypeVar("T", bound=Table)
# Stands for what could not be read; what is wrong with it is noted.
_WRONG: Any = object()


class Reader:
    """Reads one file, and notes what is wrong with it as it goes."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = Lines(text)
        self._problems: list[tuple[int, str]] = []

    def read(self, kind: type[T], name: str, data: object, **given: object) -> T:
        """The table called `name`, parsed to `data`, as an object of its class, with the attributes that are `given` beside its keys.

        Raises UsageError with all that is wrong, one a line, in the order of the file.
        """
        found: T = self._table_at(kind, name, data, **given)
        if self._problems:
            raise UsageError("\n".join(text for _, text in sorted(self._problems, key=lambda problem: problem[0])))
        return found

    def _wrong(self, table: str, key: str, problem: str) -> Any:
        """Notes what is wrong with a key."""
        return self._wrong_on(self._lines.find(table, key), f"[{table}] {key}: {problem}")

    def _table_at(self, kind: type[Table], path: str, data: object, **given: object) -> Any:
        if isinstance(data, dict):
            return self._table(kind, path, data, **given)
        parent, _, key = path.rpartition(".")
        return self._wrong(parent, key, f"must be a table ([{path}])")

    def _table(self, kind: type[Table], path: str, data: Mapping[str, Any], **given: object) -> Any:
        known = keys.of(kind)
        strangers = [key for key in data if key not in known]
        for stranger in strangers:
            self._wrong(path, stranger, f"there is no such key{nearest(stranger, known)}; it takes {', '.join(known)}")
        meant = {near(stranger, known) for stranger in strangers}
        values = dict(given)
        for key in known.values():
            found = self._key(path, key, data)
            if found is None and key.required:
                found = _WRONG
                if key.name not in meant:
                    self._wrong_on(self._lines.find(path), f"[{path}] has no {key.name!r}: add it ({kind.page})")
            if found is not None:
                values[key.attribute] = found
        if strangers or any(value is _WRONG for value in values.values()):
            return _WRONG
        made = kind(**values)
        problems = [self._wrong(path + inner, key, text) for inner, key, text in made.problems()]
        return _WRONG if problems else made

    def _key(self, table: str, key: Key, data: Mapping[str, Any]) -> Any:
        """The value of a key, or None where neither the file nor a variable has one."""
        found: Any = None
        if key.name in data or "default" in key.extra:
            found = self._value(key.value, table, key.name, data.get(key.name, key.extra.get("default")))
        elif key.value.is_table:  # its keys may have variables
            found = self._table(key.value.base, f"{table}.{key.name}", {})
        variable = os.environ.get(key.extra.get("variable", ""))
        return self._variable(key, variable) if variable else found

    def _variable(self, key: Key, text: str) -> Any:
        try:
            return msgspec.convert(int(text) if text.isdecimal() else text, key.value.annotation)
        except msgspec.ValidationError:
            return self._note(None, f"{key.extra['variable']} is {text!r}: it must be {key.value.kind.name}")

    def _value(self, value: Value, table: str, key: str, data: Any) -> Any:
        """What the file has under a key, as the tool has it, or _WRONG."""
        if value.is_table:
            if isinstance(data, dict):
                return self._table(value.base, f"{table}.{key}", data)
            short = value.base.short
            if short and isinstance(data, str):
                found = self._value(keys.of(value.base)[short].value, table, key, data)
                return found if found is _WRONG else value.base(**{short: found})
            return self._wrong(table, key, f"must be {value.type_name}, not {data!r}")
        if value.base is Mapping and isinstance(data, dict):
            return self._mapping(value, f"{table}.{key}", data)
        if value.base is tuple and isinstance(data, list):
            return self._list(value, table, key, data)
        return self._single(value, table, key, data)

    def _single(self, value: Value, table: str, key: str, data: Any) -> Any:
        try:
            found = msgspec.convert(data, value.source)
        except msgspec.ValidationError as error:
            if ", got" in str(error):
                return self._wrong(table, key, f"must be {value.type_name}, not {data!r}")
            if value.choices:
                return self._wrong(table, key, f"{data!r} must be one of {', '.join(value.choices)}")
            return self._wrong(table, key, value.kind.wrong.format(value=data, name=value.kind.name))
        try:
            return value.kind.read(found, self._file.parent) if value.kind.read else found
        except ValueError as error:
            return self._wrong(table, key, str(error))

    def _list(self, value: Value, table: str, key: str, data: list[Any]) -> Any:
        item = Value.of(value.arguments[0])
        found = [self._item(item, table, key, one) for one in data]
        if _WRONG in found:
            return _WRONG
        if len(set(found)) != len(found):
            return self._wrong(table, key, "names something twice")
        try:
            return msgspec.convert(found, value.annotation)
        except msgspec.ValidationError:
            return self._wrong(
                table, key, f"must name one of {', '.join(item.choices)}" if item.choices else "is empty"
            )

    def _item(self, item: Value, table: str, key: str, data: Any) -> Any:
        try:
            return msgspec.convert(data, item.source)
        except msgspec.ValidationError:
            if item.choices and isinstance(data, str):
                return self._wrong(
                    table, key, f"{data!r} is none of {', '.join(item.choices)}{nearest(data, item.choices)}"
                )
            if isinstance(data, str) and item.base is str:
                return self._wrong(table, key, item.kind.wrong.format(value=data, name=item.kind.name))
            return self._wrong(table, key, f"must hold {item.type_name.removeprefix('a ')}s, not {data!r}")

    def _mapping(self, value: Value, table: str, data: Mapping[str, Any]) -> Any:
        name_of, item = map(Value.of, value.arguments)
        found = {}
        for name, one in data.items():
            named = self._single(name_of, table, name, name)
            if item.is_table:
                found[named] = self._table_at(item.base, f"{table}.{name}", one, name=name)
            else:
                found[named] = self._value(item, table, name, one)
        return _WRONG if _WRONG in found or _WRONG in found.values() else found

    def _wrong_on(self, line: int | None, text: str) -> Any:
        return self._note(line, f"{self._file.name}:{line}: {text}" if line else f"{self._file.name}: {text}")

    def _note(self, line: int | None, text: str) -> Any:
        self._problems.append((line or 0, text))
        return _WRONG
