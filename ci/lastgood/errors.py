"""The ways in which a command can fail. The class carries the exit status; the text says what, where and what to do next."""

from __future__ import annotations


class LastgoodError(Exception):
    """Base of all errors that are shown to a person without a traceback."""

    exit_status = 1


class Refused(LastgoodError):
    """The command was understood, and not begun: nothing was touched."""

    exit_status = 1


class UsageError(LastgoodError):
    """The command line, the configuration or the machine is not as the command needs it."""

    exit_status = 2


class FailedRestored(LastgoodError):
    """The release failed, and last good is back, verified."""

    exit_status = 3


class FailedNotRestored(LastgoodError):
    """The release failed, and last good is not back: a person has to look."""

    exit_status = 4
