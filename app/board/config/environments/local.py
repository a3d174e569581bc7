"""The one-machine cloud, and `manage.py runserver`: plain http on loopback, under any name."""

from __future__ import annotations

ALLOWED_HOSTS = ["*"]
CSRF_TRUSTED_ORIGINS = ["http://127.0.0.1:8000", "http://localhost:8000"]
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False
SECURE_HSTS_PRELOAD = False
SESSION_COOKIE_SECURE = False
CSRF_COOKIE_SECURE = False

STATIC_HASHED = True
LOG_LEVEL = "INFO"
SENTRY_TRACES_RATE = 1.0
AWS_CLIENTS = ["cloudformation"]
