"""Texts of strangers stay texts: in a terminal, in a CI log, in Markdown, in SARIF, in a picture; and they keep their secrets."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from lastgood.cli import main
from lastgood.deploy import progress
from lastgood.deploy.history import render_history
from lastgood.errors import Refused
from lastgood.lock import changes
from lastgood.lock.changes import Change
from lastgood.report import github, sarif, terminal, text, treemap
from migrator import errors, output

# What a package, a migration, a person or a log line may be called.
NAMES = (
    "shop\n::add-mask::a",
    "  ::stop-commands::x",
    "\t::set-env name=PATH::/tmp",
    "##[add-mask]a",
    "x ##[error]y",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "ok\r✓ release 7  good",
    "\u202egnp.exe",
    "a\u2028::warning::b",
    "a\x85::warning::b",
    "# Image: accepted",
    "a\n\n### Image: accepted\n",
    "| a | b |",
    "@everyone #1 <img src=x onerror=alert(1)> &lt;b&gt;",
    "[free](https://evil.example) `x` *b* ~s~ \\",
)
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


def commands(log: str) -> list[str]:
    """The lines that GitHub's runner takes for commands: `::` after spaces, or `##[` anywhere."""
    return [one for one in log.splitlines() if one.lstrip().startswith("::") or "##[" in one]


@pytest.fixture(autouse=True)
def actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A step of a job."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_log(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(name)
    terminal.result({}, f"done\n{name}", as_json=False)
    terminal.result({}, terminal.table(("who",), [[name]]), as_json=False)
    terminal.result({}, terminal.mapping_lines({"who": name}), as_json=False)
    terminal.result({name: name}, "", as_json=True)
    with terminal.step(f"lock {name}") as shown:
        shown.note(name)
        terminal.say("inside")
    terminal.complain(name)
    output.progress(f"applied  {name}")
    output.progress(name)
    output.complain(name)
    captured = capsys.readouterr()
    log = captured.out + captured.err
    assert commands(log) == []
    assert not OBEYED.search(log)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_one_line(name: str) -> None:
    assert terminal.table(("a",), [[name]]).count("\n") == 2
    assert "\n" not in terminal.mapping_lines({"a": name})
    assert len(output.Result(applied=[name]).line().splitlines()) == 1
    assert json.loads(output.Result(applied=[name]).line())["applied"] == [name]
    assert json.loads(text.in_json(json.dumps([name], ensure_ascii=False))) == [name]


def test_our_own_colours_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("\x1b[32m✓\x1b[0m a\tb \x1b[5m")
    assert capsys.readouterr().err == "\x1b[32m✓\x1b[0m a\tb \\x1b[5m\n"


@pytest.mark.parametrize("name", NAMES)
def test_markdown(name: str) -> None:
    shown = text.cell(name)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[|`<>*_\[\]]", shown.replace("\\\\", ""))
    assert not re.search(r"[@#](?!\u200b)", shown)
    table = changes.markdown([Change("debian", name, name, "2", (name,), name)])
    assert len(table.splitlines()) == 5
    assert [line.count("|") - line.count("\\|") for line in table.splitlines()[2:]] == [6, 6, 6]


def test_a_reason_that_calls_itself_security_is_not_bold() -> None:
    (row,) = changes.markdown([Change("debian", "x", "1", "2", (), "**security**")]).splitlines()[4:]
    assert row == "| debian | x | 1 → 2 | all | \\*\\*security\\*\\* |"


def test_a_summary_is_what_we_say(tmp_path: Path) -> None:
    github.publish({"a": "1\nb=2", "who": "x"}, "fine\n```\n# accepted\n\x1b[2J")
    summary = (tmp_path / "summary").read_text(encoding="utf-8")
    assert summary == "````text\nfine\n```\n# accepted\n\\x1b[2J\n````\n\n"
    lines = (tmp_path / "output").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("a<<end-")
    assert lines[3:] == [lines[0].removeprefix("a<<"), "who=x"] or lines[4:] == ["who=x"]


def test_an_annotation_is_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    github.annotate("a%0A::add-mask::b\n::error::c\x1b[2J")
    assert capsys.readouterr().err == "::error title=lastgood::a%250A::add-mask::b%0A::error::c\\x1b[2J\n"


def test_the_error_of_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_options: object) -> None:
        raise Refused("no\n::add-mask::a\npostgresql://u:p@ss@db/x password=hunter2")

    monkeypatch.setattr("lastgood.cli.machine.doctor.function", fail)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        "lastgood: no\n\\::add-mask::a\npostgresql://***@db/x password=***\n"
        "::error title=lastgood::no%0A::add-mask::a%0Apostgresql://***@db/x password=***\n"
    )


def finding(name: str) -> dict[str, Any]:
    return {"rule": "shell", "subject": name, "text": f"{name} is a shell", "do": "remove it", "path": f"app/{name}"}


