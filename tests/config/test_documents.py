"""docs/configuration.md and the JSON Schema say what the classes say, and the schema refuses what the reader refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import configuration
import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/lastgood.schema.json").read_text(encoding="utf-8"))
RIGHT = '[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n'


def wrong(text: str) -> list[str]:
    """What the schema says of a pyproject.toml: the places, as dotted names."""
    found = jsonschema.Draft7Validator(SCHEMA).iter_errors(tomllib.loads(text))
    return [error.json_path for error in found]


def test_both_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert (configuration.main([]), capsys.readouterr().err) == (0, "")


def test_a_stale_page_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(configuration, "DOCS", tmp_path)
    assert configuration.main(["--write"]) == 0
    (tmp_path / "configuration.md").write_text("# Configuration\n", encoding="utf-8")
    assert configuration.main([]) == 1
    expected = "docs/configuration.md is not what ci/lastgood/config/tables.py says: run `make docs`\n"
    assert capsys.readouterr().err == expected


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_every_key_has_a_sentence_and_an_example() -> None:
    """All but the tables, which have a section of their own."""
    silent = [
        f"[{name}] {key.name}"
        for name, table in configuration.tables()
        for key in configuration.keys.of(table).values()
        if not configuration._own(key.value) and not (key.description.endswith(".") and key.examples)
    ]
    assert silent == []


def test_every_example_is_right() -> None:
    for name, table in configuration.tables():
        for key in configuration.keys.of(table).values():
            for example in key.examples:
                needed = {one.name: one.examples[0] for one in configuration.keys.of(table).values() if one.required}
                inside: dict[str, Any] = needed | {key.name: example}
                for part in reversed(name.replace("NAME", "production").split(".")[2:]):
                    inside = {part: inside}
                document = {"tool": {"lastgood": {"project": "shop", "settings": "shop.settings"} | inside}}
                jsonschema.validate(document, SCHEMA)


def test_our_own_is_right() -> None:
    assert wrong((ROOT / "pyproject.toml").read_text(encoding="utf-8")) == []


def test_what_is_not_ours_is_not_judged() -> None:
    assert wrong("[project]\nname = 3\n[tool.other]\nx = 1\n") == []


@pytest.mark.parametrize(
    ("addition", "path"),
    [
        ("setings = 'x'", ""),
        ("[tool.lastgood.image]\nbugdet = '3 MB'", ".image"),
        ("[tool.lastgood.image]\nbudget = '3 MiB'", ".image.budget"),
        ("[tool.lastgood.image]\nbudget = 3", ".image.budget"),
        ("[tool.lastgood.image.budget]\ngrowht = '3 MB'", ".image.budget"),
        ("[tool.lastgood.image]\nplatforms = ['linux/arm']", ".image.platforms[0]"),
        ("[tool.lastgood.image]\nplatforms = []", ".image.platforms"),
        ("[tool.lastgood.image]\npackages = ['a', 'a']", ".image.packages"),
        ("[tool.lastgood.image]\nbuild-packages = [5]", ".image['build-packages'][0]"),
        ("[tool.lastgood.image]\ncompression = 'xz'", ".image.compression"),
        ("[tool.lastgood.image.environment]\nDEBUG = false", ".image.environment.DEBUG"),
        ("[tool.lastgood.local]\nport = 70000", ".local.port"),
        ("[tool.lastgood.local]\nport = true", ".local.port"),
        ("[tool.lastgood.lock]\ncooldown = 400", ".lock.cooldown"),
        ("[tool.lastgood.environments.Staging]", ".environments"),
        ("[tool.lastgood.environments.staging]\nname = 'x'", ".environments.staging"),
    ],
)
def test_what_the_reader_refuses_the_schema_does_too(addition: str, path: str) -> None:
    assert wrong(RIGHT + addition) == [f"$.tool.lastgood{path}"]


@pytest.mark.parametrize("missing", ["project", "settings"])
def test_what_must_be_there(missing: str) -> None:
    text = "\n".join(line for line in RIGHT.splitlines() if not line.startswith(missing))
    assert wrong(text) == ["$.tool.lastgood"]
