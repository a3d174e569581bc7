"""Secrets that must be found, false alarms that must not be raised, and nothing of what was found in any output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lastgood.report import scan as report
from lastgood.scan import measure, secrets

PACKAGES = "usr/local/lib/python3.13/dist-packages"
# Made here, so that no scanner of this repository finds a secret in it.
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
AWS = "AKIA" + "Q3EGRIZQ7K2MNL4P"
BODY = "\n".join("MIIEowIBAAKCAQEAx4v9Zs7Qw2LkT8rYpN1bVd6HfJ0cGmXe5uRiOaKsPqWtBnEy" for _ in range(4))
KEY = "-----BEGIN RSA PRIVATE " + f"KEY-----\n{BODY}\n-----END RSA PRIVATE " + "KEY-----\n"
WORD = "w9#kd8s!mXp2vQz7Lr4Tn6Yb"


def kinds(path: str, text: str) -> list[tuple[str, int]]:
    """(kind, line) of what is found in one file, as a scan does it."""
    content = text.encode()
    found = secrets.search({path: content}) if secrets.suspicious(path, content) else {}
    return [tuple(hit) for hit in found.get(path, ())]


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("app/shop/settings.py", f'DEBUG = False\nSECRET_KEY = "{WORD}"\n', [("Secret Keyword", 2)]),
        (
            "app/shop/settings.py",
            'DB = "postgresql://shop:w9ks8dXmx1@db.shop.io/shop"\n',
            [("Basic Auth Credentials", 1)],
        ),
        ("app/.env", "DEBUG=1\n", [("Environment file", 0)]),
        ("app/.env.production", f"API_TOKEN={TOKEN}\n", [("Environment file", 0), ("GitHub Token", 1)]),
        ("app/shop/tests/id.pem", KEY, [("Private Key", 1)]),
        ("app/shop/tests/data.py", f'T = "{TOKEN}"\n', [("GitHub Token", 1)]),
        ("app/demo/settings.py", f'SECRET_KEY = "{WORD}"\n', [("Secret Keyword", 1)]),
        ("app/pyproject.toml", f'[tool.lastgood]\n[tool.shop]\nsecret_key = "{WORD}"\n', [("Secret Keyword", 3)]),
        ("app/deploy/id.pem", KEY, [("Private Key", 1)]),
        ("app/shop/keys.py", f'key = """{KEY}"""\n', [("Private Key", 1)]),
        ("app/shop/aws.py", f'client(access="{AWS}")\n', [("AWS Access Key", 1)]),
        (f"{PACKAGES}/inhouse/config.py", f'token = "{TOKEN}"\n', [("GitHub Token", 1)]),
        (f"{PACKAGES}/inhouse/key.pem", KEY, [("Private Key", 1)]),
        ("etc/ssl/private/key.pem", KEY, [("Private Key", 1)]),
    ],
)
def test_found(path: str, text: str, found: list[tuple[str, int]]) -> None:
    assert kinds(path, text) == found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/shop/settings.py", 'SECRET_KEY = os.environ["SECRET_KEY"]\nTOKEN_URL = "/token/"\n'),
        ("app/shop/settings.py", 'SECRET_KEY = "django-insecure-9f#k2"\nPASSWORD = "only-while-the-image-is-built"\n'),
        ("app/shop/settings.py", f'SECRET_KEY = "{WORD}"  # pragma: allowlist secret\n'),
        ("app/shop/boot.py", 'raise ValueError("is not postgresql://user:password@host:port/name")\n'),
        ("app/.env.example", "SECRET_KEY=\n"),
        ("app/shop/reader.py", 'if line.startswith("-----BEGIN PRIVATE ' + 'KEY-----"):\n    pass\n'),
        ("app/requirements.txt", "django==5.2.20 --hash=sha256:" + "0123456789abcdef" * 4 + "\n"),
        ("app/shop/migrations/0001_initial.py", 'name="unique_session_and_user_for_each_team"\n'),
        (f"{PACKAGES}/tornado/test/test.key", KEY),
        (f"{PACKAGES}/jwt/examples/key.py", KEY),
        (f"{PACKAGES}/botocore/auth.py", 'password = "hunter2hunter2"\n'),
        (f"{PACKAGES}/PIL/font.py", f'f = "{"A1b2" * 9}{AWS}{"c3D4" * 9}"\n'),
        (f"{PACKAGES}/crypto/pem.py", '_START = b"-----BEGIN OPENSSH PRIVATE ' + 'KEY-----"\n'),
        ("app/shop/tests/test_login.py", f'PASSWORD = "{WORD}"\n'),
        ("app/shop/test_login.py", f'PASSWORD = "{WORD}"\n'),
        ("app/assets/main.4f2a9c81.js", f'var password = "{WORD}";\n'),
        ("app/staticfiles/admin/app.js", f'var password = "{WORD}";\n'),
        ("app/pyproject.toml", f'[tool.lastgood.image.environment]\nSECRET_KEY = "{WORD}"\n'),
        ("static/admin/app.js", f'var a = "{WORD}"; password = "{WORD}"\n'),
    ],
)  # fmt: skip
def test_no_false_alarm(path: str, text: str) -> None:
    assert kinds(path, text) == []


def test_the_shortest_private_key() -> None:
    """Ed25519 in PKCS 8: one line of 64 characters."""
    key = "-----BEGIN PRIVATE " + f"KEY-----\n{BODY[:64]}\n-----END PRIVATE " + "KEY-----\n"
    assert kinds("app/id", key) == [("Private Key", 1)]


def test_what_was_found_is_nowhere_to_be_read(plant: Any) -> None:
    config = {"User": "65532", "Env": ["PATH=/usr/bin", f"DJANGO_SECRET_KEY={WORD}"], "Labels": {"token": TOKEN}}
    app = {
        "app/shop/settings.py": f'SECRET_KEY = "{WORD}"\nTOKEN = "{TOKEN}"\n'.encode(),
        "app/.env": f"A={TOKEN}\n".encode(),
    }
    image = plant(
        app=app, top={"app/.wh..env": b""}, config=config, history=("ADD app.tar /", f"RUN curl -H {TOKEN} x")
    )
    facts = measure.scan(image, 10**6)
    assert sorted((one["subject"], one.get("line", 0)) for one in facts["findings"]) == [
        ("Env DJANGO_SECRET_KEY", 0), ("app/.env", 1), ("app/shop/settings.py", 1), ("history line 2", 0), ("label token", 0),
    ]  # fmt: skip
    assert (
        facts["findings"][0]["text"]
        == ("layer app: /app/shop/settings.py holds a secret (GitHub Token and Secret Keyword) on lines 1, 2")
        or facts["findings"][0]["subject"] == "app/.env"
    )
    everything = json.dumps(facts) + report.text(facts) + report.markdown(facts) + report.refusal(facts)
    kept = b"".join(file.read_bytes() for file in image.folder.glob("*.json") if file.name != "config.json").decode()
    for secret in (WORD, TOKEN, TOKEN[8:20]):
        assert secret not in everything
        assert secret not in kept


def test_a_settings_line_without_secrets(plant: Any) -> None:
    config = {
        "User": "65532",
        "Env": ["SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "DJANGO_SETTINGS_MODULE=shop.settings"],
    }
    assert measure.scan(plant(app={"app/a": b"1"}, config=config, history=("ADD base.tar /",)), 10**6)["findings"] == []
