"""docs/configuration.md and docs/lastgood.schema.json, written from the classes of lastgood.config.tables.

Usage: python ci/checks/configuration.py [--write]
Exit status: 0 both are current · 1 one is not (run `make docs`).
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from lastgood.config import keys
from lastgood.config.keys import Key, Value
from lastgood.config.tables import Project, Table

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAME = "tool.lastgood"
_INTRODUCTION = """\
# Configuration

Every key that `pyproject.toml` takes, by its table. `make docs` writes this page from the classes that read the file
(`ci/lastgood/config/tables.py`): an unknown or wrong key is refused with its line and the nearest right name, and all that is wrong is said
at once.

Editors complete and check it by [lastgood.schema.json](lastgood.schema.json), a JSON Schema of the whole file that has an opinion of
`[tool.lastgood]` alone. [Even Better TOML](https://taplo.tamasfe.dev) takes it from the file's first line:

```toml
#:schema https://raw.githubusercontent.com/OWNER/lastgood/COMMIT/docs/lastgood.schema.json
```
"""


def page() -> str:
    """The page with a section for each table."""
    return "\n".join([_INTRODUCTION, *(line for name, table in tables() for line in _section(name, table))])


def schema() -> str:
    """The JSON Schema (draft 7, which editors know) of pyproject.toml, as far as it is ours."""
    table = {"type": "object", "properties": {"lastgood": {"$ref": "#/definitions/lastgood"}}}
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"pyproject.toml with [{NAME}]",
        "type": "object",
        "properties": {"tool": table},
        "definitions": {"lastgood": _table_schema(Project)},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def tables(name: str = NAME, table: type[Table] = Project) -> Iterator[tuple[str, type[Table]]]:
    """(name, class) of every table, from the outermost in."""
    yield name, table
    for key in keys.of(table).values():
        if key.value.is_table:
            yield from tables(f"{name}.{key.name}", key.value.base)
        elif key.value.base is Mapping and (inner := Value.of(key.value.arguments[1])).is_table:
            yield from tables(f"{name}.{key.name}.NAME", inner.base)


def _section(name: str, table: type[Table]) -> Iterator[str]:
    yield f"## `[{name}]`\n"
    yield f"{(table.__doc__ or '').strip()}\n"
    yield "| key | type | default | what it does |"
    yield "|---|---|---|---|"
    for key in keys.of(table).values():
        default = "**required**" if key.required else _toml(_default(key))
        yield f"| `{key.name}` | {_type(key.value)} | {default} | {_sentence(name, key)} |"
    yield ""


def _sentence(table: str, key: Key) -> str:
    if _own(key.value):
        inner = f"{table}.{key.name}" + ("" if key.value.is_table else ".NAME")
        return f"See [`[{inner}]`](#{inner.replace('.', '').lower()})."
    said = [key.description, *(f"Example: {_toml(example)}." for example in key.examples[:1])]
    if "variable" in key.extra:
        said.append(f"Variable: {key.extra['variable']}.")
    return " ".join(said)


def _own(value: Value) -> bool:
    """Whether it has a section of its own."""
    return value.is_table or (value.base is Mapping and Value.of(value.arguments[1]).is_table)


def _type(value: Value) -> str:
    if value.choices:
        return " or ".join(f"`{choice}`" for choice in value.choices)
    if value.base is tuple:
        item = Value.of(value.arguments[0])
        return f"a list of {_type(item) if item.choices else item.type_name.removeprefix('a ') + 's'}"
    if value.base is Mapping and not _own(value):
        return f"a table of {Value.of(value.arguments[1]).kind.name.removeprefix('a ').partition(',')[0]}s"
    return value.kind.name


def _default(key: Key) -> Any:
    """The default as the file would have it; None for none."""
    if "default" in key.extra:
        return key.extra["default"]
    if key.required or key.value.is_table or key.default in (None, "", {}):
        return None
    write = key.value.kind.write
    return msgspec.to_builtins(write(key.default) if write else key.default)


def _toml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} = {json.dumps(one, ensure_ascii=False)}" for name, one in value.items())
        return f"`{{ {inner} }}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _table_schema(table: type[Table]) -> dict[str, Any]:
    known = keys.of(table)
    return {
        "description": (table.__doc__ or "").strip(),
        "type": "object",
        "properties": {key.name: _key_schema(key) for key in known.values()},
        "required": [key.name for key in known.values() if key.required],
        "additionalProperties": False,
    }


def _key_schema(key: Key) -> dict[str, Any]:
    found = _value_schema(key.value)
    if key.description:
        found["description"] = key.description
    if (default := _default(key)) is not None:
        found["default"] = default
    if key.examples:
        found["examples"] = list(key.examples)
    return found


def _value_schema(value: Value) -> dict[str, Any]:
    if value.is_table:
        whole = _table_schema(value.base)
        if not value.base.short:
            return whole
        return {"anyOf": [_value_schema(keys.of(value.base)[value.base.short].value), whole]}
    if value.base is Mapping:
        name, inner = map(Value.of, value.arguments)
        names = msgspec.json.schema(name.source)
        limits = {"propertyNames": {"pattern": names["pattern"]}} if "pattern" in names else {}
        return {"type": "object", **limits, "additionalProperties": _value_schema(inner)}
    if value.base is tuple:
        # What msgspec makes of the list says its length; the item's type is the file's.
        lengths = {key: one for key, one in msgspec.json.schema(value.annotation).items() if key == "minItems"}
        return {"type": "array", "items": _value_schema(Value.of(value.arguments[0])), "uniqueItems": True, **lengths}
    return _without_none(msgspec.json.schema(value.source))


def _without_none(found: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null."""
    options = [one for one in found.get("anyOf", ()) if one != {"type": "null"}]
    return typing.cast("dict[str, Any]", options[0]) if len(options) == 1 else found


def main(arguments: list[str]) -> int:
    """Compares both files with what they must say, or writes them."""
    stale = []
    for file, text in ((DOCS / "configuration.md", page()), (DOCS / "lastgood.schema.json", schema())):
        if "--write" in arguments:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            stale.append(file.name)
            print(f"docs/{file.name} is not what ci/lastgood/config/tables.py says: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
