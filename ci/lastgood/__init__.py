"""Ships Django to AWS ECS in a way that always goes both ways: containers and schema."""

from __future__ import annotations

__version__ = "0.1.0"
