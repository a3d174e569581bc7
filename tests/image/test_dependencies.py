"""What pip says of a lock that can't be installed, in one sentence. A real pip, a local folder of wheels."""

from __future__ import annotations

import hashlib
import socket
import zipfile
from pathlib import Path

import pytest
from lastgood.errors import UsageError
from lastgood.image import dependencies

ZERO = "0" * 64


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any") -> str:
    """Writes a wheel; returns its sha256."""
    file = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "x = 1\n")
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only index that pip knows."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch(tmp_path: Path, lock: str) -> list[str]:
    """Fetches a lock; returns what came."""
    file = tmp_path / "requirements.txt"
    file.write_text(lock, encoding="utf-8")
    dependencies._download(file, tmp_path / "wheels")
    return sorted(path.name for path in (tmp_path / "wheels").iterdir())


def refusal(tmp_path: Path, lock: str) -> str:
    """The whole message."""
    with pytest.raises(UsageError) as caught:
        fetch(tmp_path, lock)
    assert not list((tmp_path / "wheels").glob("*"))
    return str(caught.value)


def test_what_is_locked_is_fetched(index: Path, tmp_path: Path) -> None:
    lock = f"alpha==1.0 --hash=sha256:{wheel(index, 'alpha', '1.0')}\n"
    assert fetch(tmp_path, lock) == ["alpha-1.0-py3-none-any.whl"]


def test_a_hash_that_does_not_match(index: Path, tmp_path: Path) -> None:
    wheel(index, "alpha", "1.0")
    assert refusal(tmp_path, f"alpha==1.0 --hash=sha256:{ZERO}\n") == (
        "alpha==1.0: the file that the index gave does not have a hash that requirements.txt names; nothing was installed: find out "
        "why it changed, then run `lastgood lock`"
    )


@pytest.mark.usefixtures("index")
def test_a_requirement_that_does_not_exist(tmp_path: Path) -> None:
    assert refusal(tmp_path, f"alhpa==1.0 --hash=sha256:{ZERO}\n") == (
        "alhpa==1.0 has no wheel for Python 3.13 on linux x86_64 at the index (or does not exist): choose another version in "
        "requirements.in and run `lastgood lock`"
    )


def test_a_wheel_for_another_machine(index: Path, tmp_path: Path) -> None:
    digest = wheel(index, "alpha", "1.0", "cp313-cp313-win_amd64")
    assert refusal(tmp_path, f"alpha==1.0 --hash=sha256:{digest}\n") == (
        "alpha==1.0 has no wheel for Python 3.13 on linux x86_64 at the index (or does not exist): choose another version in "
        "requirements.in and run `lastgood lock`"
    )


def test_a_requirement_without_a_hash(index: Path, tmp_path: Path) -> None:
    wheel(index, "alpha", "1.0")
    assert refusal(tmp_path, "alpha==1.0\n") == (
        "requirements.txt names alpha==1.0 without a hash: run `lastgood lock`, which writes the hash of every file"
    )


@pytest.mark.usefixtures("index")
def test_a_lock_that_is_no_list_of_requirements(tmp_path: Path) -> None:
    assert refusal(tmp_path, "<<<<<<< ours\n") == (
        f"{tmp_path}/requirements.txt: pip could not fetch what is locked: ERROR: Invalid requirement: '<<<<<<< ours': Expected package "
        "name at the start of dependency specifier; mend it and build again"
    )


@pytest.mark.usefixtures("index")
def test_an_index_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/index"
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert refusal(tmp_path, f"alpha==1.0 --hash=sha256:{ZERO}\n") == (
        "the Python index does not answer, so what requirements.txt locks could not be fetched: check the network and pip's settings"
    )


def test_a_record_names_what_is_there_and_no_program_of_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "shop-1.0.dist-info"
    folder.mkdir()
    (tmp_path / "shop.py").touch()
    record = folder / "RECORD"
    record.write_text(
        "shop.py,sha256=a,1\n../../bin/shop,sha256=of-a-line-that-names-this-python,9\nshop-1.0.dist-info/RECORD,,\ngone.po,sha256=c,2\n",
        encoding="utf-8",
    )
    dependencies._trim(tmp_path)
    assert record.read_text(encoding="utf-8") == "shop-1.0.dist-info/RECORD,,\nshop.py,sha256=a,1\n"
