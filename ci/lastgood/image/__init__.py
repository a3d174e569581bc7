"""The image: base, dependencies, static files and application as deterministic layers, assembled without an engine."""

from __future__ import annotations
