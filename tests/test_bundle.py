"""The parts of the bundle are found from a checkout, and from an installed wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from lastgood import bundle

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = (
    "docker/Dockerfile",
    "docker/base.toml",
    "docker/base.lock",
    "docker/migrator/__main__.py",
    "cloudformation/service.yml",
    "cloudformation/bootstrap.yml",
    "cloudformation/migration_resource/handler.py",
)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_found_from_a_checkout(name: str) -> None:
    assert bundle.path(name).is_file()


def test_a_part_that_is_missing() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        bundle.path("docker/Containerfile")
    assert str(caught.value) == (
        f"docker/Containerfile is not part of this installation of lastgood ({REPOSITORY}): install it again"
    )


@pytest.mark.slow
def test_an_installed_wheel_holds_every_part(tmp_path: Path) -> None:
    """The wheel is made from a copy: setuptools writes its build folders beside what it builds."""
    for name in ("ci", "docker"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        shutil.copytree(REPOSITORY / name, tmp_path / "source" / name, ignore=ignored)
    arguments = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(tmp_path / "source/ci")]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = f"from lastgood import bundle\nfor name in {PARTS!r}: print(bundle.path(name))"
    said = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n{code}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = [Path(line).relative_to(tmp_path / "installed").as_posix() for line in said.splitlines()]
    assert found == [f"lastgood/_bundle/{name}" for name in PARTS]
    assert tomllib.loads((tmp_path / "installed/lastgood/_bundle/docker/base.toml").read_text())["suite"] == "trixie"
