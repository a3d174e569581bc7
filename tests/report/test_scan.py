"""A scan for people: the terminal's text, Markdown, SARIF and the picture, from the same facts."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from lastgood.report import sarif, scan, treemap
from lastgood.scan.findings import RULES

SIZES = {"compressed": 2_000_000, "unpacked": 6_000_000, "files": 30}


def facts(**changes: Any) -> dict[str, Any]:
    """The facts of a scan of a small build."""
    finding = {"rule": "secret", "subject": "app/x_y.py", "text": "layer app: /app/x_y.py holds a secret (Private Key) on line 3",
               "do": "keep it out of the commit", "layer": "app", "path": "app/x_y.py", "line": 3}  # fmt: skip
    cost = {"storage": {"kept": 20, "known": 2, "bytes": 40_000_000, "usd_a_month": 0.004, "usd_a_gb": 0.1},
            "pull_seconds": {"100": 0.16, "1000": 0.016}}  # fmt: skip
    return {
        "build": "abc", "digest": "sha256:d", **SIZES, "budget": 4_000_000,
        "budgets": [{"name": "total", "used": 2_000_000, "limit": 4_000_000, "over": False},
                    {"name": "files", "used": 30, "limit": 50, "over": False}],
        "platforms": [{"platform": "linux/amd64", **SIZES}],
        "layers": [{"layer": "base", **SIZES, "largest": []}],
        "owners": [
            {"owner": "python:django", "version": "5.2", "compressed": 1_500_000, "unpacked": 5_000_000, "files": 20},
            {"owner": "project", "compressed": 400_000, "unpacked": 900_000, "files": 9},
            {"owner": "unattributed", "compressed": 100_000, "unpacked": 100_000, "files": 1},
        ],
        "kinds": [{"kind": "source", **SIZES}], "folders": [{"folder": "app", **SIZES}],
        "wasted": {"compressed": 0, "unpacked": 0, "files": 0, "largest": []},
        "growth": {"against": "last good of staging (release 3, build old)", "compressed": 1_900_000,
                   "causes": [{"cause": "django 5.1 → 5.2", "compressed": -100_000},
                              {"cause": "pillow 12.1 new", "compressed": 2_000_000}]},
        "native": {"files": 5, "opens": [{"path": "a", "opens": ["b"], "in_image": []}], "scripts_without_interpreter": {}},
        "cost": cost, "findings": [finding], "accepted": [], "stale": [], "notes": ["a note"],
        "vulnerabilities": {"checked": [], "not_checked": ["20 Python distributions: nobody answered"], "without_a_fix": 0},
    } | changes  # fmt: skip


def test_the_terminal_says_what_is_wrong_first() -> None:
    assert scan.text(facts()) == (
        "✗ layer app: /app/x_y.py holds a secret (Private Key) on line 3: keep it out of the commit\n"
        "\n"
        "2.0 MB compressed, 6.0 MB unpacked, 30 files; 50 % of the budget of 4.0 MB; files 30 of 50\n"
        "\n"
        "+1.9 MB against last good of staging (release 3, build old)\n"
        "  +2.0 MB: pillow 12.1 new\n"
        "  −0.1 MB: django 5.1 → 5.2\n"
        "\n"
        "layer  compressed  unpacked  files\n"
        "─────  ──────────  ────────  ─────\n"
        "base       2.0 MB    6.0 MB     30\n"
        "total      2.0 MB    6.0 MB     30\n"
        "\n"
        "part                     version  from    compressed  unpacked  files\n"
        "───────────────────────  ───────  ──────  ──────────  ────────  ─────\n"
        "django                   5.2      python      1.5 MB    5.0 MB     20\n"
        "the project's own files                       0.4 MB    0.9 MB      9\n"
        "unattributed                                  0.1 MB    0.1 MB      1\n"
        "\n"
        "a note\n"
        "5 native files find every library and symbol version they need; 1 files open libraries by name, which nothing can prove "
        "(--json lists them)\n"
        "not checked: 20 Python distributions: nobody answered\n"
        "computed: transfer of a pull 0.2 s at 100 Mbit/s, 0.02 s at 1 Gbit/s; storage 0.00 USD a month for 20 kept images at 0.10 USD a "
        "GB (40.0 MB, 2 of them known here, the others taken to share no layer)"
    )


def test_what_belongs_to_nobody_is_never_among_others() -> None:
    owners = [
        {"owner": f"python:p{n}", "version": "1", "compressed": 100 - n, "unpacked": 1, "files": 1} for n in range(20)
    ]
    text = scan.text(facts(owners=[*owners, {"owner": "unattributed", "compressed": 1, "unpacked": 1, "files": 1}]))
    assert re.search(r"^unattributed +0\.0 kB", text, re.MULTILINE)
    assert re.search(r"^8 others +0\.7 kB +0\.0 kB +8$", text, re.MULTILINE)


def test_markdown_shows_text_as_it_is() -> None:
    text = scan.markdown(facts())
    assert text.startswith("### Image: refused\n\n2.0 MB compressed")
    assert "- ❌ layer app: /app/x\\_y.py holds a secret" in text
    assert "**+1.9 MB against last good of staging (release 3, build old)**" in text
    assert "| base | 2.0 MB | 6.0 MB | 30 |" in text
    assert text.count("<details>") == text.count("</details>") == 3
    assert scan.markdown(facts(findings=[])).startswith("### Image: accepted\n")


def test_a_refusal_is_one_sentence() -> None:
    one = {"rule": "shell", "text": "a shell", "do": "leave it out"}
    assert scan.refusal(facts(findings=[one])) == "the scan found a shell: leave it out"
    assert scan.refusal(facts(findings=[one] * 5)) == (
        "the scan found a shell: leave it out; a shell: leave it out; a shell: leave it out; and 2 more, listed above"
    )


def test_several_platforms_and_wasted_bytes() -> None:
    platforms = [{"platform": "linux/amd64", **SIZES}, {"platform": "linux/arm64", **SIZES, "files": 31}]
    finding = {"rule": "shell", "text": "a shell", "do": "leave it out", "platform": "linux/arm64"}
    wasted = {"compressed": 500_000, "files": 2}
    text = scan.text(facts(platforms=platforms, findings=[finding], wasted=wasted, growth=None))
    assert text.startswith("✗ a shell (linux/arm64): leave it out\n\nlinux/amd64: 2.0 MB compressed")
    assert "; linux/arm64: 2.0 MB compressed, 31 files\n" in text
    assert "0.5 MB are wasted on 2 files that a later layer replaces or deletes\n" in text


@pytest.fixture
def shop(tmp_path: Path) -> sarif.Sources:
    """A project with a lock and settings."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web/manage.py").touch()
    (tmp_path / "web/x_y.py").touch()
    settings = ["[tool.lastgood]", 'project = "shop"', 'app = "web"', 'settings = "s"', "[tool.lastgood.image]",
                'packages = ["libpq5"]',
                "[tool.lastgood.image.budget]", 'total = "4 MB"', "[tool.lastgood.image.budget.distributions]",
                'django = "1 MB"']  # fmt: skip
    (tmp_path / "pyproject.toml").write_text("\n".join(settings), encoding="utf-8")
    (tmp_path / "requirements.txt").write_text(
        "asgiref==3\npsycopg-binary[x]==3.3.9 --hash=sha256:0\n", encoding="utf-8"
    )
    return sarif.Sources(tmp_path, tmp_path / "web")


