"""What pip says, in one sentence without secrets."""

from __future__ import annotations

import pytest
from lastgood.python import pip_compile
from lastgood.report.text import masked

CLASH = (
    "pip._vendor.resolvelib.resolvers.exceptions.ResolutionImpossible: [RequirementInformation(requirement=SpecifierRequirement("
    "'asgiref<3'), parent=None), RequirementInformation(requirement=SpecifierRequirement('asgiref>=3.8'), parent=LinkCandidate("
    "'https://u:p@files.example.invalid/Django-5.2-py3-none-any.whl (from https://u:p@index.invalid/django/)'))]"
)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "ERROR: No matching distribution found for djnago (from versions: none)\n",
            "requirements.in: djnago does not exist for Python 3.13 at the index: mend its name or version",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement django==99 (from versions: 5.1, 5.2)",
            "requirements.in: no version at the index fits django==99 and Python 3.13: ask for another one",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution found for django\n",
            "the Python index does not answer, so requirements.in could not be compiled: check the network and pip's settings",
        ),
        (
            CLASH,
            "requirements.in: no versions fit: requirements.in asks for asgiref<3, django 5.2 asks for asgiref>=3.8; ask for others",
        ),
        (
            "ERROR: no luck at https://me:hunter2@index.invalid/index\n",
            "requirements.in does not compile: ERROR: no luck at https://***@index.invalid/index; mend it and run `lastgood lock` again",
        ),
        (
            (
                "  fatal: unable to access 'https://me:hunter2@git.invalid/shop.git/': Could not resolve host: git.invalid\n"
                "pip._internal.exceptions.FailedToPrepareCandidate: Failed to build 'shop' when git clone --filter=blob:none --quiet "
                "https://me:hunter2@git.invalid/shop.git /tmp/pip-resolve-x/shop_1\n"
                "error: subprocess-exited-with-error\n× git clone did not run successfully.\n"
            ),
            (
                "requirements.in: git can't fetch https://***@git.invalid/shop.git (unable to access 'https://***@git.invalid/shop.git/': "
                "Could not resolve host: git.invalid): mend its address or your access to it; better name a version that an index has, for "
                "only files have hashes that a lock can keep"
            ),
        ),
        ("", "requirements.in does not compile: it said nothing; mend it and run `lastgood lock` again"),
    ],
)
def test_what_pip_said_in_one_sentence(output: str, message: str) -> None:
    assert pip_compile.explain(output) == message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pass@host/index", "https://***@host/index"),
        ("from https://token@host/a, http://u:p%40q@host:81/b", "from https://***@host/a, http://***@host:81/b"),
        ("git+ssh://git:p@ss@host/repo@v1", "git+ssh://***@v1"),
        ("https://host/path@v1?mail=a@b", "https://host/path@v1?mail=a@b"),
        ("someone@example.invalid", "someone@example.invalid"),
    ],
)
def test_no_password_is_shown(text: str, shown: str) -> None:
    assert masked(text) == shown
