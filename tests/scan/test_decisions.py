"""The scan's decisions as tables: budgets, growth, accepted findings, costs, the compact form of a build's contents."""

from __future__ import annotations

import hashlib

import pytest
from lastgood.config.project import Budget
from lastgood.scan import budget, contents, cost
from lastgood.scan.contents import Cause, Contents
from lastgood.scan.findings import Finding, judge

MB = 10**6


def build(name: str, **owners: tuple[str, float]) -> Contents:
    """Contents of a build: owners of distributions as name=(version, MB); `project` is what it is."""
    found = {
        key if key in ("project", "lastgood") else f"python:{key}": (version, round(size * MB), 3 * round(size * MB))
        for key, (version, size) in owners.items()
    }
    total = sum(one[1] for one in found.values())
    return Contents(name, total, total * 3, 100, found, {"sha256:a": total})


OLD = build("old", django=("5.2.19", 7), project=("", 1), gone=("1", 0.5))
NEW = build("new", django=("5.2.20", 7.3), project=("", 1.1), pillow=("12.1", 1.9))


@pytest.mark.parametrize(
    ("limits", "before", "said"),
    [
        (Budget(total=11 * MB), None, []),
        (Budget(total=10 * MB), None, [
            ("the largest part is django 5.2.20 with 7.3 MB; the image is 10.3 MB compressed, 0.3 MB over its budget of 10.0 MB: "
            "leave something out or raise budget.total")]),
        (Budget(total=10 * MB), OLD, [
            ("+1.9 MB is pillow 12.1 new; the image is 10.3 MB compressed, 0.3 MB over its budget of 10.0 MB: leave something out or raise "
            "budget.total")]),
        (Budget(growth=2 * MB), OLD, []),
        (Budget(growth=MB), None, []),
        (Budget(growth=MB), OLD, [
            ("+1.9 MB is pillow 12.1 new; the image grew by 1.8 MB since last good, 0.8 MB over its budget of 1.0 MB: leave it out or "
            "raise budget.growth")]),
        (Budget(files=99), None, ["the image has 100 files, 1 over its budget of 99: leave files out or raise budget.files"]),
        (Budget(files=100, distributions={"django": 8 * MB, "absent": 1}), None, []),
        (Budget(distributions={"django": 7 * MB}), None, [
            "django 5.2.20 is 7.3 MB compressed, 0.3 MB over its budget of 7.0 MB: lock another version or raise budget.distributions"]),
    ],
)  # fmt: skip
def test_the_verdict(limits: Budget, before: Contents | None, said: list[str]) -> None:
    causes = contents.growth(before, NEW) if before else ()
    assert [one.sentence for one in budget.verdict(NEW, budget.lines(NEW, limits, before), causes)] == said


def test_causes() -> None:
    assert contents.growth(OLD, NEW) == (
        Cause("python:pillow", "pillow 12.1 new", 1_900_000, 5_700_000),
        Cause("python:django", "django 5.2.19 → 5.2.20", 300_000, 900_000),
        Cause("project", "the project's own files", 100_000, 300_000),
        Cause("python:gone", "gone 1 gone", -500_000, -1_500_000),
    )
    assert contents.growth(OLD, OLD) == ()
    again = build("again", django=("5.2.19", 7.1), project=("", 1), gone=("1", 0.5))
    assert [one.text for one in contents.growth(OLD, again)] == ["django 5.2.19, its files changed"]
    packed = Contents("zstd", 1, OLD.unpacked, 100, {**OLD.owners, "python:django": ("5.2.19", 6 * MB, 21 * MB)}, {})
    assert [one.text for one in contents.growth(OLD, packed)] == ["django 5.2.19, compressed differently"]


def test_the_compact_form_is_read_back() -> None:
    text = OLD.text()
    assert text.startswith('{"v":1,"build":"old"')
    assert Contents.read(text) == OLD
    names = {f"python:{hashlib.sha256(bytes([n])).hexdigest()}": (str(n), n, n) for n in range(200)}
    long = Contents("long", 1, 2, 3, names, {})
    assert len(long.text()) < 20_000
    assert not long.text().startswith("{")
    assert Contents.read(long.text()) == long


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is not what a scan wrote (TypeError: Expecting value: line 1 column 1 (char 0))"),
        ("AAAA", "it is not what a scan wrote (BadGzipFile: Not a gzipped file (b'\\x00\\x00'))"),
        ('{"v":1}', "it is not what a scan wrote (KeyError: 'owners')"),
        ('{"v":2}', "its form is 2, this lastgood reads 1"),
    ],
)
def test_what_is_no_contents(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^its? ") as caught:
        Contents.read(text)
    assert str(caught.value) == said


def test_accepted_and_stale() -> None:
    shell = Finding("shell", "bin/sh", "a shell", "leave it out", platform="linux/amd64")
    again = Finding("shell", "bin/sh", "a shell", "leave it out", platform="linux/arm64")
    secret = Finding("secret", "app/x", "a secret", "")
    found = judge(
        [secret, shell, again], ("shell:/bin/sh", "budget: total"), [Finding("vulnerability", "django CVE-1", "v", "")]
    )
    assert [one.key for one in found.accepted] == ["shell: bin/sh"]
    assert found.accepted[0].platform == ""
    assert [one.key for one in found.findings] == ["secret: app/x", "vulnerability: django CVE-1"]
    assert found.stale == ("budget: total",)


def test_accepted_by_a_pattern() -> None:
    hits = [Finding("secret", f"app/docs/{name}", "a secret", "") for name in ("a.md", "b/c.md")]
    other = Finding("shell", "app/docs/sh", "a shell", "")
    found = judge([*hits, other], ("secret: app/docs/*", "secret: app/gone/*"))
    assert found.accepted == tuple(hits)
    assert (found.findings, found.stale) == ((other,), ("secret: app/gone/*",))


@pytest.mark.parametrize(
    ("known", "kept", "size"),
    [
        ([{"a": 20, "b": 9}], 1, 30),
        ([{"a": 20, "b": 9}], 3, 90),
        ([{"a": 20, "b": 9}, {"a": 20, "c": 8}], 2, 20 + 9 + 8 + 2),
        ([{"a": 20, "b": 9}, {"a": 20, "c": 8}], 3, 20 + 9 + 8 + 2 + 30),
        ([{"a": 20, "b": 9}, {"a": 20, "c": 8}], 1, 30),
    ],
)
def test_a_layer_is_stored_once(known: list[dict[str, int]], kept: int, size: int) -> None:
    assert cost.storage(30, known, kept, 0.1)["bytes"] == size


def test_what_storage_and_a_pull_cost() -> None:
    found = cost.storage(2 * 10**9, [{"a": 2 * 10**9}], 5, 0.1)
    assert found == {"kept": 5, "known": 1, "bytes": 10**10, "usd_a_month": 1.0, "usd_a_gb": 0.1}
    assert cost.pull(25 * MB) == {"100": 2.0, "1000": 0.2}
