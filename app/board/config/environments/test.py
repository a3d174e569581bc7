"""The tests: nothing leaves the process, static files are taken from where they lie."""

from __future__ import annotations

ALLOWED_HOSTS = ["testserver"]
CSRF_TRUSTED_ORIGINS = ["http://testserver"]
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False
SECURE_HSTS_PRELOAD = False
SESSION_COOKIE_SECURE = False
CSRF_COOKIE_SECURE = False

STATIC_HASHED = False
LOG_LEVEL = "WARNING"
SENTRY_TRACES_RATE = 0.0
AWS_CLIENTS: list[str] = []
