"""The Debian lock: what is taken from a signed archive, and what is refused."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from lastgood import bundle, cli
from lastgood.debian import chosen, locks
from lastgood.debian.locks import Lock
from lastgood.debian.mirror import Mirror
from lastgood.debian.seeds import Seeds
from lastgood.errors import UsageError
from pysequoia import Tsk

if TYPE_CHECKING:
    from fixtures.archive import Archive

Write = Callable[..., Path]


def resolve(file: Path, mirror: Mirror) -> Lock:
    """The lock of a base.toml."""
    return locks.resolve(Seeds.read(file), mirror)


def resolved(file: Path, archive: Archive) -> dict[str, str]:
    """Names and versions of the stage `runtime`."""
    return {package.name: package.version for package in resolve(file, archive.mirror).packages("runtime", "amd64")}


def refusal(file: Path, mirror: Mirror) -> str:
    """The whole message with which the mirror or the seeds are refused."""
    with pytest.raises(UsageError) as caught:
        resolve(file, mirror)
    return str(caught.value)


def test_a_lock_names_each_package_exactly(archive: Archive, seeds: Write) -> None:
    file = archive.add("tzdata", "2026f-0", fields={"Architecture": "all", "Source": "tz (2026f)"})
    archive.publish()
    lock = resolve(seeds("tzdata"), archive.mirror)
    body = file.read_bytes()
    expected = locks.Package(
        name="tzdata",
        version="2026f-0",
        architecture="all",
        source="tz",
        archive="debian",
        path="pool/main/t/tzdata/tzdata_2026f-0_all.deb",
        sha256=hashlib.sha256(body).hexdigest(),
        size=len(body),
    )
    assert lock.stages == {"runtime": {"amd64": (expected,), "arm64": (expected,)}}
    assert (lock.suite, lock.resolved) == ("trixie", "20261124T160000Z")


def test_the_closure(archive: Archive, seeds: Write) -> None:
    archive.add("python", fields={"Depends": "libc (>= 1.0), mime | mime-mini", "Pre-Depends": "loader"})
    archive.add("mime-mini")
    archive.add("loader", fields={"Depends": "libc"})
    archive.add("libc", fields={"Recommends": "locales"})
    archive.add("locales")
    archive.publish()
    assert list(resolved(seeds("python"), archive)) == ["libc", "loader", "mime-mini", "python"]


def test_an_alternative_that_is_chosen_already_is_enough(archive: Archive, seeds: Write) -> None:
    archive.add("app", fields={"Depends": "awk-big | awk-small"})
    archive.add("awk-big")
    archive.add("awk-small")
    archive.publish()
    assert list(resolved(seeds("awk-small", "app"), archive)) == ["app", "awk-small"]


def test_a_virtual_package_is_given_by_a_real_one(archive: Archive, seeds: Write) -> None:
    archive.add("app", fields={"Depends": "awk"})
    archive.add("mawk", fields={"Provides": "awk (= 1), editor"})
    archive.add("gawk", fields={"Provides": "awk"})
    archive.publish()
    assert list(resolved(seeds("app"), archive)) == ["app", "mawk"]
    assert list(resolved(seeds("gawk", "app"), archive)) == ["app", "gawk"]


def test_without_leaves_out_a_package_and_what_only_it_needs(archive: Archive, seeds: Write) -> None:
    archive.add("ca-certificates", fields={"Depends": "openssl, debconf | debconf-2.0"})
    archive.add("openssl", fields={"Depends": "perl"})
    archive.add("perl")
    archive.add("debconf", fields={"Provides": "debconf-2.0"})
    archive.publish()
    assert list(resolved(seeds("ca-certificates", without=("openssl", "debconf")), archive)) == ["ca-certificates"]


def test_the_newest_version_wins_by_debians_own_order(archive: Archive, seeds: Write) -> None:
    archive.add("libssl", "3.5.9-1")
    archive.add("libssl", "3.5.10-1~deb13u1", suite="trixie-security")
    archive.add("libssl", "3.5.10-1~deb13u1~rc1", suite="trixie-updates")
    archive.publish()
    (package,) = resolve(seeds("libssl"), archive.mirror).packages("runtime", "amd64")
    assert (package.version, package.archive) == ("3.5.10-1~deb13u1", "debian-security")


def test_a_package_that_does_not_exist(archive: Archive, seeds: Write) -> None:
    file = seeds("pyhton3")
    message = refusal(file, archive.publish().mirror)
    assert message == (
        f"{file} asks for the Debian package 'pyhton3', which does not exist in trixie for amd64: mend the name in {file}"
    )


def test_a_dependency_that_does_not_exist(archive: Archive, seeds: Write) -> None:
    archive.add("app", fields={"Depends": "gone"})
    file = seeds("app")
    message = refusal(file, archive.publish().mirror)
    assert message == (
        f"app asks for the Debian package 'gone', which does not exist in trixie for amd64: mend the name in {file}"
    )


def test_an_index_signed_by_a_stranger(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata")
    archive.publish(key=Tsk.generate("Stranger <stranger@example.org>"))
    assert refusal(seeds("tzdata"), archive.mirror) == (
        f"{archive.mirror.debian}/dists/trixie/InRelease is not signed by a Debian archive key "
        "(Signature verification failed: no valid signatures found): do not use this mirror"
    )


def test_an_index_changed_after_it_was_signed(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata")
    archive.publish()
    file = archive.root / "debian/dists/trixie/InRelease"
    file.write_bytes(file.read_bytes().replace(b"Packages.xz", b"Packages.gz"))
    assert refusal(seeds("tzdata"), archive.mirror) == (
        f"{archive.mirror.debian}/dists/trixie/InRelease is not signed by a Debian archive key "
        "(Signature verification failed: no valid signatures found): do not use this mirror"
    )


def test_an_index_that_is_none(archive: Archive, seeds: Write) -> None:
    archive.publish()
    (archive.root / "debian/dists/trixie/InRelease").write_bytes(b"<html>log in to the network</html>")
    assert refusal(seeds("tzdata"), archive.mirror) == (
        f"{archive.mirror.debian}/dists/trixie/InRelease is not signed by a Debian archive key "
        "(unexpected EOF): do not use this mirror"
    )


def test_one_good_signature_of_several_is_enough(archive: Archive, seeds: Write, tmp_path: Path) -> None:
    """The keyring of an older distribution lacks newer keys; here it has more keys than the one that signed."""
    archive.add("tzdata")
    archive.publish()
    other = Tsk.generate("Other <other@example.org>").extract_certificate()
    keyring = tmp_path / "keyring.pgp"
    keyring.write_text(str(other) + keyring.read_text(encoding="utf-8"), encoding="utf-8")
    assert list(resolved(seeds("tzdata"), archive)) == ["tzdata"]


def test_packages_that_are_not_what_the_signed_index_names(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata")
    archive.publish()
    (index,) = (archive.root / "debian/dists/trixie/main/binary-amd64/by-hash/SHA256").iterdir()
    index.write_bytes(lzma.compress(b"Package: tzdata\nVersion: 9\n"))
    assert refusal(seeds("tzdata"), archive.mirror) == (
        f"file://{index} does not have the sha256 that the signed {archive.mirror.debian}/dists/trixie/InRelease names: "
        "try another mirror"
    )


def test_an_index_that_has_expired(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata")
    archive.publish(until=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert refusal(seeds("tzdata"), archive.mirror) == (
        f"{archive.mirror.debian}/dists/trixie/InRelease expired on Fri, 02 Jan 2026 03:04:05 +0000: the mirror is stale (or this "
        "machine's clock is wrong); name another mirror"
    )


def test_an_index_of_another_suite(archive: Archive, seeds: Write) -> None:
    """Signed and in date, but bookworm's: its older versions would come back."""
    archive.add("tzdata")
    archive.publish(names={"trixie": "bookworm"})
    assert refusal(seeds("tzdata"), archive.mirror) == (
        f"{archive.mirror.debian}/dists/trixie/InRelease is the index of 'bookworm', not of 'trixie': name another mirror"
    )


