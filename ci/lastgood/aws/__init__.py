"""AWS as one environment sees it: Amazon's, or the one-machine cloud's."""

from __future__ import annotations
