"""Production. `manage.py check --deploy --fail-level WARNING` finds nothing here; a test sees to it."""

from __future__ import annotations

ALLOWED_HOSTS = ["board.example.com", ".elb.amazonaws.com"]
CSRF_TRUSTED_ORIGINS = ["https://board.example.com"]
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

STATIC_HASHED = True
LOG_LEVEL = "INFO"
SENTRY_TRACES_RATE = 0.05
AWS_CLIENTS = ["cloudformation"]
