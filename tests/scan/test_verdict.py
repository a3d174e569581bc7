"""What a scan decided, and that nothing is pushed without."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lastgood.attest import statement
from lastgood.errors import Refused
from lastgood.scan import measure, verdict

if TYPE_CHECKING:
    from scan.conftest import Plant

SETUID = {"usr/bin/x": {"mode": 0o4755}}


def test_a_build_that_passes(plant: Plant, tmp_path: Path) -> None:
    image = plant(base={"usr/lib/x": b"1"})
    facts = measure.scan(image, 10_000_000)
    found = verdict.of(image, facts)
    assert (found["result"], found["failedTests"], found["warnedTests"]) == ("PASSED", [], [])
    assert {"budget", "secret", "setuid"} <= set(found["passedTests"])
    assert found[statement.OWN] == {
        "build": image.build,
        "commit": image.commit,
        "version": image.version,
        "digest": image.digest,
        "manifest_sha": image.manifest_sha,
        "size": image.size,
    }
    verdict.keep(image, found, tmp_path / "signed.json")
    assert json.loads((tmp_path / "signed.json").read_text(encoding="utf-8")) == found
    verdict.demand(image)


def test_a_build_that_was_refused_is_not_pushed(plant: Plant) -> None:
    image = plant(base=SETUID)
    found = verdict.of(image, measure.scan(image, 10_000_000))
    verdict.keep(image, found)
    assert found["result"] == "FAILED"
    assert found["failedTests"] == ["setuid: usr/bin/x"]
    assert "setuid" not in found["passedTests"]
    with pytest.raises(Refused) as error:
        verdict.demand(image)
    assert str(error.value) == (
        f"nothing was pushed: {image.digest} (build abc) is not to run, the scan has refused it (setuid in usr/bin/x); mend that, build "
        "and scan it again"
    )


def test_what_is_accepted_passes_and_is_said(plant: Plant) -> None:
    image = plant(base=SETUID)
    accepted = measure.Options(accept=("setuid: usr/bin/x",))
    found = verdict.of(image, measure.scan(image, 10_000_000, accepted))
    assert (found["result"], found["warnedTests"]) == ("PASSED", ["setuid: usr/bin/x"])


@pytest.mark.parametrize("before", ["none", "damaged", "another", "no object"])
def test_a_build_that_was_not_scanned_is_not_pushed(plant: Plant, before: str) -> None:
    image = plant(base={"usr/lib/x": b"1"})
    file = image.folder / verdict.FILE
    if before == "damaged":
        file.write_text("{", encoding="utf-8")
    elif before == "no object":
        file.write_text("[]", encoding="utf-8")
    elif before == "another":  # scanned, but built again since, with other bytes
        verdict.keep(image, verdict.of(image, measure.scan(image, 10_000_000)))
        image = replace(image, digest="sha256:" + "1" * 64)
    with pytest.raises(Refused) as error:
        verdict.demand(image)
    assert str(error.value) == (
        f"nothing was pushed: {image.digest} (build abc) was not scanned on this machine; run `lastgood scan` first, with the same --layout"
    )
