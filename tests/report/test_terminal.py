"""Progress on standard error, results on standard output; a clock only where a terminal is."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lastgood.report import terminal

DURATION = re.compile(r"\d+(\.\d+)? s$")


def lines(text: str) -> list[str]:
    """The lines without their durations, which differ; each must have had one, but for headings and plain lines."""
    return [DURATION.sub("", line).rstrip() for line in text.splitlines()]


def test_a_step_is_one_line_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.step("base") as shown:
        assert capsys.readouterr().err == ""
        shown.note("10.2 MB")
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"✓ base  10\.2 MB {70,}0\.0\d s\n", said.err)


def test_a_step_that_fails_keeps_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"^mine$"), terminal.step("base"):
        raise ValueError("mine")
    assert lines(capsys.readouterr().err) == ["✗ base"]


def test_steps_nest_and_the_outer_one_is_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.step("build"):
        with terminal.step("base"):
            pass
        terminal.say("a word\nand another")
        with terminal.step("static files"), terminal.step("collect"):
            pass
    assert lines(capsys.readouterr().err) == [
        "· build", "  ✓ base", "  a word", "  and another", "  · static files", "    ✓ collect", "  ✓ static files", "✓ build",
    ]  # fmt: skip


def test_a_failure_inside_closes_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), terminal.step("build"), terminal.step("base"):
        raise KeyboardInterrupt
    assert lines(capsys.readouterr().err) == ["· build", "  ✗ base", "✗ build"]
    terminal.say("after")
    assert capsys.readouterr().err == "after\n"


def test_a_result_for_people_or_as_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.result({"build": "é"}, "build é", as_json=False)
    assert capsys.readouterr() == ("build é\n", "")
    terminal.result({"build": "é"}, "build é", as_json=True)
    said = capsys.readouterr()
    assert (json.loads(said.out), said.err) == ({"build": "é"}, "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.004, "0.00 s"),
        (0.04, "0.04 s"),
        (1.24, "1.2 s"),
        (75.4, "75 s"),
        (119.4, "119 s"),
        (120, "2 min 00 s"),
        (245, "4 min 05 s"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert terminal.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0 kB"), (850, "0.8 kB"), (99_000, "99.0 kB"), (31_540_000, "31.5 MB")]
)
def test_sizes(value: float, text: str) -> None:
    assert terminal.megabytes(value) == text


def test_a_table() -> None:
    assert terminal.table(["layer", "MB"], [["base", "10.2"], ["static", "0.4"]], right=(1,)) == (
        "layer     MB\n──────  ────\nbase    10.2\nstatic   0.4"
    )
    assert terminal.table(["layer", "MB"], []) == "layer  MB\n─────  ──"


def test_aligned_keys() -> None:
    assert terminal.mapping_lines({"url": "http://a", "release": 3}) == "url      http://a\nrelease  3"
    assert terminal.mapping_lines({}) == ""


def test_no_colour_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.green("x", io.StringIO()) == "x"


@pytest.mark.parametrize(("variables", "mark"), [({}, "\x1b[32m✓\x1b[0m"), ({"NO_COLOR": "1"}, "✓")])
def test_on_a_terminal_the_running_step_has_a_clock(variables: dict[str, str], mark: str) -> None:
    """A real pseudo-terminal: the step goes on until its clock was seen on it."""
    code = (
        "import sys\nfrom lastgood.report import terminal\n"
        "with terminal.step('base') as shown:\n    sys.stdin.readline()\n    shown.note('done')\n"
    )
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm", "PYTHONPATH": str(Path(terminal.__file__).parents[2])} | variables
    running = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    assert running.stdin is not None
    seen = b""
    while "… base  0.".encode() not in seen:
        seen += os.read(ours, 4096)
    running.stdin.write(b"\n")
    running.stdin.close()
    while b"done" not in seen or not seen.endswith(b" s\r\n"):
        seen += os.read(ours, 4096)
    assert running.wait(timeout=30) == 0
    os.close(ours)
    assert f"\r\x1b[K{mark} base  done" in seen.decode()


def test_counted() -> None:
    assert [terminal.counted(number, "change") for number in (0, 1, 2)] == ["0 changes", "1 change", "2 changes"]
