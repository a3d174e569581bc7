"""What the image is made of, frozen: the Python lock (pip-compile) and the Debian lock."""

from __future__ import annotations
