"""What an account lacks before it can take a release: asked with calls that only read, decided without any, in the order of mending."""

from __future__ import annotations
