"""One model of what happened, many faces: terminal, JSON, HTML."""

from __future__ import annotations
