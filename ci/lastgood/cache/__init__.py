"""The cache of downloads and prepared layers: entries that are there whole or not at all, and what is removed when."""

from __future__ import annotations
