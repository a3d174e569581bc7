"""`lastgood demo`: the whole pipeline on one machine, with what a deploy can do to a project, and whether every expectation held."""

from __future__ import annotations
