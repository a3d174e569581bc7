"""What an instance is called, and where it is."""

from __future__ import annotations

from pathlib import Path

from lastgood.config.project import Environment, ImageSettings, LocalSettings, Project
from lastgood.local.instance import Instance


def instance(root: Path) -> Instance:
    root.mkdir()
    environments = {"local": Environment("local", "board-local")}
    return Instance.of(
        Project(
            root,
            "board",
            root,
            "b.s",
            ImageSettings(),
            local=LocalSettings(4600, 8600, 54600),
            environments=environments,
        )
    )


def test_two_folders_have_two_instances(tmp_path: Path) -> None:
    first, second = instance(tmp_path / "one"), instance(tmp_path / "two")
    assert first.name.startswith("board-")
    assert len(first.name) == len("board-") + 8
    assert first.name != second.name
    assert first == Instance(first.name, "board", "board-local", first.root, first.root / ".lastgood", first.ports)


def test_where_it_is(tmp_path: Path) -> None:
    one = instance(tmp_path / "one")
    assert one.folder == tmp_path / "one/.lastgood/local"
    assert one.prefix == f"lastgood-{one.name}"
    assert (one.endpoint, one.registry, one.site) == (
        "http://127.0.0.1:4600", "localhost:4600", "http://127.0.0.1:8600",
    )  # fmt: skip
