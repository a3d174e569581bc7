"""Where images are pushed to and asked for."""

from __future__ import annotations
