"""Releases to an environment: forward, back, and what is there."""

from __future__ import annotations
