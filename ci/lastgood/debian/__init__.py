"""Everything that knows what a Debian package is: mirrors, signed indices, the lock of exact packages, fetching, unpacking."""

from __future__ import annotations
