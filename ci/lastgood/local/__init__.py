"""The one-machine cloud, and the machine that it runs on."""

from __future__ import annotations
