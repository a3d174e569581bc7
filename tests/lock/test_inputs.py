"""The check that answers from hashes: every input counts, and so does every edit of the lock."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood.config import project
from lastgood.config.project import Project
from lastgood.errors import Refused, UsageError
from lastgood.lock import inputs
from lastgood.lock.python import PythonLock

BODY = "iniconfig==2.0.0 \\\n    --hash=sha256:aa\n    # via -r requirements.in\n"
STALE = (
    "requirements.txt is stale: requirements.in, a file it includes, or the settings of the lock changed since; run `lastgood lock` and "
    "commit it"
)
EDITED = (
    "requirements.txt or docker/build-requirements.txt was edited or merged by hand: run `lastgood lock`, which mends it, "
    "and commit it"
)


def settings(folder: Path, extra: str = "") -> Project:
    """A project with these settings."""
    text = f'[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n{extra}'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return project.load(folder)


@pytest.fixture
def locked(tmp_path: Path) -> Project:
    """A project whose lock is what its inputs say (as far as hashes go)."""
    (tmp_path / "manage.py").touch()
    (tmp_path / "requirements").mkdir()
    (tmp_path / "docker").mkdir()
    (tmp_path / "requirements.in").write_text(
        "-r requirements/web.in\n--constraint=limits.txt  # why\n", encoding="utf-8"
    )
    (tmp_path / "requirements/web.in").write_text("iniconfig\n-c ../limits.txt\n", encoding="utf-8")
    (tmp_path / "limits.txt").write_text("iniconfig<2.1\n", encoding="utf-8")
    (tmp_path / "docker/build-requirements.txt").write_text("wheel==1\n", encoding="utf-8")
    found = settings(tmp_path)
    text = inputs.header(PythonLock.of(found).inputs().digest, BODY, "wheel==1\n") + BODY
    (tmp_path / "requirements.txt").write_text(text, encoding="utf-8")
    return found


def refusal(found: Project) -> str:
    """The whole message of the check."""
    with pytest.raises(Refused) as caught:
        PythonLock.of(found).check()
    return str(caught.value)


def test_nothing_changed(locked: Project) -> None:
    PythonLock.of(locked).check()
    assert list(PythonLock.of(locked).inputs().files) == ["requirements.in", "limits.txt", "requirements/web.in"]


@pytest.mark.parametrize("name", ["requirements.in", "requirements/web.in", "limits.txt"])
def test_every_file_counts(locked: Project, name: str) -> None:
    file = locked.root / name
    file.write_text(file.read_text(encoding="utf-8") + "attrs\n", encoding="utf-8")
    assert refusal(locked) == STALE


@pytest.mark.parametrize(
    "extra",
    ["[tool.lastgood.lock]\ncooldown = 3\n", '[tool.lastgood.image]\nplatforms = ["linux/amd64", "linux/arm64"]\n'],
)
def test_every_setting_counts(locked: Project, extra: str) -> None:
    assert refusal(settings(locked.root, extra)) == STALE


def test_the_tools_versions_count(locked: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs.importlib.metadata, "version", lambda _name: "0.1")
    assert refusal(locked) == STALE


@pytest.mark.parametrize("name", ["requirements.txt", "docker/build-requirements.txt"])
def test_an_edit_of_a_lock_is_seen(locked: Project, name: str) -> None:
    file = locked.root / name
    file.write_text(file.read_text(encoding="utf-8").replace("==", "==9."), encoding="utf-8")
    assert refusal(locked) == EDITED


def test_build_requirements_that_were_removed(locked: Project) -> None:
    (locked.root / "docker/build-requirements.txt").unlink()
    assert refusal(locked) == EDITED


def test_a_lock_that_another_tool_wrote(locked: Project) -> None:
    (locked.root / "requirements.txt").write_text(BODY, encoding="utf-8")
    assert refusal(locked) == "requirements.txt does not say what it was made from: run `lastgood lock` and commit it"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-r gone.in", "requirements.in:2 includes gone.in, which does not exist: mend the line or add the file"),
        (
            "-r ../outside.in",
            "requirements.in:2 includes ../outside.in, which lies outside the project: keep a copy in the project",
        ),
        (
            "-c https://example.invalid/limits.txt",
            "requirements.in:2 includes an address, whose content the lock could not answer for: keep a copy in the project",
        ),
        ("\udcff", "requirements.in is not UTF-8 (invalid start byte at byte 1): save it as UTF-8"),
    ],
)
def test_a_file_that_can_not_be_read(locked: Project, line: str, message: str) -> None:
    (locked.root / "requirements.in").write_bytes(b"\n" + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(UsageError) as caught:
        PythonLock.of(locked).inputs()
    assert str(caught.value) == message


def test_what_only_looks_like_an_include(locked: Project) -> None:
    (locked.root / "requirements.in").write_text("# -r gone.in\nrequests  # -c gone\n--pre\n", encoding="utf-8")
    assert list(PythonLock.of(locked).inputs().files) == ["requirements.in"]


MEANT = {
    "line endings": lambda body: body.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "blanks": lambda body: body.replace(b"\n", b" \t\n\n"),
    "comments": lambda body: b"# -r gone.in\n" + body.replace(b"\n", b"  # why\n"),
    "a joined line": lambda body: body.replace(b"-r ", b"-r \\\n  "),
    "no end": lambda body: body.removesuffix(b"\n"),
}


@pytest.mark.parametrize("change", MEANT)
@pytest.mark.parametrize("name", ["requirements.in", "requirements/web.in", "limits.txt"])
def test_what_means_the_same_is_the_same(locked: Project, name: str, change: str) -> None:
    file = locked.root / name
    file.write_bytes(MEANT[change](file.read_bytes()))
    PythonLock.of(locked).check()
    assert len(PythonLock.of(locked).inputs().files) == 3, "an include counts behind a byte order mark, too"


@pytest.mark.parametrize("change", ["line endings", "a byte order mark", "no end"])
@pytest.mark.parametrize("name", ["requirements.txt", "docker/build-requirements.txt"])
def test_a_lock_that_means_the_same_is_the_same(locked: Project, name: str, change: str) -> None:
    file = locked.root / name
    file.write_bytes(MEANT[change](file.read_bytes()))
    PythonLock.of(locked).check()


def test_a_hash_counts_in_constraints_alone(locked: Project) -> None:
    (locked.root / "limits.txt").write_text(f"iniconfig==2.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    assert PythonLock.of(locked).inputs().files["limits.txt"].startswith("iniconfig==2.0 --hash")
    (locked.root / "requirements/web.in").write_text(f"iniconfig==2.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        PythonLock.of(locked).inputs()
    assert str(caught.value) == "requirements/web.in:1 names a hash, and the lock takes those of the index: remove it"
