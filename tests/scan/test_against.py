"""What a scan is compared with where that is last good: the release record says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lastgood.record.release import BuildFacts
from lastgood.scan import against, contents
from lastgood.scan.contents import Contents

OLD = Contents("old", 5, 9, 1, {"project": ("", 5, 9)}, {"sha256:a": 5})
FACTS = BuildFacts("old", "c", "1", "sha256:d", "r", "m", 5)


class Fake:
    """A release record of one release, and of one build."""

    environment = "staging"

    def __init__(self, release: Any, known: Any) -> None:
        self.release = release
        self.known = known

    def last_good(self) -> Any:
        return self.release

    def build(self, digest: str) -> Any:
        assert digest == "sha256:d"
        return self.known


@pytest.mark.parametrize(
    ("released", "known", "found", "said"),
    [
        (False, None, None, "staging has no last good release to compare with yet"),
        (True, None, None, "last good of staging (release 3, build old) was pushed without being scanned before"),
        (True, "", None, "last good of staging (release 3, build old) was pushed without being scanned before"),
        (True, OLD.text(), OLD, "last good of staging (release 3, build old)"),
        (True, '{"v":9}', None, ("the record's contents of last good of staging (release 3, build old) can't be read: its form is 9, this "
         "lastgood reads 1")),
    ],
)  # fmt: skip
def test_last_good(tmp_path: Path, released: bool, known: str | None, found: Any, said: str) -> None:
    release = SimpleNamespace(number=3, facts=FACTS) if released else None
    record: Any = Fake(release, None if known is None else SimpleNamespace(contents=known))
    assert against.find(against.LAST_GOOD, tmp_path, lambda: record) == (found, said)


def test_layers_of_other_builds_are_known(tmp_path: Any) -> None:
    for name in ("old", "new", "broken"):
        (tmp_path / name).mkdir()
        text = "{" if name == "broken" else Contents(name, 5, 9, 1, {}, {f"sha256:{name}": 5}).text()
        (tmp_path / name / contents.FILE).write_text(text, encoding="utf-8")
    assert against.known(tmp_path, "new") == [{"sha256:old": 5}]
