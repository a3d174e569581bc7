"""Libraries that are loaded by name while a program runs: no header names them, so they are listed, not checked."""

from __future__ import annotations

import re

_CTYPES = re.compile(
    rb"""\b(?:(?:CDLL|PyDLL|LoadLibrary|dlopen)\(\s*|find_library\(\s*)["']([A-Za-z0-9_./+-]{2,80})["']"""
)
_LIBRARY = re.compile(rb"lib[A-Za-z0-9_+-]+\.so(?:\.[0-9]+)*\0")
_HINTS = (b"DLL(", b"find_library(", b"LoadLibrary(", b"dlopen(")


def named(path: str, content: bytes) -> tuple[str, ...]:
    """The names of libraries that a Python source hands to ctypes, sorted; without quotes there is no telling."""
    if not path.endswith(".py") or not any(hint in content for hint in _HINTS):
        return ()
    return tuple(sorted({name.decode() for name in _CTYPES.findall(content)}))


def strings(content: bytes) -> tuple[str, ...]:
    """The names of shared libraries that stand as whole strings in a binary file, sorted."""
    found = (one for one in _LIBRARY.finditer(content) if content[one.start() - 1 : one.start()] == b"\0")
    return tuple(sorted({one.group()[:-1].decode() for one in found}))
