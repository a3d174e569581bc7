"""Texts from outside made fit to be shown: addresses without their secrets, names in no encoding."""

from __future__ import annotations

import os
import re

_CREDENTIALS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#'\"]*@")


def masked(text: str) -> str:
    """`text` with the user and password of every address in it replaced by `***`."""
    return _CREDENTIALS.sub(r"\1***@", text)


def readable(name: str) -> str:
    """A file name in no encoding, its odd bytes shown as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
