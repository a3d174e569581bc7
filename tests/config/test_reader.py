"""What a table of tomorrow can be made of: one class, one line a key, and the reader knows the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from lastgood.config.kinds import Count, Name
from lastgood.config.reader import Reader
from lastgood.config.tables import GIVEN, Table
from lastgood.errors import UsageError
from msgspec import Meta, field


class Job(Table, frozen=True):
    """A table by name, with keys of every type."""

    name: Annotated[str, GIVEN]
    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    daily: bool = False
    share: float = 0.5
    memory: Annotated[Count, Meta(extra={"variable": "JOB_MEMORY"})] = 512
    levels: tuple[int, ...] = ()


class House(Table, frozen=True):
    """A table that holds others."""

    jobs: Mapping[Name, Job] = field(default_factory=dict)
    first: Annotated[str, Meta(extra={"default": "none"})] = ""


def read(data: Any, text: str = "") -> House:
    return Reader(Path("house.toml"), text).read(House, "house", data)


def test_a_table_of_tables() -> None:
    found = read({"jobs": {"clean": {"command": ["manage.py", "clean"], "daily": True, "share": 1}}})
    job = Job("clean", ("manage.py", "clean"), daily=True, share=1.0)
    assert found == House(jobs={"clean": job}, first="none")
    assert hash(found.jobs["clean"]) == hash(job)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({}, "has no 'command': add it (docs/configuration.md)"),
        ({"command": []}, "command: is empty"),
        ({"command": "clean"}, "command: must be a list, not 'clean'"),
        ({"command": ["x"], "daily": 1}, "daily: must be true or false, not 1"),
        ({"command": ["x"], "share": "all"}, "share: must be a number, not 'all'"),
        ({"command": ["x"], "memory": 0}, "memory: 0 leaves no room for any image"),
        ({"command": ["x"], "memory": 1.5}, "memory: must be a whole number, not 1.5"),
        ({"command": ["x"], "levels": ["a"]}, "levels: must hold whole numbers, not 'a'"),
        ({"command": ["x"], "name": "y"}, "name: there is no such key; it takes command, daily, share, memory, levels"),
    ],
)
def test_what_is_wrong_with_one(job: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read({"jobs": {"clean": job}})
    assert str(caught.value) == f"house.toml: [house.jobs.clean] {message}"


def test_the_order_is_the_files() -> None:
    text = "[house.jobs.clean]\ndaily = 3\ncommand = 4\n[house.jobs.A]\ncommand = ['x']\n"
    with pytest.raises(UsageError) as caught:
        read({"jobs": {"A": {"command": ["x"]}, "clean": {"command": 4, "daily": 3}}}, text)
    assert str(caught.value).splitlines() == [
        "house.toml:2: [house.jobs.clean] daily: must be true or false, not 3",
        "house.toml:3: [house.jobs.clean] command: must be a list, not 4",
        "house.toml:4: [house.jobs] A: 'A' must be 2 to 40 lower-case letters, digits and single hyphens",
    ]


def test_a_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_MEMORY", "1024")
    assert read({"jobs": {"clean": {"command": ["x"], "memory": 3}}}).jobs["clean"].memory == 1024
