from __future__ import annotations

from typing import Any

from lastgood.demo import page


def facts(held: bool) -> dict[str, Any]:
    expectation = {"text": "the <schema> is that of v1", "held": held, "found": "0002"}
    command = {"line": "lastgood deploy --reason 'a & b'", "status": 3, "seconds": 2.0}
    station = {
        "title": "version 3", "began": "", "seconds": 4.0, "commands": [command], "expectations": [expectation],
        "asked": 40, "failed": 2, "failures": {"status 503": 2}, "outcome": "failed", "held": held,
    }  # fmt: skip
    return {"held": held, "seconds": 8.0, "site": "http://127.0.0.1:8000", "digests": {}, "stations": [station]}


def test_says_what_held() -> None:
    text = page.render(facts(True))
    assert "1 of 1 expectations held" in text
    assert "2 of 40 answers failed meanwhile" in text
    assert 'href="http://127.0.0.1:8000/"' in text
    assert "(found" not in text


def test_says_what_did_not_hold_and_what_was_found() -> None:
    text = page.render(facts(False))
    assert "0 of 1 expectations held" in text
    assert "the &lt;schema&gt; is that of v1 (found: 0002)" in text


def test_is_escaped_and_fetches_nothing() -> None:
    text = page.render(facts(True))
    assert "<schema>" not in text
    assert "a &amp; b" in text
    assert "<script" not in text
    assert "src=" not in text
    assert "<link" not in text


def test_the_timeline_places_commands_on_one_scale() -> None:
    assert 'style="left:0.00%;width:25.00%"' in page.render(facts(True))
