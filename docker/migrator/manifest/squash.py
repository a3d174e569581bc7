"""What squashed migrations stand for. Keys are whatever names a migration: "app.name", or Django's pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def expanded(key: Any, replaces: Mapping[Any, Iterable[Any]]) -> frozenset[Any]:
    """Return what `key` stands for in the end: what it replaces, and what that replaces in turn; itself if it replaces nothing."""
    found: set[Any] = set()
    waiting, seen = [key], set()
    while waiting:
        one = waiting.pop()
        if one in seen:  # a circle: Django refuses it, and we must not turn for ever
            continue
        seen.add(one)
        inside = tuple(replaces.get(one, ()))
        waiting.extend(inside)
        if not inside:
            found.add(one)
    return frozenset(found or {key})


def set_aside(files: Iterable[Any], replaces: Mapping[Any, Iterable[Any]]) -> frozenset[Any]:
    """Return which of `files` are no atoms.

    A squashed migration is none where the files of all it replaces are there. Where one is missing it is the atom, and what is left of
    those files is none.
    """
    there = frozenset(files)
    aside: set[Any] = set()
    for key in there:
        inside = tuple(replaces.get(key, ()))
        if inside and there.issuperset(inside):
            aside.add(key)
        elif inside:
            aside |= below(key, replaces) & there
    return frozenset(aside)


def below(key: Any, replaces: Mapping[Any, Iterable[Any]]) -> set[Any]:
    """Return all that `key` replaces, directly or through what it replaces."""
    found: set[Any] = set()
    waiting = list(replaces.get(key, ()))
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(replaces.get(one, ()))
    return found - {key}
