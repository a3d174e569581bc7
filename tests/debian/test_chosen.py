"""A project that adds Debian packages has a lock of its own, resolved together with the bundle's seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lastgood import bundle, cli
from lastgood.config import project
from lastgood.debian import chosen, locks
from lastgood.debian.locks import Lock
from lastgood.debian.seeds import Seeds
from lastgood.errors import Refused, UsageError
from lastgood.lock import both
from lastgood.lock.python import Compiled, PythonLock

if TYPE_CHECKING:
    from fixtures.archive import Archive

SEEDS = """
suite = "trixie"
[runtime]
packages = ["libc6"]
[wheels]
packages = ["libc6"]
[compiler]
on = "wheels"
packages = []
"""


class Shop:
    """A project of the test, whose Python lock is taken for compiled, and its bundle."""

    def __init__(self, root: Path, archive: Archive) -> None:
        self.root = root / "shop"
        self.bundle = root / "bundle"
        self.archive = archive
        self.root.mkdir()
        self.bundle.mkdir()
        (self.root / "manage.py").touch()
        (self.bundle / "base.toml").write_text(SEEDS, encoding="utf-8")

    def settings(self, image: str) -> Shop:
        """Writes the settings of the image."""
        text = f'[tool.lastgood]\nproject = "shop"\nsettings = "shop.settings"\n[tool.lastgood.image]\n{image}\n'
        (self.root / "pyproject.toml").write_text(text, encoding="utf-8")
        return self

    @property
    def lock(self) -> Path:
        return self.root / "docker/packages.lock"

    def run(self, *arguments: str) -> int:
        """`lastgood lock`."""
        return cli.main(["lock", "--project", str(self.root), *arguments])

    def versions(self) -> dict[str, str]:
        """What ships."""
        return {package.name: package.version for package in Lock.read(self.lock).packages("runtime", "amd64")}


@pytest.fixture
def shop(tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project that adds libpq5."""
    archive.add("libc6", "2.41")
    archive.add("libpq5", "17.1", fields={"Section": "libs", "Depends": "libc6 (>= 2.41)"})
    archive.add("libpq-dev", "17.1", fields={"Section": "libdevel", "Depends": "libpq5 (= 17.1)"})
    archive.publish()
    made = Shop(tmp_path, archive).settings('packages = ["libpq5"]\nbuild-packages = ["libpq-dev"]')
    locked = locks.resolve(Seeds.read(made.bundle / "base.toml"), archive.mirror)
    (made.bundle / "base.lock").write_text(locked.text(), encoding="utf-8")
    monkeypatch.setattr(bundle, "path", lambda name: made.bundle / Path(name).name)
    monkeypatch.setenv("LASTGOOD_DEBIAN_MIRROR", f"{archive.mirror.debian} {archive.mirror.security}")
    text = "django==5.2 \\\n    --hash=sha256:aa\n    # via -r requirements.in\n"
    monkeypatch.setattr(PythonLock, "inputs", lambda _lock: None)
    monkeypatch.setattr(PythonLock, "compiled", lambda _lock, _python, _upgrade: Compiled(text, ""))
    monkeypatch.setattr(PythonLock, "own", lambda _lock: True)
    for name in ("check", "prove"):
        monkeypatch.setattr(PythonLock, name, lambda *_arguments: None)
    return made


def locked(shop: Shop) -> Lock:
    """The lock that its image is made from."""
    found = project.load(shop.root)
    return chosen.locked(found.root, found.image)


def test_a_project_without_packages_has_the_bundles_lock(shop: Shop) -> None:
    shop.settings("")
    assert locked(shop) == chosen.bundled() == Lock.read(shop.bundle / "base.lock")


