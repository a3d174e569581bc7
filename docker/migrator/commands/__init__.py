"""The commands: each gathers the facts, lets `decision` decide, and does or says what was decided.

plan, check, history, manifest   read, print, and return an exit status
move                             `back` and `forward`; preparation.py is what both do before they may decide
arguments                        what the arguments name: this image's manifest, the target, the stepping stones
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping

from ..output import Result
from .check import show_check
from .history import show_history
from .manifest import make_manifest
from .move import back, forward
from .plan import show_plan

READING: Mapping[str, Callable[[Namespace], int]] = {
    "manifest": make_manifest,
    "plan": show_plan,
    "check": show_check,
    "history": show_history,
}
MOVING: Mapping[str, Callable[[Namespace, Result], None]] = {"back": back, "forward": forward}
