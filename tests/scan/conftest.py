"""Builds of layers that are written entry by entry, with a cache of their own."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from lastgood.image import layers
from lastgood.image.built import Image

# A layer: {path: content, or changes to the entry's header}.
Content = Mapping[str, "bytes | Mapping[str, object]"]
Plant = Callable[..., Image]
RIGHT = {"User": "65532:65532"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or left in the user's cache, and no CI is around."""
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "cache"))
    for name in ("LASTGOOD_STATE", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def write(tar: Path, content: Content) -> None:
    """Writes a layer's tar: bytes are a file's content, a mapping changes the header (and has it as `content`)."""
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, what in content.items():
            info = tarfile.TarInfo(name)
            info.mode = 0o644
            body = what if isinstance(what, bytes) else what.get("content", b"0123456789")
            assert isinstance(body, bytes)
            for key, value in {} if isinstance(what, bytes) else what.items():
                setattr(info, key, value) if key != "content" else None
            if info.isdir() and isinstance(what, Mapping) and "mode" not in what:
                info.mode = 0o755
            body = body if info.isreg() else b""
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """`plant(base={...}, app={...}, owners={"base": {...}}, config={...})` makes a build of these layers."""

    def make(
        *, build: str = "abc", owners: Mapping[str, Mapping[str, str]] | None = None,
        config: Mapping[str, Any] = RIGHT, history: tuple[str, ...] = (), **contents: Content,
    ) -> Image:  # fmt: skip
        folder = tmp_path / ".lastgood/builds" / build
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for name, content in contents.items():
            write(folder / f"{name}.tar", content)
            (folder / f"{name}.tar.gz").unlink(missing_ok=True)
            layer = layers.seal(name, folder / f"{name}.tar")
            if owners and name in owners:
                file = folder / f"{name}-owners.json"
                file.write_text(json.dumps(owners[name]), encoding="utf-8")
                object.__setattr__(layer, "owners", file)
            made.append(layer)
        body = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": config,
                "history": [{"created_by": one} for one in history],
            }
        ).encode()
        (folder / "config.json").write_bytes(body)
        return Image(
            build=build,
            commit="c" * 40,
            version="1",
            created="2026-01-02T03:04:05Z",
            digest="sha256:" + "d" * 64,
            image_id=f"sha256:{hashlib.sha256(body).hexdigest()}",
            manifest_sha="m",
            size=sum(layer.compressed for layer in made) + len(body),
            unpacked=sum(layer.size for layer in made),
            layers=tuple(made),
            folder=folder,
        )

    return make


@pytest.fixture
def distribution() -> Callable[..., dict[str, bytes]]:
    """`distribution(name, version, {path: content}, *lines of METADATA)`: its files in dist-packages, with METADATA and RECORD."""
    return installed


def installed(name: str, version: str, files: Mapping[str, bytes], *lines: str) -> dict[str, bytes]:
    """The files of an installed distribution in dist-packages, with METADATA and RECORD."""
    top = "usr/local/lib/python3.13/dist-packages"
    info = f"{name}-{version}.dist-info"
    metadata = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines, ""]).encode()
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/METADATA", f"{info}/RECORD"]).encode()
    return {posixpath.normpath(f"{top}/{path}"): body for path, body in files.items()} | {
        f"{top}/{info}/METADATA": metadata,
        f"{top}/{info}/RECORD": record,
    }
