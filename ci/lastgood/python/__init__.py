"""Everything that knows what a Python distribution is: the image's Python, pip-compile, wheels, what is compiled, byte-code, imports."""

from __future__ import annotations
