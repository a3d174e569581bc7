"""The comparison on three of its builds; `make migrations-table` runs all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .comparison import METHODS, compare, page
from .fleet import Fleet

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

FIRST, HOTFIX, SQUASHED = "1 first", "3h hotfix", "5 squash, files deleted"


def test_three_builds(fleet: Fleet, database: Any, tmp_path: Path) -> None:
    found = compare(fleet, database, tmp_path, only=(FIRST, HOTFIX, SQUASHED))
    assert set(found["ours"].values()) == {"right"}
    assert found["migrate"] == {
        (FIRST, HOTFIX): "right",
        (FIRST, SQUASHED): "refused",
        (HOTFIX, FIRST): "silent",
        (HOTFIX, SQUASHED): "refused",
        (SQUASHED, FIRST): "silent",
        (SQUASHED, HOTFIX): "silent",
    }
    text = page(found, "versions")
    assert f"| {METHODS['ours']} | 6 | 0 | 0 | 0 |\n| {METHODS['migrate']} | 1 | 2 | 3 | 3 |\n" in text