@pytest.mark.parametrize("name", NAMES)
def test_sarif_and_a_picture(name: str, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    facts = {"findings": [finding(name)], "accepted": [], "build": name, "digest": "sha256:0"}
    data = sarif.document(facts, sarif.Sources(tmp_path, tmp_path / "web"), {"shell": "none"})
    message = data["runs"][0]["results"][0]["message"]["text"]
    assert not OBEYED.search(message)
    assert not re.search(r"(?<!\\)\[", message)
    layer = treemap.Node(name, 10, 10, children=[treemap.Node(name, 10, 10, origin='x" onload="alert(1)', note=name)])
    picture = treemap.draw([layer], {"build": name, "compressed": 10, "unpacked": 10, "files": 1})
    assert not OBEYED.search(picture)
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()}  # noqa: S314
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "g"}
    assert "onload" not in picture.replace("&", "")


def test_a_place_in_the_repository_is_an_address(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a b#c%.py").touch()
    facts = {"findings": [finding("a b#c%.py")], "accepted": [], "build": "x", "digest": "sha256:0"}
    data = sarif.document(facts, sarif.Sources(tmp_path, tmp_path / "web"), {"shell": "none"})
    (location,) = data["runs"][0]["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "web/a%20b%23c%25.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_history_and_a_release_task(name: str) -> None:
    release = dict.fromkeys(("state", "kind", "version", "build", "who", "started", "reason"), name)
    assert len(render_history([release | {"number": 1, "cause": ""}]).splitlines()) == 3
    hop = progress.plain({"build": name, "direction": "forward", "ended": "x", "applied": [name], "reason": name})
    assert len(progress.line_of_hop(hop).splitlines()) == 1


SECRET = "p@ss/w0rd#?&:x"
TEXTS = (
    f"could not connect to postgresql://shop:{SECRET}@db.example:5432/shop?sslmode=require: refused",
    f"redis://:{SECRET}@cache.example/0",
    f"https://{SECRET}@index.example/packages/",
    f"connection failed: host=db password={SECRET} user=shop",
    f"PGPASSWORD={SECRET} psql",
    f"AWS_SECRET_ACCESS_KEY = '{SECRET}'",
    f'{{"user": "shop", "password": "{SECRET}", "port": 5432}}',
    f"'api-key': '{SECRET}'",
    f"db_passwd: {SECRET}",
    f"Authorization: Bearer {SECRET}",
    f'"authorization": "Basic {SECRET}"',
    f"client_secret={SECRET}",
    f"DJANGO_SECRET_KEY={SECRET}",
    f'token = "{SECRET} with spaces and \\" in it"',
    f"X-Amz-Signature={SECRET}",
    f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
)


@pytest.mark.parametrize("secret", TEXTS)
def test_no_cut_shows_a_secret(secret: str) -> None:
    """Wherever a text is cut, from either end: it was masked before."""
    whole = f"line before\n{secret}\nline after"
    for count in range(len(whole) + 1):
        for shown in (text.head(whole, count), text.tail(whole, count)):
            assert not any(SECRET[at : at + 4] in shown for at in range(len(SECRET) - 3)), shown
    assert "line before\n" in text.masked(whole)
    assert "\nline after" in text.masked(whole)
    assert text.masked(text.masked(whole)) == text.masked(whole)


@pytest.mark.parametrize(
    "plain",
    [
        "https://localhost:8000/a@b",
        "git+https://github.com/a/b@v1.0",
        "someone@example.org",
        'FATAL: password authentication failed for user "shop"',
        "not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu:1:secret/x",
        "python-secrets==1.0 \\\n    --hash=sha256:0123",
        "SecretStorage>=3.3",
        "/app/key.pem holds a secret (Private Key) on line 1: keep it out of the commit",
        "monkey=1, turkey: 2",
    ],
)
def test_what_is_no_secret_stays(plain: str) -> None:
    assert text.masked(plain) == plain


@pytest.mark.parametrize(
    "token",
    ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18, "github_pat_" + "b2" * 20, "xoxb-" + "1" * 20],
)
def test_tokens_without_a_name(token: str) -> None:
    assert token[-12:] not in text.masked(f"sent {token} to a stranger")
    assert text.masked(f"sent {token} to").endswith("*** to")


@pytest.mark.parametrize("count", [10_000, 100_000])
def test_masking_takes_time_for_what_is_there_alone(count: int) -> None:
    for part in ("a", "://a:", "token_", "password=", 'secret"', "x://"):
        text.masked(part * (count // len(part)))


def test_the_migrator_masks_too() -> None:
    class BrokenError(Exception):
        """With the password on its second line."""

    said = errors.cause(BrokenError(f"connection failed: postgresql://shop:{SECRET}@db/shop\nmore"))
    assert said == "BrokenError: connection failed: postgresql://shop:***@db/shop"
    assert errors.without_secrets(f"host=db password={SECRET} user=shop") == "host=db password=*** user=shop"


@pytest.mark.parametrize(
    ("name", "shown"), [("caf\udce9", "caf\\xe9"), ("a\ud800", "a\\ud800"), ("a\nb", "a\\nb"), ("ä", "ä")]
)
def test_a_file_name(name: str, shown: str) -> None:
    assert text.readable(name) == shown
