"""What all tests need."""

from __future__ import annotations

import signal

# A shell that starts us in the background has us ignore Ctrl-C, and every program that we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
