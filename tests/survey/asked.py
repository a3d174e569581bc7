"""Runs inside the image's file system by its own Python: loads every entry point; JSON on standard output."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys

out = os.dup(1)
os.dup2(2, 1)

from django.conf import settings  # noqa: E402

settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DATABASES={"default": {"ENGINE": "django.db.backends.dummy"}},
)
import django  # noqa: E402

django.setup()

answers: dict[str, str] = {}
for distribution in importlib.metadata.distributions(path=[os.environ["PYTHONPATH"]]):
    for point in distribution.entry_points:
        key = f"{distribution.metadata['Name']}: {point.group}: {point.name}"
        if os.fork() == 0:
            try:
                point.load()
                text = ""
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(out, (json.dumps([key, text]) + "\n").encode())
            os._exit(0)
        os.wait()
sys.exit(0)