def test_locked_with_the_bundles_and_used(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        locked(shop)
    assert str(caught.value) == f"{shop.lock} does not exist: run `lastgood lock` to make it"
    assert shop.run() == 0
    assert capsys.readouterr().out == (
        "lock    package    change    where                              reason\n"
        "──────  ─────────  ────────  ─────────────────────────────────  ────────────────────────────\n"
        "debian  libpq-dev  new 17.1  compiler (amd64)                   newly needed\n"
        "debian  libpq5     new 17.1  compiler (amd64); runtime (amd64)  newly needed\n"
        "python  django     new 5.2   all                                asked for in requirements.in\n"
    )
    found = locked(shop)
    assert [package.name for package in found.packages("compiler", "amd64")] == ["libc6", "libpq-dev", "libpq5"]
    assert [package.name for package in found.packages("compiler", "arm64")] == ["libc6"]
    assert shop.run("--check") == 0
    assert shop.run() == 0
    assert capsys.readouterr().out.splitlines() == ["the locks are what their inputs say", "the locks are up to date"]


@pytest.mark.parametrize("where", ["project", "bundle"])
def test_a_stale_lock_is_refused(shop: Shop, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    shop.run()
    if where == "project":
        shop.settings('packages = ["libpq5", "libc6"]')
    else:
        (shop.bundle / "base.toml").write_text(
            SEEDS.replace('"trixie"\n', '"trixie"\n[more]\npackages = []\n'), encoding="utf-8"
        )
    message = f"{shop.lock} was not made from pyproject.toml and the bundle's base.toml as they are now: run `lastgood lock` and commit it"
    with pytest.raises(UsageError) as caught:
        locked(shop)
    assert str(caught.value) == message
    capsys.readouterr()
    assert shop.run("--check") == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"lastgood: {message}"


def test_without_packages_again(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.run()
    shop.settings("")
    capsys.readouterr()
    assert shop.run("--check") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"lastgood: {shop.lock} is of no use, as the project adds no packages: remove it"
    )
    assert shop.run() == 0
    assert not shop.lock.exists()


def test_upgrades_by_name(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.run()
    shop.archive.add("libc6", "2.42", suite="trixie-security")
    shop.archive.add("libpq5", "17.2", suite="trixie-updates", fields={"Section": "libs"})
    shop.archive.add(
        "libpq-dev", "17.2", suite="trixie-updates", fields={"Section": "libdevel", "Depends": "libpq5 (= 17.2)"}
    )
    shop.archive.publish()
    assert shop.run() == 0
    assert shop.versions() == {"libc6": "2.41", "libpq5": "17.1"}
    both.check(project.load(shop.root), prove=True)  # what Debian has replaced meanwhile does not make the lock stale
    capsys.readouterr()
    assert shop.run("--json", "--upgrade", "libc6") == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change == {
        "kind": "debian", "name": "libc6", "old": "2.41", "new": "2.42", "reason": "security", "security": True,
        "where": ["compiler (amd64, arm64)", "runtime (amd64, arm64)", "wheels (amd64, arm64)"],
    }  # fmt: skip
    assert shop.run("--markdown", "--upgrade") == 0
    assert capsys.readouterr().out.splitlines()[4:] == [
        "| debian | libpq-dev | 17.1 → 17.2 | compiler (amd64) | update |",
        "| debian | libpq5 | 17.1 → 17.2 | compiler (amd64); runtime (amd64) | update |",
    ]
    assert shop.run("--upgrade", "libpg5") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "lastgood: --upgrade libpg5: neither lock holds it (did you mean 'libpq5'?); name a locked package, or none to upgrade all"
    )


def test_a_proof_finds_what_the_seeds_need_more(shop: Shop) -> None:
    """The archive's libpq5 needs a library that the lock, made before, does not have."""
    shop.run()
    for stanzas in shop.archive.stanzas.values():
        stanzas[:] = [text.replace("Depends: libc6 (>= 2.41)", "Depends: libc6, libldap") for text in stanzas]
    shop.archive.add("libldap")
    shop.archive.publish()
    with pytest.raises(Refused) as caught:
        both.check(project.load(shop.root), prove=True)
    assert str(caught.value).splitlines()[0] == (
        f"{shop.lock} is stale: run `lastgood lock` and commit it; the difference is"
    )
    assert str(caught.value).splitlines()[-1].split()[:4] == ["debian", "libldap", "new", "1.0-1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prove"], "--prove goes with --check: it makes the locks anew, compares, and writes nothing"),
        (["--check", "--upgrade"], "--check and --upgrade exclude each other: a check changes nothing"),
    ],
)
def test_options_that_do_not_go_together(
    shop: Shop, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.run(*arguments) == 2
    assert capsys.readouterr().err == f"lastgood: {message}\n"
