"""What a repository says of itself, and the configuration that follows from it."""

from __future__ import annotations
