"""Django's settings: the three tiers of `board.config`, and what is the same everywhere."""

from __future__ import annotations

from pathlib import Path

from board import observability
from board.build import RUNNING
from board.config import boot, environments

_boot = boot.read()
_constants = environments.constants(_boot.environment)
globals().update(_constants)

PROJECT = "board"
ENVIRONMENT = _boot.environment
DEBUG = _boot.debug
SECRET_KEY = _boot.secret_key.reveal()

# First of all, so that what goes wrong below is reported.
observability.start(
    _boot.sentry_dsn,
    project=PROJECT,
    environment=ENVIRONMENT,
    build=RUNNING,
    traces_rate=_constants["SENTRY_TRACES_RATE"],
)

BASE_DIR = Path(__file__).resolve().parent.parent
ROOT_URLCONF = "board.urls"
WSGI_APPLICATION = "board.wsgi.application"

INSTALLED_APPS = [
    "releases",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": {**_boot.database, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": _boot.cache}

# The load balancer sets it on every request and is the only one that can reach the service.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False

# Collected while the image is built, beside the application. A developer's server takes them from where they lie.
_hashed = _constants["STATIC_HASHED"] and not DEBUG
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR.parent / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _hashed
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = not _hashed
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},  # the log's keeper adds the time
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": _constants["LOG_LEVEL"]},
    # Django's own handlers would mail the administrators, or print while DEBUG is on; ours prints always.
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "botocore": {"level": "WARNING"},  # at INFO it tells where it found credentials
    },
}
