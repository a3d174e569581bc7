"""Staging: production's rules, under its own name, and a promise of https that ends within the hour."""

from __future__ import annotations

ALLOWED_HOSTS = ["staging.board.example.com", ".elb.amazonaws.com"]
CSRF_TRUSTED_ORIGINS = ["https://staging.board.example.com"]
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = False
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

STATIC_HASHED = True
LOG_LEVEL = "INFO"
SENTRY_TRACES_RATE = 1.0
AWS_CLIENTS = ["cloudformation"]
