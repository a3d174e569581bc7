"""The waterfall: what each step of trimming saves, as rows and as a table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lastgood.image import explain


def test_rows_say_what_each_step_saved_within_its_part(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(3):
        (tree / f"{number}.txt").write_bytes(bytes(range(256)) * 40)
    (tree / "link").symlink_to("0.txt")
    with ThreadPoolExecutor(1) as pool:
        rows = explain._Rows(tmp_path, pool)
        rows.add("base", "as it is", tree)
        (tree / "1.txt").unlink()
        rows.add("base", "less", tree)
        rows.add("dependencies", "as they are", tree)
        found = rows.finished()
    assert [(row["files"], row["bytes"]) for row in found] == [(4, 30720), (3, 20480), (3, 20480)]
    assert [row["saved"] for row in found] == [None, found[0]["compressed"] - found[1]["compressed"], None]
    assert found[1]["saved"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_the_table() -> None:
    rows = [
        {"part": "base", "step": "as it is", "files": 10, "bytes": 9_000_000, "compressed": 4_000_000, "saved": None},
        {
            "part": "base",
            "step": "byte-code",
            "files": 12,
            "bytes": 9_500_000,
            "compressed": 4_200_000,
            "saved": -200_000,
        },
        {
            "part": "dependencies",
            "step": "sources",
            "files": 5,
            "bytes": 1_000_000,
            "compressed": 50_000,
            "saved": 1_500,
        },
    ]
    assert explain.render(rows, ["languages: all stay"]) == (
        "part          step       files    size     gzip    saved\n"
        "────────────  ─────────  ─────  ──────  ───────  ───────\n"
        "base          as it is      10  9.0 MB   4.0 MB\n"
        "              byte-code     12  9.5 MB   4.2 MB  +0.2 MB\n"
        "dependencies  sources        5  1.0 MB  50.0 kB   1.5 kB\n"
        "languages: all stay"
    )
