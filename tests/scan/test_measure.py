"""The scan: what a build weighs, and what must not be in it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from lastgood import cli
from lastgood.image import layers
from lastgood.image.build import Image
from lastgood.scan import measure

Plant = Callable[..., Image]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A build of one layer whose tar has these entries, as (name, changes to its header)."""

    def make(*entries: tuple[str, dict[str, object]], size: int = 1000) -> Image:
        tar = tmp_path / "base.tar"
        with tarfile.open(tar, "w") as archive:
            for name, header in entries:
                info = tarfile.TarInfo(name)
                info.size = 10
                for key, value in header.items():
                    setattr(info, key, value)
                info.size = info.size if info.isfile() else 0
                archive.addfile(info, io.BytesIO(b"0123456789"))
        layer = layers.seal("base", tar)
        return Image(
            build="abc",
            commit="c" * 40,
            version="1",
            created="2026-01-02T03:04:05Z",
            digest="sha256:d",
            image_id="sha256:i",
            manifest_sha="m",
            size=size,
            unpacked=layer.size,
            layers=(layer,),
            folder=tmp_path,
        )

    return make


def test_a_build_that_is_right(plant: Plant) -> None:
    image = plant(("usr", {"type": tarfile.DIRTYPE}), ("usr/bin/python3.13", {"mode": 0o755}), ("app/sh/bash", {}))
    facts = measure.scan(image, 4000)
    assert facts == {
        "build": "abc",
        "digest": "sha256:d",
        "layers": [{"layer": "base", "compressed": image.layers[0].compressed, "unpacked": 20, "files": 2}],
        "compressed": 1000,
        "unpacked": 20,
        "budget": 4000,
        "findings": [],
    }
    json.dumps(facts)


@pytest.mark.parametrize(
    ("name", "header", "rule", "text"),
    [
        ("usr/bin/bash", {"mode": 0o755}, "shell", "layer base holds the shell /usr/bin/bash: leave its package out"),
        ("bin/sh", {"type": tarfile.SYMTYPE, "linkname": "dash"}, "shell",
         "layer base holds the shell /bin/sh: leave its package out"),
        ("usr/bin/apt-get", {}, "package-manager", "layer base holds /usr/bin/apt-get: leave it out"),
        ("usr/local/bin/pip3", {}, "package-manager", "layer base holds /usr/local/bin/pip3: leave it out"),
        ("usr/local/lib/python3.13/dist-packages/pip/__main__.py", {}, "package-manager",
         "layer base holds /usr/local/lib/python3.13/dist-packages/pip/__main__.py: leave it out"),
        ("usr/local/lib/python3.13/dist-packages/pip/__main__.pyc", {}, "package-manager",
         "layer base holds /usr/local/lib/python3.13/dist-packages/pip/__main__.pyc: leave it out"),
        ("opt/tool", {"mode": 0o4755}, "setuid", "layer base: /opt/tool is setuid or setgid: clear the bit"),
        ("opt/tool", {"mode": 0o2755}, "setuid", "layer base: /opt/tool is setuid or setgid: clear the bit"),
        ("opt/tool", {"uid": 1000, "gid": 50}, "owner", "layer base: /opt/tool belongs to 1000:50, not root"),
    ],
)  # fmt: skip
def test_what_must_not_be_in_it(plant: Plant, name: str, header: dict[str, object], rule: str, text: str) -> None:
    assert measure.scan(plant((name, header)), 4000)["findings"] == [{"rule": rule, "text": text}]


def test_the_budget(plant: Plant) -> None:
    image = plant(("a", {}), size=31_500_000)
    assert measure.scan(image, 31_500_000)["findings"] == []
    assert measure.scan(image, 30_000_000)["findings"] == [
        {"rule": "budget", "text": "the image is 31.5 MB compressed, 1.5 MB over its budget of 30.0 MB"}
    ]


def test_the_table(plant: Plant) -> None:
    facts = measure.scan(plant(("usr/bin/sh", {}), size=3_000_000), 2_000_000)
    facts["layers"][0]["compressed"] = 3_000_000
    assert measure.render(facts) == (
        "layer  compressed  unpacked  files\n"
        "─────  ──────────  ────────  ─────\n"
        "base       3.0 MB    0.0 kB      1\n"
        "total      3.0 MB    0.0 kB      1\n"
        "\n"
        "budget 2.0 MB, 150 % used\n"
        "✗ layer base holds the shell /usr/bin/sh: leave its package out\n"
        "✗ the image is 3.0 MB compressed, 1.0 MB over its budget of 2.0 MB"
    )


def test_the_command_refuses_a_build_over_its_budget(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LASTGOOD_STATE", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    image = plant(("a", {}), size=2_500_000)
    (tmp_path / "manage.py").touch()
    text = '[tool.lastgood]\nproject = "shop"\nsettings = "s"\n[tool.lastgood.image]\nbudget = "2 MB"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    (tmp_path / ".lastgood").mkdir()
    (tmp_path / ".lastgood/build.json").write_text(json.dumps(image.as_dict()), encoding="utf-8")
    assert json.loads(json.dumps(image.as_dict())).keys() == asdict(image).keys()
    assert cli.main(["scan", "--json", "--project", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        "lastgood: the scan found the image is 2.5 MB compressed, 0.5 MB over its budget of 2.0 MB"
    )
    assert json.loads(said.out)["findings"][0]["rule"] == "budget"
