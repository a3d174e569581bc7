"""A small Debian archive on this machine: real .deb files, real indices, a real signature by a key of the test's own."""

from __future__ import annotations

import gzip
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
from lastgood.lock import archive as proven
from lastgood.lock.mirror import Mirror
from pysequoia import SignatureMode, Tsk, sign

ARCHITECTURES = ("amd64", "arm64")
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
    stanzas: dict[tuple[str, str], list[str]] = field(
        default_factory=lambda: {(suite, one): [] for suite in SUITES for one in ARCHITECTURES}
    )
    architectures: tuple[str, ...] = ARCHITECTURES
    date: datetime = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
    contents: dict[str, str] = field(default_factory=dict)

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
        architectures: tuple[str, ...] = ARCHITECTURES,
    ) -> Path:
        """Writes a .deb for each architecture into the pool and its stanza into the suite; returns the first one's file."""
        everywhere = (fields or {}).get("Architecture") == "all"
        written = [
            self._write(name, version, suite, one, fields or {}, files, modes)
            for one in (("all",) if everywhere else architectures)
        ]
        return written[0]

    def _write(
        self,
        name: str,
        version: str,
        suite: str,
        architecture: str,
        fields: Mapping[str, str],
        files: Mapping[str, bytes | str] | None,
        modes: Mapping[str, int] | None,
    ) -> Path:
        control = {"Package": name, "Version": version, "Architecture": architecture, **fields}
        text = "".join(f"{key}: {value}\n" for key, value in control.items())
        body = _ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.xz": _tar({"control": text.encode()}, {}),
                "data.tar.xz": _tar(files or {f"usr/share/doc/{name}/copyright": b"free\n"}, modes or {}),
            }
        )
        path = f"pool/main/{name[0]}/{name}/{name}_{version}_{architecture}.deb"
        file = self.root / SUITES[suite] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        text += f"Filename: {path}\nSize: {len(body)}\nSHA256: {hashlib.sha256(body).hexdigest()}\n"
        for one in ARCHITECTURES if architecture == "all" else (architecture,):
            self.stanzas[suite, one].append(text)
        return file

    def publish(
        self, *, key: Tsk | None = None, until: datetime | None = None, names: Mapping[str, str] | None = None
    ) -> Archive:
        """Writes the indices. `key`, `until` and `names` (what a suite calls itself) make trixie's own wrong; the others are good."""
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        for suite, archive in SUITES.items():
            folder = self.root / archive / "dists" / suite
            indices = {
                f"main/binary-{one}/Packages.xz": lzma.compress("\n".join(self.stanzas[suite, one]).encode())
                for one in self.architectures
            }
            if suite == "trixie":
                indices |= {
                    f"main/Contents-{one}.gz": gzip.compress(text.encode()) for one, text in self.contents.items()
                }
            release = (
                f"Codename: {(names or {}).get(suite, suite)}\nDate: {format_datetime(self.date)}\n"
                f"Valid-Until: {format_datetime((suite == 'trixie' and until) or tomorrow)}\nSHA256:\n"
            )
            for path, body in indices.items():
                digest = hashlib.sha256(body).hexdigest()
                by_hash = (folder / path).parent / "by-hash/SHA256"
                by_hash.mkdir(parents=True, exist_ok=True)
                (by_hash / digest).write_bytes(body)
                release += f" {digest} {len(body)} {path}\n"
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
    monkeypatch.setattr(proven, "_KEYRING", keyring)
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "kept"))
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
