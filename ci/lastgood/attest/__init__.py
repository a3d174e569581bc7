"""Who has signed for an image, and what they said of it."""

from __future__ import annotations
