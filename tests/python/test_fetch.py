"""What is fetched of a lock, and the one sentence for what can't be. A real pip, a local folder of wheels."""

from __future__ import annotations

import functools
import hashlib
import io
import socket
import tarfile
import zipfile
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from lastgood.errors import UsageError
from lastgood.platform import AMD64, ARM64
from lastgood.python import fetch as module
from lastgood.python import indexes, install, locked, sources
from lastgood.python.sources import Source

pytestmark = pytest.mark.slow  # together ten seconds: left out of `make check`

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
    assert module.download(file, locked.read(file, AMD64), AMD64, tmp_path / "wheels") == []
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
        "alhpa==1.0 has no wheel for Python 3.13 on linux/amd64 at the index, nor a source distribution (or does not exist): choose "
        "another version in requirements.in and run `lastgood lock`"
    )


def test_a_wheel_for_another_machine(index: Path, tmp_path: Path) -> None:
    digest = wheel(index, "alpha", "1.0", "cp313-cp313-win_amd64")
    assert refusal(tmp_path, f"alpha==1.0 --hash=sha256:{digest}\n") == (
        "alpha==1.0 has no wheel for Python 3.13 on linux/amd64 at the index, nor a source distribution (or does not exist): choose "
        "another version in requirements.in and run `lastgood lock`"
    )


def test_a_requirement_without_a_hash(index: Path, tmp_path: Path) -> None:
    wheel(index, "alpha", "1.0")
    assert refusal(tmp_path, "alpha==1.0\n") == (
        "requirements.txt names alpha==1.0 without a hash: run `lastgood lock`, which writes the hash of every file"
    )


