"""Where this environment runs, as its own stack says."""

from __future__ import annotations

import logging
from functools import cache

from board.config.remote import Manager, StackOutput, Unresolved

logger = logging.getLogger(__name__)


class Deployment(Manager):
    """The environment's own stack, made from service.yml."""

    url = StackOutput("{project}-{environment}", "Url")


def url() -> str:
    """Return the address of the environment's load balancer; empty, and logged once, when the stack does not tell."""
    try:
        return str(Deployment().url)
    except Unresolved as error:
        _log(str(error))
        return ""


@cache
def _log(message: str) -> None:
    logger.warning("The page goes without the environment's address: %s", message)
