"""Addresses without the secrets in them, for errors and locks."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#'\"]*@")


def masked(text: str) -> str:
    """`text` with the user and password of every address in it replaced by `***`."""
    return _CREDENTIALS.sub(r"\1***@", text)