@pytest.mark.usefixtures("index")
def test_a_lock_that_is_no_list_of_requirements(tmp_path: Path) -> None:
    assert refusal(tmp_path, "<<<<<<< ours\n") == (
        "requirements.txt:1 is no requirement ('<<<<<<< ours': Expected package name at the start of dependency specifier), which no lock "
        "holds: mend requirements.in where it comes from there, and run `lastgood lock`"
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


def test_a_line_whose_marker_is_false_in_the_image_is_left_out(index: Path, tmp_path: Path) -> None:
    """pip would ask the Python that it runs on, which is another one."""
    digest = wheel(index, "alpha", "1.0")
    file = tmp_path / "requirements.txt"
    file.write_text(
        f'alpha==1.0 ; python_version == "3.13" and sys_platform == "linux" \\\n    --hash=sha256:{digest}\n    # via -r x\n'
        f'beta==1.0 ; python_version < "3.13" --hash=sha256:{ZERO}\ngamma==1.0 ; platform_machine == "x86_64" --hash=sha256:{ZERO}\n',
        encoding="utf-8",
    )
    assert [one.text for one in locked.read(file, ARM64)] == [f"alpha==1.0 --hash=sha256:{digest}"]
    assert [one.version for one in locked.read(file, AMD64)] == ["1.0", "1.0"]


def sdist(folder: Path, name: str, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> str:
    """Writes a source distribution; returns its sha256."""
    file = folder / f"{name}-1.0.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(f"{name}-1.0/{path}")
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
        for path, target in (links or {}).items():
            info = tarfile.TarInfo(f"{name}-1.0/{path}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_has_no_wheel_comes_as_its_source_and_none_of_its_code_runs(index: Path, tmp_path: Path) -> None:
    digest = sdist(
        index,
        "alpha",
        {"setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')\n", "PKG-INFO": "Name: alpha\nVersion: 1.0\n"},
    )
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"alpha==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
    assert module.download(lock, locked.read(lock, AMD64), AMD64, tmp_path / "w") == [
        Source("alpha", "1.0", tmp_path / "w/alpha-1.0.tar.gz")
    ]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("line", ["alpha @ file://{}", "{}", "file://{}", "-r {}", "-e {}", "alpha @ git+file://{}"])
def test_no_code_runs_of_a_source_that_is_named_by_its_address(index: Path, tmp_path: Path, line: str) -> None:
    """pip builds it to read its metadata, here and with all that this process may see."""
    digest = sdist(index, "alpha", {"setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')\n"})
    named = line.format(index / "alpha-1.0.tar.gz")
    said = refusal(tmp_path, f"{named} --hash=sha256:{digest}\n")
    assert said.startswith("requirements.txt:1 ")
    allowed = "(what may stand there: requirements, -r, -c, --no-binary NAME, --only-binary, --pre, --prefer-binary)"
    assert said.endswith((allowed, "mend requirements.in where it comes from there, and run `lastgood lock`"))
    assert not (tmp_path / "ran").exists()


def test_a_wheel_may_be_named_by_its_address(index: Path, tmp_path: Path) -> None:
    digest = wheel(index, "alpha", "1.0")
    (file,) = index.glob("alpha-*.whl")
    lock = tmp_path / "requirements.txt"
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(index))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{file.name}"
        lock.write_text(f"alpha @ {address} --hash=sha256:{digest}\n", encoding="utf-8")
        assert module.download(lock, locked.read(lock, AMD64), AMD64, tmp_path / "w") == []
        server.shutdown()
    assert [one.name for one in (tmp_path / "w").iterdir()] == [file.name]


def test_what_is_not_to_come_as_a_wheel_comes_as_its_source(index: Path, tmp_path: Path) -> None:
    wheel(index, "alpha", "1.0")
    digest = sdist(index, "alpha", {"setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')\n"})
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"--no-binary alpha\nalpha==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
    found = module.download(lock, locked.read(lock, AMD64), AMD64, tmp_path / "w")
    assert found == [Source("alpha", "1.0", tmp_path / "w/alpha-1.0.tar.gz")]
    assert [one.name for one in (tmp_path / "w").iterdir()] == ["alpha-1.0.tar.gz"]
    assert not (tmp_path / "ran").exists()


def test_a_marker_is_asked_with_the_full_version_of_the_images_python(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f'alpha==1.0 ; python_full_version >= "3.13.2" --hash=sha256:{ZERO}\n', encoding="utf-8")
    assert [one.name for one in locked.read(lock, AMD64, "3.13.5")] == ["alpha"]
    assert [one.name for one in locked.read(lock, AMD64, "3.13.1")] == []


def test_what_pips_settings_say_of_an_index_is_said_to_every_pip(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever section of whatever file; and nothing else of them, which would count for one and not for the other."""
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nindex-url = https://one.invalid/packages\nconstraint = {tmp_path}/none.txt\n[install]\nno-index = true\n"
        f"find-links =\n  {index}\n  /elsewhere\nuser = true\n[download]\nfind-links = /nowhere\nno-binary = alpha\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_PRE", "1")
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.invalid/packages")
    found = {name: value for name, value in indexes.settings().items() if name.startswith("PIP_")}
    wanted = ("PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE")
    assert {name: found[name] for name in wanted} == {
        "PIP_INDEX_URL": "https://two.invalid/packages",
        "PIP_NO_INDEX": "true",
        "PIP_FIND_LINKS": f"{index} /elsewhere",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    assert not {"PIP_PRE", "PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PIP_CONSTRAINT", "PIP_NO_BINARY"} & found.keys()
    lock = f"alpha==1.0 --hash=sha256:{wheel(index, 'alpha', '1.0')}\n"
    assert fetch(tmp_path, lock) == ["alpha-1.0-py3-none-any.whl"]


def test_settings_of_pip_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text("index-url = https://someone:secret@one.invalid\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(UsageError) as caught:
        indexes.settings()
    assert str(caught.value).startswith("pip's settings can't be read (")
    assert str(caught.value).endswith("): mend pip.conf or the variables PIP_*")
    assert "secret" not in str(caught.value)


INSTALLED = {"alpha": "1.0", "Beta_x": "2.0.0"}


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ("alpha==1.0\nbeta-x==2.0\n", None),
        ('alpha==1.0\nbeta-x==2.0\ngamma==1 ; sys_platform == "win32"\n', None),
        (
            "alpha==1.0\nbeta-x==2.0\ngamma==1\n",
            "requirements.txt names gamma, and what the index gave for it is not that: find out what it is, and run `lastgood lock`",
        ),
        (
            "alpha==1.1\nbeta-x==2.0\n",
            "requirements.txt names alpha 1.1, and what the index gave for it says that it is 1.0: find out why, and run `lastgood lock`",
        ),
        (
            "alpha==1.0\n",
            "beta-x was installed, and requirements.txt does not name it: find out why, and run `lastgood lock`",
        ),
    ],
)
def test_just_what_is_locked_is_installed(tmp_path: Path, lock: str, said: str | None) -> None:
    for name, version in INSTALLED.items():
        info = tmp_path / f"target/{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n\nText\n", encoding="utf-8")
    file = tmp_path / "requirements.txt"
    file.write_text(lock, encoding="utf-8")
    if said is None:
        install.prove(file, locked.read(file, AMD64), tmp_path / "target")
    else:
        with pytest.raises(UsageError) as caught:
            install.prove(file, locked.read(file, AMD64), tmp_path / "target")
        assert str(caught.value) == said


def test_a_source_with_another_hash(index: Path, tmp_path: Path) -> None:
    sdist(index, "alpha", {"setup.py": ""})
    assert refusal(tmp_path, f"alpha==1.0 --hash=sha256:{ZERO}\n") == (
        "alpha==1.0: the file that the index gave does not have a hash that requirements.txt names; nothing was installed: find out "
        "why it changed, then run `lastgood lock`"
    )


def crafted(tmp_path: Path, name: str, content: str = "", mode: int = 0o100644) -> Path:
    """A wheel with one entry of that name."""
    file = tmp_path / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return file


def unsafe(file: Path) -> str:
    with pytest.raises(UsageError) as caught:
        install.check(file)
    return str(caught.value)


def test_a_wheel_with_a_name_in_no_encoding(tmp_path: Path) -> None:
    file = crafted(tmp_path, "alpha/é.txt")
    file.write_bytes(file.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert unsafe(file) == (
        "alpha-1.0-py3-none-any.whl holds a file whose name is no UTF-8 (b'alpha/\\xff\\xfe.txt'): it is not installed; choose another "
        "version of it"
    )


def test_a_wheel_that_leaves_its_folder(tmp_path: Path) -> None:
    assert unsafe(crafted(tmp_path, "../x.py")) == (
        "alpha-1.0-py3-none-any.whl holds ../x.py, which lies outside its folder: it is not installed; choose another version"
    )
    assert unsafe(crafted(tmp_path, "alpha/x", "../../etc", 0o120777)) == (
        "alpha-1.0-py3-none-any.whl holds alpha/x, a link to ../../etc, which lies outside its folder: it is not installed; choose "
        "another version"
    )
    install.check(crafted(tmp_path, "alpha/x", "../beta", 0o120777))


def test_a_file_that_is_no_wheel(tmp_path: Path) -> None:
    file = tmp_path / "alpha-1.0-py3-none-any.whl"
    file.write_bytes(b"<html>")
    assert (
        unsafe(file) == "alpha-1.0-py3-none-any.whl is no wheel (File is not a zip file): choose another version of it"
    )


@pytest.mark.parametrize(
    ("path", "target", "said"),
    [
        ("a", "/etc/passwd", "alpha-1.0/a, a link to /etc/passwd, which lies outside its folder"),
        ("a/b", "../../c", "alpha-1.0/a/b, a link to ../../c, which lies outside its folder"),
        ("../../x", "c", "alpha-1.0/../../x, which lies outside its folder"),
    ],
)
def test_a_source_that_leaves_its_folder(tmp_path: Path, path: str, target: str, said: str) -> None:
    sdist(tmp_path, "alpha", {"c": "1"}, {path: target})
    with pytest.raises(UsageError) as caught:
        sources.unpack(Source("alpha", "1.0", tmp_path / "alpha-1.0.tar.gz"))
    assert str(caught.value) == f"alpha-1.0.tar.gz holds {said}: it is not compiled; choose another version of alpha"


def test_a_source_with_a_name_in_no_encoding(tmp_path: Path) -> None:
    sdist(tmp_path, "alpha", {"c\udcff": "1"})
    with pytest.raises(UsageError) as caught:
        sources.unpack(Source("alpha", "1.0", tmp_path / "alpha-1.0.tar.gz"))
    assert str(caught.value) == (
        "alpha-1.0.tar.gz holds a file whose name is no UTF-8 (b'alpha-1.0/c\\xff'): it is not compiled; choose another version of alpha"
    )
