"""Who names the Debian mirror: the project, the variable, apt, debootstrap, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood.debian import mirror
from lastgood.debian.mirror import Mirror
from lastgood.errors import UsageError

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
UBUNTU = 'ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 24.04"\n'
LIST = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://other.example/apt stable main
deb [arch=amd64] http://list.example/debian/ bookworm main
deb http://list-security.example/debian-security bookworm-security main
"""
SOURCES = """\
Types: deb deb-src
URIs: http://sources.example/debian
Suites: bookworm bookworm-updates
Components: main

# the security archive
Types: deb
URIs: http://sources-security.example/debian-security
Suites: bookworm-security
Components: main
"""


class Machine:
    """A machine's files, under a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("apt/sources.list.d", "scripts"):
            (root / name).mkdir(parents=True)

    def write(self, name: str, text: str) -> Machine:
        (self.root / name).write_text(text, encoding="utf-8")
        return self


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that knows no mirror."""
    monkeypatch.delenv("LASTGOOD_DEBIAN_MIRROR", raising=False)
    monkeypatch.setattr(mirror, "_APT", tmp_path / "apt")
    monkeypatch.setattr(mirror, "_DEBOOTSTRAP", (tmp_path / "scripts", tmp_path / "debootstrap"))
    monkeypatch.setattr(mirror, "_OS_RELEASE", tmp_path / "os-release")
    return Machine(tmp_path)


@pytest.fixture
def full(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine where all but the project name a mirror."""
    machine.write("os-release", DEBIAN).write("apt/sources.list.d/debian.sources", SOURCES)
    machine.write("scripts/trixie", "default_mirror http://debootstrap.example/debian\n")
    monkeypatch.setenv("LASTGOOD_DEBIAN_MIRROR", "http://variable.example/debian")
    return machine


@pytest.mark.usefixtures("full")
def test_the_project_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mirror.find("http://project.example/debian", "trixie") == Mirror(
        "http://project.example/debian", "http://project.example/debian-security", "[tool.lastgood.image] mirror"
    )
    assert mirror.find(None, "trixie").origin == "LASTGOOD_DEBIAN_MIRROR"
    monkeypatch.delenv("LASTGOOD_DEBIAN_MIRROR")
    assert mirror.find(None, "trixie").origin == "apt sources"
    monkeypatch.setattr(mirror, "_OS_RELEASE", Path("/nonexistent"))
    assert mirror.find(None, "trixie").origin == "debootstrap's default"
    monkeypatch.setattr(mirror, "_DEBOOTSTRAP", (Path("/nonexistent"), Path("/nonexistent")))
    with pytest.raises(UsageError) as caught:
        mirror.find(None, "trixie")
    assert str(caught.value) == (
        "no Debian mirror is known on this machine: set [tool.lastgood.image] mirror or LASTGOOD_DEBIAN_MIRROR to the address of "
        "one, or install the package debootstrap, which knows a default"
    )


@pytest.mark.usefixtures("machine")
def test_the_security_archive_is_the_second_word() -> None:
    found = mirror.find("https://a.example/x/debian/ http://b.example/security", "trixie")
    assert found.url("debian", "dists/trixie/InRelease") == "https://a.example/x/debian/dists/trixie/InRelease"
    assert found.url("debian-security", "pool/a.deb") == "http://b.example/security/pool/a.deb"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    "value", ["mirror.example/debian", "ftp://a.example/debian", "http://a http://b http://c", "http://a b"]
)
def test_what_is_no_address(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for configured, origin in ((value, "[tool.lastgood.image] mirror"), (None, "LASTGOOD_DEBIAN_MIRROR")):
        monkeypatch.setenv("LASTGOOD_DEBIAN_MIRROR", value)
        with pytest.raises(UsageError) as caught:
            mirror.find(configured, "trixie")
        assert str(caught.value) == (
            f"{origin} is {value!r}: it must be one address (http, https or file), or two with a space between"
        )


@pytest.mark.parametrize("name", ["apt/sources.list", "apt/sources.list.d/debian.list"])
def test_apts_one_line_format(machine: Machine, name: str) -> None:
    machine.write("os-release", DEBIAN).write(name, LIST)
    assert mirror.find(None, "trixie") == Mirror(
        "http://list.example/debian/", "http://list-security.example/debian-security", "apt sources"
    )
    assert mirror.find(None, "trixie").url("debian", "x") == "http://list.example/debian/x"


def test_apts_stanza_format(machine: Machine) -> None:
    machine.write("os-release", DEBIAN).write("apt/sources.list.d/debian.sources", SOURCES)
    assert mirror.find(None, "trixie") == Mirror(
        "http://sources.example/debian", "http://sources-security.example/debian-security", "apt sources"
    )


@pytest.mark.parametrize("value", ["no", "No", "false"])
def test_a_disabled_stanza_does_not_count(machine: Machine, value: str) -> None:
    machine.write("os-release", DEBIAN)
    machine.write("apt/sources.list.d/a.sources", f"Enabled: {value}\n" + SOURCES.replace("sources", "disabled"))
    machine.write("apt/sources.list.d/b.sources", SOURCES)
    assert mirror.find(None, "trixie").debian == "http://sources.example/debian"


def test_apt_without_a_security_archive(machine: Machine) -> None:
    machine.write("os-release", DEBIAN).write("apt/sources.list", "deb http://a.example/mirror/debian trixie main\n")
    assert mirror.find(None, "trixie").security == "http://a.example/mirror/debian-security"


def test_apt_addresses_that_only_apt_understands(machine: Machine) -> None:
    """Debian's cloud images name a list of mirrors; we take what can be fetched from."""
    machine.write("os-release", DEBIAN).write("scripts/sid", "default_mirror http://default.example/debian\n")
    machine.write("apt/sources.list", "deb mirror+file:///etc/apt/mirrors/debian trixie main\n")
    assert mirror.find(None, "trixie").origin == "debootstrap's default"


def test_ubuntus_archive_is_not_debians(machine: Machine) -> None:
    machine.write("os-release", UBUNTU).write("apt/sources.list", LIST)
    machine.write("scripts/sid", "case x in\n  default_mirror http://default.example/debian\n")
    assert mirror.find(None, "trixie") == Mirror(
        "http://default.example/debian", "http://default.example/debian-security", "debootstrap's default"
    )


@pytest.mark.parametrize("name", ["trixie", "debian-common", "sid"])
def test_debootstraps_default(machine: Machine, name: str) -> None:
    machine.write(f"scripts/{name}", "keyring /x\n\tdefault_mirror 'https://default.example/debian'\n")
    assert mirror.find(None, "trixie").debian == "https://default.example/debian"


def test_debootstraps_own_default(machine: Machine) -> None:
    """As Debian's package has it: no script of a living suite names a mirror, the program does."""
    machine.write("scripts/sid", "mirror_style release\nkeyring /usr/share/keyrings/x.gpg\n")
    machine.write(
        "debootstrap", 'USE_COMPONENTS=main\nDEF_MIRROR="http://default.example/debian"\nMIRRORS="$DEF_MIRROR"\n'
    )
    assert mirror.find(None, "trixie").debian == "http://default.example/debian"


def test_a_default_that_is_ubuntus_is_passed_over(machine: Machine) -> None:
    machine.write("scripts/sid", "  default_mirror http://archive.example/ubuntu\n")
    machine.write("debootstrap", "DEF_MIRROR='http://default.example/debian/'\n")
    assert mirror.find(None, "trixie").debian == "http://default.example/debian"
