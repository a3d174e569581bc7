"""[tool.lastgood]: what a project says of itself, read and checked once."""

from __future__ import annotations
