"""Checks JSON against the part of JSON Schema that manifest.schema.json uses; an image has no library for that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("manifest.schema.json")
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
}
NAMES = {"object": "an object", "array": "a list", "string": "a text", "boolean": "true or false", "null": "null"}


@lru_cache(maxsize=1)
def manifest_schema() -> dict[str, Any]:
    """Return the schema of manifests."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def mistake(data: Any, schema: dict[str, Any]) -> str | None:
    """Return the first thing that is wrong with `data`, with its place; None when it is as `schema` says."""
    return next(_mistakes(data, schema, schema, ""), None)


def _mistakes(data: Any, schema: dict[str, Any], whole: dict[str, Any], place: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = {**whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], **schema}
    at = place.lstrip(".") or "it"
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if kinds and not any(isinstance(data, TYPES[kind]) for kind in kinds):
        yield f"{at} is not {' or '.join(NAMES[kind] for kind in kinds)}"
        return
    if "enum" in schema and (isinstance(data, bool) or data not in schema["enum"]):
        yield f"{at} is {data!r}, not {' or '.join(map(str, schema['enum']))}"
    if isinstance(data, str):
        if len(data) < schema.get("minLength", 0):
            yield f"{at} is empty"
        if len(data) > schema.get("maxLength", len(data)):
            yield f"{at} is longer than {schema['maxLength']} characters"
        if "pattern" in schema and not re.search(schema["pattern"], data):
            yield f"{at} is {data!r}, which does not match {schema['pattern']}"
    if isinstance(data, list):
        for number, item in enumerate(data):
            yield from _mistakes(item, schema["items"], whole, f"{place}[{number}]")
    if isinstance(data, dict):
        for name in schema.get("required", ()):
            if name not in data:
                yield f"{place.lstrip('.') + ' ' if place else 'it '}has no {name!r}"
        for name, value in data.items():
            if name in schema["properties"]:
                yield from _mistakes(value, schema["properties"][name], whole, f"{place}.{name}")
            elif not schema.get("additionalProperties", True):
                yield f"{at} has {name!r}, which nobody knows"
