"""Several modules become one that does the same, or are refused with the line that would not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lastgood.deploy import inline

MODULES = {
    "__init__": '"""Says hello.\n\nTwice.\n"""\n',
    "handler": '''"""The handler."""

from __future__ import annotations

import boto3

from .words import LIMIT, word


def handler(event: dict[str, str]) -> list[str]:
    """Says it."""
    return [word(event["name"]), str(boto3)][:LIMIT]
''',
    "words": '''"""What is said."""

from __future__ import annotations

import json
from typing import Any

LIMIT: int = 1


def word(name: Any) -> str:
    kept: Any
    if name:
        return json.dumps(name)  # as JSON
''',
}
JOINED = """# ci/cloudformation/migration_resource, joined by `python -m lastgood.deploy.inline`: there it is explained.
import json
from typing import Any
import boto3
# --- words.py ---
LIMIT = 1
def word(name):
 if name:
  return json.dumps(name)
# --- handler.py ---
def handler(event):
 return [word(event['name']), str(boto3)][:LIMIT]
"""


def test_modules_are_joined_in_the_order_of_their_use() -> None:
    assert inline.joined(MODULES) == JOINED
    assert inline.joined(dict(sorted(MODULES.items(), reverse=True))) == JOINED


@pytest.mark.parametrize(
    ("module", "line", "message"),
    [
        ("handler", "LIMIT = 2", "LIMIT is of handler.py and of words.py: give one of them another name"),
        ("handler", "from . import words", "handler.py:{}: write `from .module import name` at the top"),
        ("handler", "from .words import word as say", "handler.py:{}: write `from .module import name` at the top"),
        ("handler", "from .words import json", "handler.py:{}: write `from .module import name` at the top"),
        ("handler", "from .nowhere import word", "handler.py:{}: write `from .module import name` at the top"),
        ("words", "def lazy():\n    from .handler import handler", "words.py:{}: write `from .module import name`"),
        ("words", "print(LIMIT)", "words.py:{}: only imports, constants, functions and classes stand at the top"),
        ("words", "from .handler import handler", "nodes are in a cycle"),
    ],
)
def test_what_would_not_be_the_same_in_one_module(module: str, line: str, message: str) -> None:
    text = MODULES[module] + line + "\n"
    with pytest.raises(ValueError, match=re.escape(message.format(len(text.splitlines())))):
        inline.joined(MODULES | {module: text})


def test_the_function_has_every_name_that_it_uses() -> None:
    """One that is not there, or is there twice, would only show when it is called."""
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "-q", "--isolated", "--select", "F", "--target-version", "py313", "-"],
        input=inline.source(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_what_is_put_in_can_be_taken_out() -> None:
    template = "Code:\n ZipFile: |\n  pass\n\n  more\nNext: 1\n"
    put = inline.render(template, "def one():\n return 1\n")
    assert put == "Code:\n ZipFile: |\n  def one():\n   return 1\n\nNext: 1\n"
    assert inline.embedded(put) == "def one():\n return 1\n"
    assert inline.embedded("Code: {}\n") == ""
