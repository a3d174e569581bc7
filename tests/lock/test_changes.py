"""What a reviewer reads of a new lock: one model, three faces."""

from __future__ import annotations

from lastgood.debian.locks import Lock, Package
from lastgood.lock import changes

OLD = """\
asgiref==3.8 \\
    --hash=sha256:aa
    # via django
django==5.2.1 \\
    --hash=sha256:bb
    # via -r requirements.in
old==1 \\
    --hash=sha256:cc
    # via -r requirements.in
sqlparse==0.5 \\
    --hash=sha256:dd
    # via django
"""
NEW = """\
asgiref==3.9 ; platform_machine == "aarch64" \\
    --hash=sha256:aa
    # via
    #   -r requirements.in
    #   django[argon2]
django==5.2.2 \\
    --hash=sha256:bb
    # via -r requirements.in
sqlparse==0.5 \\
    --hash=sha256:ee
    # via django
tomli==2.0 \\
    --hash=sha256:ff
    # via sqlparse
"""


def package(name: str, version: str, architecture: str = "amd64", archive: str = "debian") -> Package:
    """A package whose hash follows from its version."""
    return Package(name, version, architecture, name, archive, f"pool/{name}", f"{name}{version}{architecture}", 1)


def lock(amd64: list[Package], arm64: list[Package]) -> Lock:
    """A lock with one stage."""
    return Lock("trixie", "", "20261124T160000Z", {"runtime": {"amd64": tuple(amd64), "arm64": tuple(arm64)}})


BEFORE = lock([package("zlib1g", "1.2"), package("libssl", "3.1")], [package("libssl", "3.1", "arm64")])
AFTER = lock(
    [package("libssl", "3.2", archive="debian-security"), package("libpq5", "17")],
    [package("libssl", "3.2", "arm64", "debian-security"), package("libpq5", "17", "arm64")],
)


def test_debian_security_first() -> None:
    assert changes.debian(BEFORE, AFTER) == [
        changes.Change("debian", "libssl", "3.1", "3.2", ("runtime (amd64, arm64)",), "security"),
        changes.Change("debian", "libpq5", None, "17", ("runtime (amd64, arm64)",), "newly needed"),
        changes.Change("debian", "zlib1g", "1.2", None, ("runtime (amd64)",), "no longer needed"),
    ]
    assert changes.debian(AFTER, AFTER) == []


def test_a_step_back_is_said() -> None:
    """Debian signed the older version, too: a reviewer has to see it."""
    (change,) = changes.debian(lock([package("libssl", "3.10")], []), lock([package("libssl", "3.9")], []))
    assert (change.move, change.reason) == ("3.10 → 3.9", "an older version")


def test_debian_of_two_architectures_in_one_stage() -> None:
    before = lock([], [package("libc6", "1", "arm64"), package("libc6", "1", "amd64")])
    after = lock([], [package("libc6", "2", "arm64"), package("libc6", "2", "amd64")])
    assert changes.debian(before, after) == [
        changes.Change("debian", "libc6", "1", "2", ("runtime (arm64)",), "update")
    ]


def test_python_names_the_requirement_that_moved() -> None:
    assert changes.python(OLD, NEW) == [
        changes.Change("python", "asgiref", "3.8", "3.9", ("aarch64",), "moved with django (5.2.1 → 5.2.2)"),
        changes.Change("python", "django", "5.2.1", "5.2.2", (), "asked for in requirements.in"),
        changes.Change("python", "old", "1", None, (), "no longer needed"),
        changes.Change("python", "tomli", None, "2.0", (), "needed by sqlparse"),
    ]
    assert changes.python(NEW, NEW) == []


def test_the_first_lock_names_a_few_of_many() -> None:
    pin = "x==1 \\\n    --hash=sha256:1\n    # via\n" + "".join(f"    #   {name}\n" for name in "abcdefgh")
    assert [change.reason for change in changes.python("", pin)] == ["needed by a, b, c and 5 others"]


def test_the_table_for_a_terminal() -> None:
    assert changes.text(changes.debian(BEFORE, AFTER)) == (
        "lock    package  change       where                   reason\n"
        "──────  ───────  ───────────  ──────────────────────  ────────────────\n"
        "debian  libssl   3.1 → 3.2    runtime (amd64, arm64)  security\n"
        "debian  libpq5   new 17       runtime (amd64, arm64)  newly needed\n"
        "debian  zlib1g   1.2 removed  runtime (amd64)         no longer needed"
    )
    assert changes.text([]) == ""


def test_the_table_for_a_pull_request() -> None:
    found = changes.python(OLD, NEW)[1:2] + changes.debian(BEFORE, AFTER)[:1]
    assert changes.markdown(found) == (
        "**2 packages change, 1 of them for security.**\n\n"
        "| lock | package | change | where | reason |\n| --- | --- | --- | --- | --- |\n"
        "| debian | libssl | 3.1 → 3.2 | runtime (amd64, arm64) | **security** |\n"
        "| python | django | 5.2.1 → 5.2.2 | all | asked for in requirements.in |"
    )
    assert changes.markdown([]) == "The locks did not change."


def test_for_json() -> None:
    assert changes.as_dicts(changes.debian(BEFORE, AFTER)[:1]) == [
        {
            "kind": "debian", "name": "libssl", "old": "3.1", "new": "3.2", "where": ("runtime (amd64, arm64)",),
            "reason": "security", "security": True,
        }
    ]  # fmt: skip
