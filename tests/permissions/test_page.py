"""docs/permissions.md is what the templates and tests say today; docs/threat-model.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

from permissions import page, templates

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current() -> None:
    assert page.FILE.read_text(encoding="utf-8") == page.render(), "run `make permissions`"


def test_the_page_shows_no_account() -> None:
    assert templates.ACCOUNT not in page.FILE.read_text(encoding="utf-8")


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 10
    for file, function in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, f"{file}::{function}"
