"""What the image weighs, and what must not be in it."""

from __future__ import annotations
