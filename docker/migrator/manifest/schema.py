"""Checks JSON against the part of JSON Schema that manifest.schema.json uses; an image has no library for that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("manifest.schema.json")
TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
NAMES = {"object": "an object", "array": "a list", "string": "a text", "boolean": "true or false", "null": "null"}

# Where it is wrong, below the place that was asked for, and what is wrong there.
Wrong = tuple[str, str]
Check = Callable[[Any], "Wrong | None"]


@lru_cache(maxsize=1)
def manifest_schema() -> dict[str, Any]:
    """Return the schema of manifests."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def mistake(data: Any, schema: dict[str, Any]) -> str | None:
    """Return the first thing that is wrong with `data`, with its place; None when it is as `schema` says."""
    wrong = _check(schema, schema)(data)
    return f"{wrong[0].lstrip('.') or 'it'} {wrong[1]}" if wrong else None


def _check(schema: dict[str, Any], whole: dict[str, Any]) -> Check:
    """Return what checks data against `schema`: read once, for what may hold thousands of the same."""
    if "$ref" in schema:
        schema = {**whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], **schema}
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    classes = tuple(TYPES[kind] for kind in kinds) or object
    enum, text = schema.get("enum"), _text(schema)
    item = _check(schema["items"], whole) if "items" in schema else None
    members = {name: _check(value, whole) for name, value in schema.get("properties", {}).items()}
    required, closed = schema.get("required", ()), not schema.get("additionalProperties", True)

    def check(data: Any) -> Wrong | None:
        if not isinstance(data, classes):
            return "", f"is not {' or '.join(NAMES[kind] for kind in kinds)}"
        if enum is not None and (isinstance(data, bool) or data not in enum):
            return "", f"is {data!r}, not {' or '.join(map(str, enum))}"
        if isinstance(data, str):
            return text(data)
        if isinstance(data, list) and item:
            for number, value in enumerate(data):
                if wrong := item(value):
                    return f"[{number}]{wrong[0]}", wrong[1]
        if isinstance(data, dict):
            for name in required:
                if name not in data:
                    return "", f"has no {name!r}"
            for name, value in data.items():
                if name not in members:
                    if closed:
                        return "", f"has {name!r}, which nobody knows"
                elif wrong := members[name](value):
                    return f".{name}{wrong[0]}", wrong[1]
        return None

    return check


def _text(schema: dict[str, Any]) -> Check:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    pattern = re.compile(schema["pattern"]) if "pattern" in schema else None

    def check(data: str) -> Wrong | None:
        if len(data) < least:
            return "", "is empty"
        if most is not None and len(data) > most:
            return "", f"is longer than {most} characters"
        if pattern and not pattern.search(data):
            return "", f"is {data!r}, which does not match {schema['pattern']}"
        return None

    return check
