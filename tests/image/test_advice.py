"""What a build refuses or says of settings, requirements and templates, with the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lastgood.errors import Refused
from lastgood.image import advice

BASE = "import os\nDEBUG = os.environ.get('DEBUG')\nDATABASES = {}\nSTATIC_ROOT = BASE_DIR / 'static'\n"
LIVE = "from .base import *\n"


def said(
    folder: Path,
    files: Mapping[str, str],
    said_: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    static: tuple[str, ...] = (),
    packages: tuple[str, ...] = ("django", "gunicorn"),
) -> list[str]:
    whole = {"shop/settings/base.py": BASE, "shop/settings/live.py": LIVE, **files}
    for name, text in whole.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    facts = advice.Facts(folder, whole.keys(), "shop.settings.live", said_ or {}, variables or {}, static, packages)
    return advice.check(facts)


def refused(*arguments: Any, **named: Any) -> str:
    with pytest.raises(Refused) as caught:
        said(*arguments, **named)
    return str(caught.value)


def test_nothing(tmp_path: Path) -> None:
    assert said(tmp_path, {}, {"debug": False, "engine": "django.db.backends.postgresql"}) == []


def test_debug(tmp_path: Path) -> None:
    on = {"debug": True}
    assert said(tmp_path, {}, on) == [
        "shop/settings/base.py:2: DEBUG is on while the image is built; see that it is off where it runs"
    ]
    assert refused(tmp_path, {"shop/settings/live.py": f"{LIVE}if True:\n    DEBUG = True\n"}, on) == (
        "shop/settings/live.py:3: DEBUG is on, which shows every visitor of an error page your settings and code: turn it off, let a "
        "variable decide, or name production's settings in [tool.lastgood]"
    )


def test_sqlite(tmp_path: Path) -> None:
    engine = {"engine": "django.db.backends.sqlite3"}
    assert said(tmp_path, {}, engine) == [
        "shop/settings/base.py:3: the database is SQLite, a file that is lost with each task: let DATABASES read DATABASE_URL"
    ]
    assert refused(tmp_path, {}, engine, {"DATABASE_URL": "postgres://build"}) == (
        "shop/settings/base.py:3: the database is SQLite, though DATABASE_URL is PostgreSQL's: what is written would be lost with each "
        "task; let DATABASES read DATABASE_URL"
    )


def test_no_server(tmp_path: Path) -> None:
    assert refused(tmp_path, {}, packages=("django",)) == (
        "no server is among the requirements (gunicorn, uvicorn, daphne, hypercorn, granian or uwsgi): nothing could answer; add one, or "
        'name it as also = ["gunicorn"] in [tool.lastgood.lock], and run `lastgood lock`'
    )


def test_a_static_root_that_moves(tmp_path: Path) -> None:
    text = f'{LIVE}STATIC_ROOT = os.environ.get("STATIC_ROOT", "/app/static")\n'
    (one,) = said(tmp_path, {"shop/settings/live.py": text})
    assert one == (
        "shop/settings/live.py:2: STATIC_ROOT is read from a variable: with another value at run time the static files in the image "
        "are not found; derive it from BASE_DIR"
    )


PAGE = """\
{% load static %}{# {% static 'in/comment.css' %} #}
{% static "there.css" %} {% static 'gone.css' %}
{% static name %} {% static "x/{{ y }}" %} {% static 'lost.js' as url %}
{% comment "why" %}
{% static "off.js" %}
{% endcomment %}{% static "last.js" %}
"""


def test_static_files_that_nobody_collected(tmp_path: Path) -> None:
    files = {"shop/templates/page.html": PAGE, "shop/other.html": PAGE}
    assert said(tmp_path, files, static=("there.css",)) == [
        "shop/templates/page.html:2 names gone.css, a static file that was not collected",
        "shop/templates/page.html:3 names lost.js, a static file that was not collected",
        "shop/templates/page.html:6 names last.js, a static file that was not collected",
    ]
    assert said(tmp_path, files) == [], "none was collected: they are served from elsewhere"
    many = "".join(f"{{% static 'm{number}' %}}\n" for number in range(7))
    assert said(tmp_path, {"shop/templates/page.html": many}, static=("x",))[5:] == [
        "2 more static files that templates name were not collected"
    ]
