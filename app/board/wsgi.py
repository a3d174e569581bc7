"""The application that gunicorn imports, once, before it forks its workers."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
application = get_wsgi_application()


def _prepare() -> None:
    import logging

    from botocore.exceptions import NoRegionError
    from django.conf import settings

    from board import aws

    try:
        aws.prepare(*settings.AWS_CLIENTS)
    except NoRegionError:
        # A developer's machine; ECS always says the region.
        logging.getLogger(__name__).warning("AWS_REGION is not set: what stacks and parameters say stays unknown.")


_prepare()
