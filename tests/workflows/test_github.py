"""What a command leaves for GitHub Actions: outputs, summary, annotation."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood.report import github


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """The files of outputs and summary, of a step that runs."""
    output, summary = tmp_path / "output", tmp_path / "summary"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(output))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return output, summary


def test_single_facts_become_outputs_and_the_text_a_summary(files: tuple[Path, Path]) -> None:
    facts = {"build": "0123456789ab", "size": 42, "stale": False, "region": None, "layers": [1], "smoke": {"tries": 1}}

    github.publish(facts, "build 0123456789ab")

    assert files[0].read_text(encoding="utf-8") == "build=0123456789ab\nsize=42\nstale=false\nregion=\n"
    assert files[1].read_text(encoding="utf-8") == "```text\nbuild 0123456789ab\n```\n\n"


def test_steps_of_one_job_add_to_what_is_there(files: tuple[Path, Path]) -> None:
    github.publish({"build": "a"}, "first")
    github.publish({"state": "good"}, "second")

    assert files[0].read_text(encoding="utf-8") == "build=a\nstate=good\n"
    assert files[1].read_text(encoding="utf-8") == "```text\nfirst\n```\n\n```text\nsecond\n```\n\n"


def test_a_value_can_not_set_another_output(files: tuple[Path, Path]) -> None:
    github.publish({"reason": "one\ndigest=sha256:forged\nEOF"}, "done")

    first, *lines = files[0].read_text(encoding="utf-8").splitlines()
    name, _, end = first.partition("<<")
    assert name == "reason"
    assert lines == ["one", "digest=sha256:forged", "EOF", end]
    assert len(end) == len("end-") + 32


def test_a_list_has_no_outputs(files: tuple[Path, Path]) -> None:
    github.publish([{"number": 1}], "release  state")

    assert not files[0].exists()
    assert files[1].read_text(encoding="utf-8") == "```text\nrelease  state\n```\n\n"


def test_a_text_with_fences_does_not_end_the_summarys_own(files: tuple[Path, Path]) -> None:
    github.publish({}, "before\n````\nafter")

    assert files[1].read_text(encoding="utf-8") == "`````text\nbefore\n````\nafter\n`````\n\n"


def test_markdown_is_the_summary_as_it_is(files: tuple[Path, Path]) -> None:
    github.publish({"build": "a"}, "plain", "### Image\n\n| a |\n")

    assert files[1].read_text(encoding="utf-8") == "### Image\n\n| a |\n\n"


def test_an_error_is_annotated_in_one_line(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    github.annotate("100 % of it\nfailed")

    assert capsys.readouterr().err == "::error title=lastgood::100 %25 of it%0Afailed\n"


def test_elsewhere_nothing_is_left(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")

    github.publish({"build": "a"}, "text")
    github.annotate("failed")

    assert not any(file.exists() for file in files)
    assert capsys.readouterr() == ("", "")
