"""Several platforms' locks in one file, and each taken out again."""

from __future__ import annotations

from lastgood.platform import AMD64, ARM64
from lastgood.python import merge

BOTH = """\
django==5.2.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   -r requirements.in
    #   django-tasks
"""
AMD = """\
greenlet==3.1 \\
    --hash=sha256:cc
    # via sqlalchemy
numpy==2.1 ; python_version >= "3.12" \\
    --hash=sha256:dd
    # via -r requirements.in
"""
ARM = """\
numpy==2.0 ; python_version >= "3.12" \\
    --hash=sha256:ee
    # via -r requirements.in
"""
MERGED = """\
django==5.2.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   -r requirements.in
    #   django-tasks
greenlet==3.1 ; platform_machine == "x86_64" \\
    --hash=sha256:cc
    # via sqlalchemy
numpy==2.1 ; (python_version >= "3.12") and platform_machine == "x86_64" \\
    --hash=sha256:dd
    # via -r requirements.in
numpy==2.0 ; (python_version >= "3.12") and platform_machine == "aarch64" \\
    --hash=sha256:ee
    # via -r requirements.in
"""


def test_what_differs_has_a_marker() -> None:
    assert merge.merged({"linux/amd64": BOTH + AMD, "linux/arm64": BOTH + ARM}) == MERGED


def test_one_platform_is_left_as_it_is() -> None:
    assert merge.merged({"linux/arm64": "# any\n" + ARM}) == "# any\n" + ARM


def test_each_platform_comes_out_as_it_went_in() -> None:
    assert merge.written(merge.of_platform(MERGED, AMD64)) == BOTH + AMD
    assert merge.written(merge.of_platform(MERGED, ARM64)) == BOTH + ARM


def test_for_pip_without_markers() -> None:
    assert merge.for_platform(MERGED, ARM64) == BOTH + ARM.replace(' ; python_version >= "3.12"', "")


def test_a_marker_that_says_the_machine_already_is_not_doubled() -> None:
    text = 'colorama==0.4 ; platform_machine == "aarch64" \\\n    --hash=sha256:aa\n    # via -r requirements.in\n'
    assert merge.merged({"linux/amd64": "", "linux/arm64": text}) == text


def test_the_same_requirement_asked_for_by_others() -> None:
    """Who asks may differ by platform; it is said together, and the entry stands once."""
    one = "six==1.0 \\\n    --hash=sha256:aa\n    # via alpha\n"
    other = "six==1.0 \\\n    --hash=sha256:aa\n    # via beta\n"
    assert merge.merged({"linux/amd64": one, "linux/arm64": other}) == (
        "six==1.0 \\\n    --hash=sha256:aa\n    # via\n    #   alpha\n    #   beta\n"
    )


def test_an_address_is_an_entry_too() -> None:
    text = "shared @ https://files.example.invalid/shared-1.0-py3-none-any.whl \\\n    --hash=sha256:aa\n    # via -r requirements.in\n"
    (entry,) = merge.entries(text)
    assert (entry.name, entry.text) == ("shared", text)