def test_a_mirror_without_an_architecture(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata")
    archive.architectures = ("amd64",)
    archive.publish()
    suite, _, problem = refusal(seeds("tzdata"), archive.mirror).partition("/InRelease ")
    assert suite.startswith(f"file://{archive.root}/debian")
    assert problem == "lists no main/binary-arm64/Packages.xz: the mirror does not carry it; name another mirror"


def test_a_mirror_that_does_not_answer(seeds: Write) -> None:
    mirror = Mirror("http://127.0.0.1:9/debian", "http://127.0.0.1:9/debian-security", "the test")
    assert refusal(seeds("tzdata"), mirror) == (
        "the Debian mirror did not give http://127.0.0.1:9/debian/dists/trixie/InRelease: [Errno 111] Connection refused; check the "
        "network, or name another mirror"
    )


def test_a_mirror_that_breaks_off(seeds: Write) -> None:
    class Half(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Half) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/debian"
        message = refusal(seeds("tzdata"), Mirror(address, address, "the test"))
        server.shutdown()
    start, _, end = message.partition("/InRelease")
    assert start.startswith(f"the Debian mirror did not give {address}/dists/trixie")
    assert end == ": IncompleteRead(4 bytes read, 996 more expected); check the network, or name another mirror"


def test_a_lock_reads_back_as_it_was_written(archive: Archive, seeds: Write, tmp_path: Path) -> None:
    archive.add("tzdata", "2026f-0")
    archive.add("zlib1g", "1:1.3")
    archive.publish()
    lock = resolve(seeds("tzdata", "zlib1g", extra='[wheels]\npackages = ["tzdata"]\n'), archive.mirror)
    file = tmp_path / "base.lock"
    file.write_text(lock.text(), encoding="utf-8")
    assert Lock.read(file) == lock
    entries = [line for line in lock.text().splitlines() if line.startswith('        {"name"')]
    assert [json.loads(line.rstrip(","))["name"] for line in entries] == ["tzdata", "zlib1g"] * 2 + ["tzdata"] * 2
    assert resolved(seeds("zlib1g", "tzdata"), archive) == {"tzdata": "2026f-0", "zlib1g": "1:1.3"}


def test_the_same_archive_gives_the_same_lock(archive: Archive, seeds: Write) -> None:
    archive.add("python", fields={"Depends": "libc, zlib"})
    archive.add("libc")
    archive.add("zlib", fields={"Depends": "libc"})
    archive.publish()
    file = seeds("python")
    assert resolve(file, archive.mirror).text() == resolve(file, archive.mirror).text()


def test_the_key_of_a_stage_is_its_packages_hashes(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata", "1")
    before = resolve(seeds("tzdata"), archive.publish().mirror).key("runtime", "amd64")
    assert resolve(seeds("tzdata"), archive.mirror).key("runtime", "amd64") == before
    archive.add("tzdata", "2")
    assert resolve(seeds("tzdata"), archive.publish().mirror).key("runtime", "amd64") != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{file} does not exist: run `{command}` to make it"),
        (
            "[]",
            "{file} is not a Debian lock (list indices must be integers or slices, not str): restore it from git or run `{command}`",
        ),
        ('{"suite": "x"}', "{file} is not a Debian lock ('schema'): restore it from git or run `{command}`"),
        ('{"schema": 9}', "{file} has schema 9, this lastgood reads 2: run `{command}`"),
        (
            '{"schema": 2, "suite": "x", "seeds": "", "stages": []}',
            "{file} is not a Debian lock ('list' object has no attribute 'items'): restore it from git or run `{command}`",
        ),
        (
            "<<<<<<< ours",
            "{file} is not a Debian lock (Expecting value: line 1 column 1 (char 0)): restore it from git or run `{command}`",
        ),
    ],
)
def test_a_lock_file_that_is_damaged(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "base.lock"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        Lock.read(file)
    assert str(caught.value) == message.format(file=file, command=f"lastgood lock-base --seeds {tmp_path}/base.toml")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("suite = 'trixie'\n[runtime]\n", "'packages'"),
        ("[runtime]\npackages = []\n", "'suite'"),
        ("suite = \n", "Invalid value (at line 1, column 9)"),
        ("suite = 'trixie'\n[a]\non = 'b'\npackages = []\n", "a stage stands on 'b', which is not above it"),
    ],
)
def test_seeds_that_can_not_be_read(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "base.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        Seeds.read(file)
    assert str(caught.value) == f"{file} can't be read as a list of Debian packages: {problem}; see docker/base.toml"


def test_comments_and_order_do_not_change_the_seeds(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("suite = 'trixie' # why\n[a]\npackages = ['xx']\n[b]\npackages = []\n", encoding="utf-8")
    two.write_text("suite = 'trixie'\n[b]\npackages = []\n[a]\npackages = ['xx']\n", encoding="utf-8")
    assert Seeds.read(one).digest == Seeds.read(two).digest
    two.write_text("suite = 'trixie'\n[b]\npackages = []\n[a]\npackages = ['yy']\n", encoding="utf-8")
    assert Seeds.read(one).digest != Seeds.read(two).digest


def test_a_lock_that_was_edited_by_hand(archive: Archive, seeds: Write, tmp_path: Path) -> None:
    archive.add("tzdata", "2026f-0")
    file = tmp_path / "base.lock"
    text = resolve(seeds("tzdata"), archive.publish().mirror).text()
    file.write_text(text.replace("2026f-0", "2026g-0"), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        Lock.read(file)
    command = f"lastgood lock-base --seeds {tmp_path}/base.toml"
    assert str(caught.value) == f"{file} was edited by hand or merged: restore it from git or run `{command}`"


def test_a_stage_that_the_lock_does_not_have(archive: Archive, seeds: Write) -> None:
    archive.add("tzdata")
    with pytest.raises(UsageError) as caught:
        resolve(seeds("tzdata"), archive.publish().mirror).packages("compiler", "arm64")
    assert str(caught.value) == "the Debian lock has no stage 'compiler' for arm64: run `lastgood lock`"


def test_the_bundles_lock_belongs_to_its_seeds_and_names_no_host() -> None:
    lock = chosen.bundled()
    assert set(lock.stages) == {"runtime", "wheels", "compiler"}
    text = bundle.path("docker/base.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert lock.text() == text


def test_the_bundles_lock_of_other_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("base.toml", "base.lock"):
        content = bundle.path(f"docker/{name}").read_text(encoding="utf-8")
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "base.toml").write_text('suite = "trixie"\n[runtime]\npackages = ["tzdata"]\n', encoding="utf-8")
    monkeypatch.setattr(bundle, "path", lambda name: tmp_path / Path(name).name)
    with pytest.raises(UsageError) as caught:
        chosen.bundled()
    assert str(caught.value) == (
        f"{tmp_path}/base.lock was not made from {tmp_path}/base.toml as it is now: run `lastgood lock-base` and commit it"
    )


def test_the_command_writes_the_lock_once(archive: Archive, seeds: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.add("tzdata")
    archive.publish()
    file = seeds("tzdata")
    monkeypatch.setenv("LASTGOOD_DEBIAN_MIRROR", f"{archive.mirror.debian} {archive.mirror.security}")
    assert cli.main(["lock-base", "--seeds", str(file)]) == 0
    lock = file.with_suffix(".lock")
    written = lock.stat().st_mtime_ns
    assert json.loads(lock.read_text(encoding="utf-8"))["stages"]["runtime"]["amd64"][0]["name"] == "tzdata"
    assert cli.main(["lock-base", "--seeds", str(file)]) == 0
    assert lock.stat().st_mtime_ns == written
