"""The application's files are what git knows, and nothing that lies elsewhere gets in through a link."""

from __future__ import annotations

import gettext
import os
import subprocess
from pathlib import Path

import pytest
from lastgood.errors import UsageError
from lastgood.image import source


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of an application in a repository."""
    folder = tmp_path / "web"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop/models.py").write_bytes(b"1")
    (folder / "run").write_bytes(b"#!")
    (folder / "run").chmod(0o700)
    (folder / ".gitignore").write_bytes(b"ignored\n")
    (folder / "ignored").touch()
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    return folder


def refusal(app: Path, tmp_path: Path) -> str:
    """The message, with the folder left out."""
    with pytest.raises(UsageError) as caught:
        source.copy(app, tmp_path / "copy")
    return str(caught.value).replace(str(tmp_path), "")


def test_a_copy(app: Path, tmp_path: Path) -> None:
    (app / "link").symlink_to("shop/models.py")
    (app / "folder").symlink_to("shop")
    found = source.copy(app, tmp_path / "copy")
    assert sorted(found.files) == [".gitignore", "folder", "link", "run", "shop/models.py"]
    assert found.modules == {"shop/models.py": b"1"}
    modes = {name: oct((tmp_path / "copy" / name).stat().st_mode & 0o777) for name in ("run", "shop/models.py")}
    assert modes == {"run": "0o755", "shop/models.py": "0o644"}
    assert str((tmp_path / "copy/link").readlink()) == "shop/models.py"
    assert not (tmp_path / "copy/ignored").exists()


def test_the_digest_changes_with_content_name_and_mode(app: Path, tmp_path: Path) -> None:
    digests = [source.copy(app, tmp_path / "1").digest]
    (app / "shop/models.py").write_bytes(b"2")
    digests.append(source.copy(app, tmp_path / "2").digest)
    (app / "run").chmod(0o600)
    digests.append(source.copy(app, tmp_path / "3").digest)
    (app / "run").rename(app / "go")
    digests.append(source.copy(app, tmp_path / "4").digest)
    assert len(set(digests)) == 4
    (app / "go").rename(app / "run")
    (app / "run").chmod(0o755)
    (app / "shop/models.py").write_bytes(b"1")
    assert source.copy(app, tmp_path / "5").digest == digests[0]


def test_the_signature_notices_what_git_would_not_report(app: Path) -> None:
    before = source.signature(app)
    assert source.signature(app) == before
    (app / "ignored").write_bytes(b"x")
    assert source.signature(app) == before
    found = (app / "shop/models.py").stat()
    (app / "shop/models.py").write_bytes(b"2")
    os.utime(app / "shop/models.py", ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert source.signature(app) != before


@pytest.mark.parametrize("link", ["/etc/passwd", "../secret", "shop/../../secret", ".."])
def test_a_link_that_leaves_the_folder(app: Path, tmp_path: Path, link: str) -> None:
    (tmp_path / "secret").touch()
    (app / "link").symlink_to(link)
    assert refusal(app, tmp_path) == (
        f"web/link is a link to {link}, which leaves /web: nothing outside gets into the image; put the file itself there, or remove the "
        "link"
    )


def test_a_link_that_leaves_by_way_of_another(app: Path, tmp_path: Path) -> None:
    """Each of the two looks harmless; what the second leads to is not there for us."""
    (app / "a").symlink_to("shop")
    (app / "shop/b").symlink_to("../../secret")
    assert "shop/b is a link to ../../secret, which leaves" in refusal(app, tmp_path)


def test_a_link_to_what_git_does_not_know(app: Path, tmp_path: Path) -> None:
    (app / "link").symlink_to("ignored")
    assert refusal(app, tmp_path) == (
        "web/link is a link to ignored, which is not there or not known to git: add what it leads to, or remove the link"
    )


def test_a_name_in_no_encoding(app: Path, tmp_path: Path) -> None:
    (app / os.fsdecode(b"caf\xe9.py")).touch()
    assert refusal(app, tmp_path) == r"the name of web/caf\xe9.py is not UTF-8: rename it, then build again"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def test_a_pointer_of_lfs_is_no_file(app: Path, tmp_path: Path) -> None:
    (app / "shop/model.bin").write_bytes(POINTER)
    source.copy(app, tmp_path / "as-text")
    (app / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n", encoding="utf-8")
    assert refusal(app, tmp_path) == (
        "web/shop/model.bin is a pointer of Git LFS and not the file: run `git lfs pull` (in the workflows, `lfs: true`)"
    )
    (app / "shop/model.bin").write_bytes(b"\0" * 12345)
    assert "shop/model.bin" in source.copy(app, tmp_path / "fetched").files


PO = """\
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "Hello"
msgstr "Grüß Gott"

msgctxt "month"
msgid "May"
msgstr "Mai"

msgid "one apple"
msgid_plural "%d apples"
msgstr[0] "ein Apfel"
msgstr[1] "%d Äpfel"

#, fuzzy
msgid "Guess"
msgstr "Rat"

#~ msgid "Old"
#~ msgstr "Alt"
"""


def test_translations_are_compiled_where_git_has_them_not(app: Path, tmp_path: Path) -> None:
    (app / ".gitignore").write_text("*.mo\n!kept.mo\n", encoding="utf-8")
    folder = app / "shop/locale/de/LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.po").write_text(PO, encoding="utf-8")
    (folder / "django.mo").write_bytes(b"ignored, and older")
    (folder / "kept.po").write_text(PO, encoding="utf-8")
    (folder / "kept.mo").write_bytes(b"as committed")
    (app / "notes.po").write_text("no catalogue", encoding="utf-8")
    found = source.copy(app, tmp_path / "copy")
    assert found.made == ("shop/locale/de/LC_MESSAGES/django.mo",)
    copied = tmp_path / "copy/shop/locale/de/LC_MESSAGES"
    assert (copied / "kept.mo").read_bytes() == b"as committed"
    with (copied / "django.mo").open("rb") as file:
        read = gettext.GNUTranslations(file)
    assert [read.gettext(one) for one in ("Hello", "Guess", "Old")] == ["Grüß Gott", "Guess", "Old"]
    assert read.pgettext("month", "May") == "Mai"
    assert [read.ngettext("one apple", "%d apples", count) for count in (1, 2)] == ["ein Apfel", "%d Äpfel"]
    assert source.copy(app, tmp_path / "again").digest == found.digest
    (folder / "django.po").write_text("msgid ", encoding="utf-8")
    assert refusal(app, tmp_path).startswith("shop/locale/de/LC_MESSAGES/django.po can't be compiled (")
