"""The runtime stage of a Dockerfile is read as an engine would read it, and nothing in it may run."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood import bundle
from lastgood.errors import UsageError
from lastgood.image import dockerfile


def read(folder: Path, text: str, **arguments: str) -> dockerfile.Description:
    """Reads a stage with these instructions."""
    file = folder / "Dockerfile"
    file.write_text(f"FROM scratch AS runtime\n{text}\n", encoding="utf-8")
    return dockerfile.read(file, arguments)


def refusal(folder: Path, text: str) -> str:
    """The message without the file's folder."""
    with pytest.raises(UsageError) as caught:
        read(folder, text)
    return str(caught.value).removeprefix(f"{folder}/")


def test_the_bundles_own() -> None:
    found = dockerfile.read(bundle.path("docker/Dockerfile"), {"SETTINGS": "shop.settings"})
    assert found.adds == ("base", "dependencies", "migrator", "static", "application")
    assert found.config == {
        "Env": [
            "PATH=/usr/bin",
            "PYTHONUNBUFFERED=1",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONPATH=/app:/opt/lastgood",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "DJANGO_SETTINGS_MODULE=shop.settings",
            "LASTGOOD_MANIFEST=/opt/lastgood/manifest.json",
        ],
        "WorkingDir": "/app",
        "User": "65532:65532",
        "ExposedPorts": {"8000/tcp": {}},
        "Volumes": {"/tmp": {}},
        "StopSignal": "SIGTERM",
        "Entrypoint": ["/usr/bin/python3.13"],
        "Cmd": ["-m", "gunicorn"],
    }


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("ENV A=1 B='two words' \\\n    C=\"x\"", {"Env": ["A=1", "B=two words", "C=x"]}),
        ("ENV A=1\nENV A=2", {"Env": ["A=2"]}),
        ("ENV A=1\nENV B=${A}:$A:$NOT:${NOT}", {"Env": ["A=1", "B=1:1::"]}),
        ("ARG X=1\nENV A=$X", {"Env": ["A=1"]}),
        ("ARG GIVEN=1\nENV A=${GIVEN}", {"Env": ["A=by us"]}),
        ('LABEL a=1 b="two words"\nLABEL c=3', {"Env": [], "Labels": {"a": "1", "b": "two words", "c": "3"}}),
        ("EXPOSE 80 53/udp\nEXPOSE 443", {"Env": [], "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "443/tcp": {}}}),
        ('VOLUME ["/a b"]\nVOLUME /c /d', {"Env": [], "Volumes": {"/a b": {}, "/c": {}, "/d": {}}}),
        ('ENV A=1\nCMD ["$A"]', {"Env": ["A=1"], "Cmd": ["$A"]}),
        ("# a comment\nUSER 1:2\nWORKDIR /x\nSTOPSIGNAL SIGQUIT", {"Env": [], "User": "1:2", "WorkingDir": "/x", "StopSignal": "SIGQUIT"}),
    ],
)  # fmt: skip
def test_settings(tmp_path: Path, text: str, config: dict[str, object]) -> None:
    arguments = {"GIVEN": "'by us'"}
    assert read(tmp_path, text, **arguments).config == config


def test_layers_in_order(tmp_path: Path) -> None:
    assert read(tmp_path, "ADD b.tar /\nADD a.tar /").adds == ("b", "a")


def test_only_the_runtime_stage_counts(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile.web"
    text = "FROM debian AS one\nRUN x\nFROM scratch as runtime\nUSER 7\nFROM scratch AS three\nRUN y\n"
    file.write_text(text, encoding="utf-8")
    assert dockerfile.read(file, {}).config == {"User": "7", "Env": []}


@pytest.mark.parametrize("name", ["RUN", "COPY", "HEALTHCHECK", "ONBUILD", "SHELL", "MAINTAINER"])
def test_what_would_run_or_fetch(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, f"ADD base.tar /\n\n{name} a b") == (
        f"Dockerfile:4: `{name} a b` has no place in the runtime stage, which is assembled without an engine and knows ADD, ARG, CMD, "
        "ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR; where something has to run, name a Dockerfile of your own in "
        "[tool.lastgood.image]"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ADD base.tar /app", "Dockerfile:2: ADD takes one prepared layer and /, as `ADD base.tar /`, not 'base.tar /app'"),
        (
            "ADD http://x/base.tar.gz /",
            "Dockerfile:2: ADD takes one prepared layer and /, as `ADD base.tar /`, not 'http://x/base.tar.gz /'",
        ),
        (
            "CMD python -m gunicorn",
            'Dockerfile:2: CMD must be a list, as CMD ["a", "b"]: there is no shell in the image to run \'python -m gunicorn\'',
        ),
        (
            "ENTRYPOINT [1]",
            'Dockerfile:2: ENTRYPOINT must be a list, as ENTRYPOINT ["a", "b"]: there is no shell in the image to run \'[1]\'',
        ),
        ("ENV A b", "Dockerfile:2: ENV takes NAME=VALUE, not 'A b'"),
        (
            "ENV A=${B:-c}",
            "Dockerfile:2: 'A=${B:-c}' has more than a name between the braces of a variable, which is not read here",
        ),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


def test_no_such_stage(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM debian AS runtime\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        dockerfile.read(file, {})
    assert str(caught.value) == f"{file} has no stage `FROM scratch AS runtime`: restore it from the bundle"


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        dockerfile.read(tmp_path / "Dockerfile", {})
    assert str(caught.value) == (
        f"{tmp_path}/Dockerfile can't be read (No such file or directory): install lastgood again"
    )