@pytest.mark.parametrize(
    ("finding", "place"),
    [
        ({"rule": "secret", "subject": "app/x_y.py", "path": "app/x_y.py", "line": 3}, ("web/x_y.py", 3)),
        ({"rule": "second-openssl", "subject": "psycopg-binary", "path": "usr/x"}, ("requirements.txt", 2)),
        ({"rule": "vulnerability", "subject": "asgiref CVE-1"}, ("requirements.txt", 1)),
        ({"rule": "vulnerability", "subject": "libc6 CVE-1"}, ("pyproject.toml", 5)),
        ({"rule": "budget", "subject": "total"}, ("pyproject.toml", 8)),
        ({"rule": "budget", "subject": "django"}, ("pyproject.toml", 10)),
        ({"rule": "growth", "subject": "growth"}, ("pyproject.toml", 5)),
        ({"rule": "missing-library", "subject": "libxml2.so.2", "path": "usr/y.so"}, ("pyproject.toml", 6)),
        ({"rule": "user", "subject": "root"}, ("pyproject.toml", 5)),
    ],
)
def test_where_a_finding_is_to_be_mended(shop: sarif.Sources, finding: dict[str, Any], place: tuple[str, int]) -> None:
    assert sarif.place(finding, shop) == place


def test_sarif(shop: sarif.Sources, tmp_path: Path) -> None:
    accepted = {
        "rule": "second-openssl",
        "subject": "psycopg-binary",
        "text": "brings its own OpenSSL",
        "do": "lock psycopg[c]",
    }
    sarif.write(tmp_path / "out.sarif", facts(accepted=[accepted]), shop, RULES)
    data = json.loads((tmp_path / "out.sarif").read_text(encoding="utf-8"))
    run = data["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert (data["version"], [one["id"] for one in rules]) == ("2.1.0", list(RULES))
    first, second = run["results"]
    assert (
        first["message"]["text"]
        == "layer app: /app/x_y.py holds a secret (Private Key) on line 3: keep it out of the commit"
    )
    assert first["locations"] == [{
        "physicalLocation": {"artifactLocation": {"uri": "web/x_y.py", "uriBaseId": "SRCROOT"}, "region": {"startLine": 3}},
        "logicalLocations": [{"fullyQualifiedName": "/app/x_y.py", "kind": "resource"}],
    }]  # fmt: skip
    assert [rules[one["ruleIndex"]]["id"] for one in run["results"]] == [one["ruleId"] for one in run["results"]]
    assert ("suppressions" in first, second["suppressions"][0]["kind"]) == (False, "external")
    assert re.fullmatch("[0-9a-f]{64}", first["partialFingerprints"]["lastgood/v1"])


def node(name: str, size: int, origin: str = "python", children: tuple[treemap.Node, ...] = ()) -> treemap.Node:
    return treemap.Node(name, size, 3 * size, origin, "1.0", children)


def test_the_picture() -> None:
    parts = tuple(node(f"django/<{n}>", 300_000 - n * 10_000) for n in range(5))
    owners = (
        node("django", 1_400_000, children=parts),
        node("a&b", 300_000, "debian"),
        node("unattributed", 1000, "unattributed"),
    )
    layers = (treemap.Node("base", 1_701_000, 5_000_000, children=owners), treemap.Node("empty", 0, 0))
    picture = treemap.draw(layers, facts())
    root = ET.fromstring(picture)  # noqa: S314  our own
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert [child.text for child in root[:2]] == [
        "Image of build abc",
        ("A treemap by compressed size: 2.0 MB compressed, 6.0 MB unpacked, 30 files. Layer base, 1.7 MB: django 1.4 MB, a&b 0.3 MB, "
        "unattributed 1.0 kB. Layer empty, 0.0 kB: ."),
    ]  # fmt: skip
    tips = [title.text for title in root.iter(f"{space}title")]
    assert "django 1.0 in layer base: 1.4 MB compressed, 4.2 MB unpacked" in tips
    assert "django/<4> of django 1.0: 0.3 MB compressed, 0.8 MB unpacked" in tips
    assert "prefers-color-scheme:dark" in picture
    rectangles = [box for box in root.iter(f"{space}rect") if str(box.get("class")).startswith("tile python")]
    assert len(rectangles) == 6
    width, height = (float(value) for value in str(root.get("viewBox")).split()[2:])
    for box in root.iter(f"{space}rect"):
        x, y, dx, dy = (float(box.get(key, "0")) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + dx <= width + 0.1
        assert y + dy <= height + 0.1


def test_areas_are_in_proportion() -> None:
    layers = tuple(node(name, size, "") for name, size in (("a", 3_000_000), ("b", 1_000_000)))
    root = ET.fromstring(treemap.draw(layers, facts()))  # noqa: S314
    boxes = [box for box in root.iter("{http://www.w3.org/2000/svg}rect") if box.get("class") == "layer"]
    first, second = ((float(box.get("width", "0")) + 4) * (float(box.get("height", "0")) + 4) for box in boxes)
    assert first / second == pytest.approx(3, rel=0.01)
