"""Every fault comes out as it is declared: the whole matrix, which takes more than half an hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faults import matrix
from faults.declared import FAULTS

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3 * 3600)]


def test_every_fault_comes_out_as_declared(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    matrix.run(tmp_path, [], print, found.__setitem__)
    assert list(found) == [one.name for one in FAULTS]
    assert {name: result["problems"] for name, result in found.items() if result["problems"]} == {}
