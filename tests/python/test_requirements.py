"""What an input of the lock may say, each refusal word by word, and what a line means."""

# ruff: noqa: E501  the sentences stand as people read them

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lastgood.errors import UsageError
from lastgood.python import requirements

PUBLISH = (
    "put its package into the application's folder, so that it is part of the commit, or publish it to an index that pip's settings name "
    "and write "
)
READ = (
    "which no build would ask: remove the line, and name it in pip's settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or pip.conf), which lock, "
    "check and build read alike"
)
OBEY = (
    ", which lock and build could not both obey: remove it (what may stand there: requirements, -r, -c, --no-binary NAME, --only-binary, "
    "--pre, --prefer-binary)"
)

INDEX = "index-url"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("./libs/pricing", f"asks for ./libs/pricing, a folder of this machine, which no hash in a lock could name: {PUBLISH}pricing-of-shop==1.0"),
        ("libs/pricing[fast]", f"asks for libs/pricing[fast], a folder of this machine, which no hash in a lock could name: {PUBLISH}pricing-of-shop==1.0"),
        ("-e ./libs/pricing", f"asks for ./libs/pricing, a folder of this machine, which no hash in a lock could name: {PUBLISH}pricing-of-shop==1.0"),
        ("--editable=libs/pricing", f"asks for libs/pricing, a folder of this machine, which no hash in a lock could name: {PUBLISH}pricing-of-shop==1.0"),
        ("shop @ ./libs/gone", f"asks for ./libs/gone, a path of this machine, which no hash in a lock could name: {PUBLISH}shop==VERSION"),
        ("shop-1.0-py3-none-any.whl", f"asks for shop-1.0-py3-none-any.whl, a path of this machine, which no hash in a lock could name: {PUBLISH}NAME==VERSION"),
        ("file:///srv/x.tar.gz", f"asks for file:///srv/x.tar.gz, a path of this machine, which no hash in a lock could name: {PUBLISH}NAME==VERSION"),
        ("shop-kit @ git+https://h.invalid/kit@v1", "asks for shop-kit by a repository (git+https://h.invalid/kit@v1), of which no hash tells what it holds: publish it to an index that pip's settings name and write shop-kit==VERSION, or name a wheel, as shop-kit @ https://…/shop_kit-VERSION-py3-none-any.whl"),
        ("-e git+https://h.invalid/kit#egg=kit", "asks for kit by a repository (git+https://h.invalid/kit#egg=kit), of which no hash tells what it holds: publish it to an index that pip's settings name and write kit==VERSION, or name a wheel, as kit @ https://…/kit-VERSION-py3-none-any.whl"),
        ("kit @ https://u:p@h.invalid/kit-1-py3-none-any.whl", "asks for kit @ https://***@h.invalid/kit-1-py3-none-any.whl by an address that holds a user or password, which would stand in the lock: leave them out (pip reads them from netrc or its keyring)"),
        ("https://h.invalid/kit-1-py3-none-any.whl", "is an address without a name (https://h.invalid/kit-1-py3-none-any.whl): write kit @ https://h.invalid/kit-1-py3-none-any.whl"),
        ("kit @ https://h.invalid/kit-1.tar.gz", "names kit by the address of a source (https://h.invalid/kit-1.tar.gz), whose code would run while it is fetched: name a wheel, or a version that an index has"),
        (f"--extra-{INDEX} https://u:p@h.invalid/packages", f"names where packages come from (--extra-{INDEX} https://***@h.invalid/packages), {READ}"),
        ("-i https://h.invalid/packages", f"names where packages come from (-i https://h.invalid/packages), {READ}"),
        ("--index-url=https://h.invalid/packages", f"names where packages come from (--index-url=https://h.invalid/packages), {READ}"),
        ("-f wheels", f"names where packages come from (-f wheels), {READ}"),
        ("--no-index", f"names where packages come from (--no-index), {READ}"),
        ("--pre --trusted-host h.invalid", f"names where packages come from (--pre --trusted-host h.invalid), {READ}"),
        ("--extra-index https://h.invalid", f"says --extra-index{OBEY}"),
        ("--require-hashes", f"says --require-hashes{OBEY}"),
        ("-r", f"says -r{OBEY}"),
        ("--no-binary :all:", "says --no-binary :all:: name the distributions that are to be compiled, as --no-binary lxml,pillow"),
        ("lxml --config-settings=a=b", "gives lxml the option --config-settings=a=b, which no build would obey: remove it"),
        ("lxml -C a=b", "gives lxml the option -C, which no build would obey: remove it"),
        ("kit==${VERSION}", "holds ${VERSION}, by which one input would be locked in two ways: write out what it stands for, or, where it is a password, leave it to pip's settings (PIP_INDEX_URL, netrc)"),
        ("django>=5 5", "is no requirement ('django>=5 5': Expected comma (within version specifier), semicolon (after version specifier) or end): mend the line"),
    ],
)  # fmt: skip
def test_what_may_not_stand_there(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "libs/pricing").mkdir(parents=True)
    table = '[project]\nname = "pricing-of-shop"\nversion = "1.0"\n'
    (tmp_path / "libs/pricing/pyproject.toml").write_text(table, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        requirements.lines("requirements.in", f"django\n\n{line}\n", tmp_path)
    assert str(caught.value) == f"requirements.in:3 {said}"


def test_what_may() -> None:
    text = (
        "django[argon2] ~= 5.2 ; python_version >= '3.12'  # the framework\n-r more.in\n-cless.txt\n--no-binary lxml,Pillow_SIMD --pre\n"
        "kit @ https://h.invalid/kit-1-py3-none-any.whl#sha256=0\n--prefer-binary\n--only-binary :all: --no-binary=lxml\n"
    )
    found = requirements.lines("requirements.in", text)
    assert [str(line.requirement or line.options) for line in found] == [
        'django[argon2]~=5.2; python_version >= "3.12"',
        "(('--requirement', 'more.in'),)",
        "(('--constraint', 'less.txt'),)",
        "(('--no-binary', 'lxml,Pillow_SIMD'), ('--pre', ''))",
        "kit @ https://h.invalid/kit-1-py3-none-any.whl#sha256=0",
        "(('--prefer-binary', ''),)",
        "(('--only-binary', ':all:'), ('--no-binary', 'lxml'))",
    ]
    assert requirements.from_source(found[:4]) == {"lxml", "pillow-simd"}
    assert requirements.from_source(found) == {"lxml"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("django>=5", "names django without its one version"),
        ("django==5.*", "names django without its one version"),
        ("django", "names django without its one version"),
        ("-r other.txt", "says --requirement"),
        ("kit @ git+https://h.invalid/kit", "asks for kit by a repository (git+https://h.invalid/kit), of which no hash tells what it holds"),
    ],
)  # fmt: skip
def test_what_no_lock_holds(line: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        requirements.locked("requirements.txt", f"# a head\n{line}\n")
    assert str(caught.value) == (
        f"requirements.txt:2 {what}, which no lock holds: mend requirements.in where it comes from there, and run `lastgood lock`"
    )


LINES = st.lists(
    st.sampled_from(["django", "a==1 ; b", "-r x.in", "# c", "", "\tx  # y", "a \\", "#\\", " \\", "b#c"]), max_size=8
)


@settings(deadline=None)
@given(LINES)
def test_lines_are_joined_as_pip_does(lines: list[str]) -> None:
    from pip._internal.req.req_file import preprocess

    body = "\n".join(lines)
    ours = [(number, " ".join(text.split())) for number, text in requirements._joined(body)]
    assert ours == [(number, " ".join(text.split())) for number, text in preprocess(body) if text.strip()]
    assert requirements.meaning(body) == "\n".join(text for _, text in ours)
