"""A small Debian archive on this machine: real .deb files, real indices, a real signature by a key of the test's own."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from lastgood.lock import debian
from lastgood.lock.mirror import Mirror
from pysequoia import SignatureMode, Tsk, sign

SUITES = {"trixie": "debian", "trixie-updates": "debian", "trixie-security": "debian-security"}


def _tar(files: Mapping[str, bytes | str], modes: Mapping[str, int]) -> bytes:
    """A control or data archive; a text is the target of a symbolic link, and a name with / at its end a folder."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.mode = modes.get(name, 0o755 if name.endswith("/") else 0o644)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return body.getvalue()


def _ar(members: Mapping[str, bytes]) -> bytes:
    body = b"!<arch>\n"
    for name, content in members.items():
        body += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        body += b"\n" * (len(content) % 2)
    return body


@dataclass
class Archive:
    """Packages are added, then `publish` writes the signed indices of all three suites."""

    root: Path
    key: Tsk
    stanzas: dict[str, list[str]] = field(default_factory=lambda: {suite: [] for suite in SUITES})

    @property
    def mirror(self) -> Mirror:
        """Both archives, as a mirror in the file system."""
        return Mirror(f"file://{self.root}/debian", f"file://{self.root}/debian-security", "the test")

    def add(
        self,
        name: str,
        version: str = "1.0-1",
        *,
        suite: str = "trixie",
        fields: Mapping[str, str] | None = None,
        files: Mapping[str, bytes | str] | None = None,
        modes: Mapping[str, int] | None = None,
    ) -> Path:
        """Writes a .deb into the pool and its stanza into the suite; returns the file."""
        control = {"Package": name, "Version": version, "Architecture": "amd64", **(fields or {})}
        text = "".join(f"{key}: {value}\n" for key, value in control.items())
        body = _ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.xz": _tar({"control": text.encode()}, {}),
                "data.tar.xz": _tar(files or {f"usr/share/doc/{name}/copyright": b"free\n"}, modes or {}),
            }
        )
        path = f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb"
        file = self.root / SUITES[suite] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        text += f"Filename: {path}\nSize: {len(body)}\nSHA256: {hashlib.sha256(body).hexdigest()}\n"
        self.stanzas[suite].append(text)
        return file

    def publish(
        self, *, key: Tsk | None = None, until: datetime | None = None, names: Mapping[str, str] | None = None
    ) -> Archive:
        """Writes the indices. `key`, `until` and `names` (what a suite calls itself) make trixie's own wrong; the others are good."""
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        for suite, archive in SUITES.items():
            folder = self.root / archive / "dists" / suite
            index = lzma.compress("\n".join(self.stanzas[suite]).encode())
            digest = hashlib.sha256(index).hexdigest()
            by_hash = folder / "main/binary-amd64/by-hash/SHA256"
            by_hash.mkdir(parents=True, exist_ok=True)
            (by_hash / digest).write_bytes(index)
            release = (
                f"Codename: {(names or {}).get(suite, suite)}\nValid-Until: {format_datetime((suite == 'trixie' and until) or tomorrow)}\n"
                f"SHA256:\n {digest} {len(index)} main/binary-amd64/Packages.xz\n"
            )
            signer = ((suite == "trixie" and key) or self.key).signer()
            (folder / "InRelease").write_bytes(sign(signer, release.encode(), mode=SignatureMode.CLEAR))
        return self


@pytest.fixture(scope="session")
def archive_key() -> Tsk:
    """The key of the test's archive."""
    return Tsk.generate("Test archive <archive@example.org>")


@pytest.fixture
def archive(tmp_path: Path, archive_key: Tsk, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An empty archive whose key is the only one that is believed."""
    keyring = tmp_path / "keyring.pgp"
    keyring.write_text(str(archive_key.extract_certificate()), encoding="utf-8")
    monkeypatch.setattr(debian, "_KEYRING", keyring)
    return Archive(tmp_path / "mirror", archive_key)


@pytest.fixture
def seeds(tmp_path: Path) -> Callable[..., Path]:
    """Writes a base.toml with one stage `runtime`."""

    def write(*packages: str, without: tuple[str, ...] = (), extra: str = "") -> Path:
        file = tmp_path / "base.toml"
        text = f'suite = "trixie"\n[runtime]\npackages = {list(packages)!r}\nwithout = {list(without)!r}\n{extra}'
        file.write_text(text, encoding="utf-8")
        return file

    return write
