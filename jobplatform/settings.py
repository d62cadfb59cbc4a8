"""Settings of the platform: one file, one table of environment variables.

Every variable that the platform reads is declared here with its meaning and its default; nothing else in
the code reads the environment. `PROFILE` is the one switch between a laptop and production: in
`production` (the default) every secret must be given and DEBUG is off.
"""

import hmac
import os
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from jobplatform import telemetry

BASE_DIR = Path(__file__).resolve().parent.parent


def _text(name: str, default: str = "") -> str:
    return os.environ.get(name, default)


def _names(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in _text(name, default).split(",") if part.strip()]


def _number(name: str, default: int) -> int:
    value = _text(name, str(default))
    if not value.isascii() or not value.isdigit():
        message = f"{name} must be a number, not {value!r}."
        raise ImproperlyConfigured(message)
    return int(value)


def _flag(name: str, *, default: bool = False) -> bool:
    value = _text(name, "1" if default else "0").lower()
    if value not in {"0", "1", "true", "false", "yes", "no"}:
        message = f"{name} must be 0 or 1, not {value!r}."
        raise ImproperlyConfigured(message)
    return value in {"1", "true", "yes"}


# ------------------------------------------------------------------ the table of environment variables
# name                      meaning
PROFILE = _text("JOBPLATFORM_PROFILE", "production")  # production | development | test
SECRET_KEY = _text("SECRET_KEY")  # signs sessions; required in production
API_KEY_PEPPER = _text("API_KEY_PEPPER") or SECRET_KEY  # HMAC key of API keys at rest
AUDIT_KEY = (  # HMAC key of the seals of the audit record, at least 32 characters; as lasting as the records
    _text("AUDIT_KEY") or hmac.new(SECRET_KEY.encode(), b"audit record", "sha256").hexdigest()
)
DEBUG = _flag("DEBUG")
ALLOWED_HOSTS = _names("ALLOWED_HOSTS")  # comma separated host names
CSRF_TRUSTED_ORIGINS = _names("CSRF_TRUSTED_ORIGINS")
DATABASE_URL = _text("DATABASE_URL")  # postgresql://user:password@host:port/name or ?host=/socket/dir
MIGRATION_DATABASE_URL = _text("MIGRATION_DATABASE_URL") or DATABASE_URL  # the same as the owner of its tables
DATABASE_ROLES = _text("DATABASE_ROLES", "jobplatform")  # begins the names of the roles that `setup_roles` makes
BROKER_URL = _text("BROKER_URL")  # redis://, rediss://, redis+socket://, amqp://
STORAGE_URL = _text("STORAGE_URL", f"file://{BASE_DIR}/.data/storage")  # file:///dir or s3://bucket?endpoint_url=
RPC_URLS = _names("RPC_URL")  # comma separated JSON-RPC URLs of the chain, the preferred first; empty: no chain
RPC_URLS_OF = {  # RPC_URL_<chain id>: the same for one chain, where there are several
    int(name.removeprefix("RPC_URL_")): _names(name)
    for name in os.environ
    if name.startswith("RPC_URL_") and name.removeprefix("RPC_URL_").isdecimal()
}
RPC_WS_URL = _text("RPC_WS_URL")  # WebSocket of one of them, which announces new blocks; empty: they are asked for
KEYSTORE_DIR = _text("KEYSTORE_DIR")  # keys of signers, and bounds.json: for the workers of the queue `signing` alone
KEYSTORE_PASSPHRASE = _text("KEYSTORE_PASSPHRASE")  # opens them, unless a file has it:
KEYSTORE_PASSPHRASE_FILE = _text("KEYSTORE_PASSPHRASE_FILE")
LOG_HELD_SECONDS = _number("LOG_HELD_SECONDS", 1800)  # a writing transaction open for longer is ended; 0: never
DEADLETTER_THRESHOLD = _number("DEADLETTER_THRESHOLD", 10)  # dead letters of one kind that raise an alarm ...
DEADLETTER_WINDOW = _number("DEADLETTER_WINDOW", 300)  # ... within so many seconds
EMAIL_URL = _text("EMAIL_URL")  # smtp://user:password@host:port, smtps:// or smtp+tls://; empty: no mail
EMAIL_FROM = _text("EMAIL_FROM", "jobplatform@localhost")  # who the mails of alarms are from
ALARM_MAIL_TO = _names("ALARM_MAIL_TO")  # whom alarms are mailed to, where their rule names nobody
ALARM_TOPICS = _names("ALARM_TOPICS")  # ARNs of the topics of SNS that alarms go to, where their rule names none
ADMIN_URL = _text("ADMIN_URL").rstrip(
    "/"
)  # where people reach the admin, for links in mails: https://jobs.example/admin
WORKER_STALLED_SECONDS = _number("WORKER_STALLED_SECONDS", 60)  # a worker process without progress ends; 0: never
CANARY_SECONDS = _number("CANARY_SECONDS", 60)  # how often a job of the platform's own proves each queue; 0: never
JOBPLATFORM_HANDLERS = _names("JOBPLATFORM_HANDLERS")  # handler modules from outside the repository
WORKER_NAME = _text("JOBPLATFORM_WORKER", "worker")  # how a worker calls itself in the admin
ADMIN_USER = _text("ADMIN_USER")  # the first user of the admin, made by `manage.py provision_demo`
ADMIN_PASSWORD = _text("ADMIN_PASSWORD")
DEMO_API_KEY = _text(
    "DEMO_API_KEY"
)  # the key of the demo project that it printed last, which it keeps while it is good
FLOWER_URL = _text("FLOWER_URL")  # where the admin links to
LIVE_URL = _text("LIVE_URL").rstrip("/")  # where clients reach the process `live`; empty: at the API's own address
LIVE_CLIENTS = _number("LIVE_CLIENTS", 1000)  # streams that one process `live` keeps open at the same time ...
LIVE_CLIENTS_PER_PROJECT = _number("LIVE_CLIENTS_PER_PROJECT", 500)  # ... and how many of them for one project
LIVE_STREAM_SECONDS = _number("LIVE_STREAM_SECONDS", 3600)  # a stream ends after so long; its client comes back
FLOWER_BASIC_AUTH = _text("FLOWER_BASIC_AUTH")  # user:password that Flower asks for; it does not start without
LOG_FORMAT = _text("LOG_FORMAT", "json")  # json | console
OTEL_EXPORTER_OTLP_ENDPOINT = _text("OTEL_EXPORTER_OTLP_ENDPOINT")  # where traces go (OTLP over HTTP); empty: nowhere
METRICS_TOKEN = _text("METRICS_TOKEN")  # bearer token that /metrics asks for; empty: loopback only
HTTPS = _flag("HTTPS", default=PROFILE == "production")  # people come through a proxy that sets X-Forwarded-Proto
VIRTUAL_CLOCK = _flag("VIRTUAL_CLOCK", default=PROFILE == "test")  # may the clock be moved? tests and demo only

if PROFILE not in {"production", "development", "test"}:
    message = f"JOBPLATFORM_PROFILE must be production, development or test, not {PROFILE!r}."
    raise ImproperlyConfigured(message)


def _database(url: str) -> dict[str, object]:
    """Turn a postgresql:// URL into Django's dictionary. Query parameters become libpq options."""
    # Without one, commands that need no database still run; jobplatform/checks.py refuses everything else.
    parts = urlsplit(url or "postgresql:///jobplatform")
    if parts.scheme not in {"postgresql", "postgres"}:
        message = f"DATABASE_URL must start with postgresql://, not {parts.scheme}://."
        raise ImproperlyConfigured(message)
    query = dict(parse_qsl(parts.query))
    options: dict[str, object] = {
        key: value for key, value in query.items() if key not in {"host", "port", "user", "password"}
    }
    # Hot statements are prepared on Django's own connection; Django would otherwise switch that off. Generic plans
    # do not depend on the parameters of the first call. The time-outs end writers that would hold back the log.
    options["prepare_threshold"] = 1
    options["application_name"] = _text("JOBPLATFORM_PROCESS", "jobplatform")
    options["options"] = (
        "-c plan_cache_mode=force_generic_plan -c jit=off"
        " -c idle_in_transaction_session_timeout=60s -c lock_timeout=10s"
    )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/") or "jobplatform",
        "USER": unquote(parts.username or query.get("user", "")),
        "PASSWORD": unquote(parts.password or query.get("password", "")),
        "HOST": unquote(query.get("host", "") or parts.hostname or ""),
        "PORT": str(parts.port or query.get("port", "") or ""),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": False,
        "OPTIONS": options,
        "TEST": {"NAME": f"test_{parts.path.lstrip('/') or 'jobplatform'}"},
    }


# Commands that change the schema run as its owner, everything else as who DATABASE_URL says.
OWNERS_COMMANDS = {"migrate", "setup_database", "setup_roles"}
DATABASES = {"default": _database(MIGRATION_DATABASE_URL if {*sys.argv[1:2]} & OWNERS_COMMANDS else DATABASE_URL)}

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "jobplatform.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "jobplatform",
    "events",
    "jobs",
    "projects",
    "ingestion",
    "confirmations",
    "reconciliation",
]

MIDDLEWARE = [
    "jobplatform.api.middleware.RequestLimits",
    "jobplatform.api.middleware.PastBrowsers",  # programs pass by what follows
    "django.middleware.security.SecurityMiddleware",
    "jobplatform.api.middleware.ContentSecurity",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "jobplatform.urls"
WSGI_APPLICATION = "jobplatform.wsgi.application"
APPEND_SLASH = False  # paths have no trailing slash and never redirect

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SILENCED_SYSTEM_CHECKS = [
    "security.W008",  # plain HTTP is turned away by the proxy, for which we listen on loopback; we never see it
    "security.W021",  # whether a whole domain is preloaded is for its owner to say
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024 * 1024  # each route has its own, smaller limit

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "projects.authentication.ApiKeyAuthentication",
        "projects.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["projects.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": [
        "jobplatform.api.renderers.JSONRenderer",
        "jobplatform.api.browsable.BrowsableRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["jobplatform.api.parsers.StrictJSONParser"],
    "EXCEPTION_HANDLER": "jobplatform.api.refusals.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "ENUM_NAME_OVERRIDES": {
        "BulkActStatus": ["running", "done", "aborted"],
        "BatchStatus": ["running", "ended", "stalled"],
    },
    "TITLE": "jobplatform",
    "DESCRIPTION": "Durable jobs over HTTP: created, processed, confirmed, reconciled, published.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
}

# What the admin links an opaque id of the engine or of the log to: noun -> model.
ADMIN_SUBJECTS = {
    "project": "projects.Project",
    "key": "projects.ApiKey",
    "job": "jobs.Job",
    "worker": "jobs.Worker",
    "shelf": "jobs.Shelf",
    "pause": "jobs.Pause",
    "intervention": "jobs.Intervention",
    "kind": "jobs.KindSettings",
    "schedule": "django_celery_beat.PeriodicTask",
    "message": "ingestion.Message",
    "network": "confirmations.Network",
    "contract": "confirmations.Contract",
    "capture": "confirmations.Contract",  # what is told of its reader has its id
    "signer": "confirmations.Signer",
    "transaction": "confirmations.Transaction",
    "tx": "confirmations.Transaction",  # as events call it
    "confirmation": "confirmations.Confirmation",
    "redrive": "reconciliation.Redrive",
    "alarm": "reconciliation.Alarm",
    "rule": "reconciliation.AlarmRule",
    "silence": "reconciliation.Silence",
}

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# The theme of the admin. Dotted names are functions of jobplatform/admin/ that get the request.
UNFOLD = {
    "SITE_TITLE": "jobplatform",
    "SITE_HEADER": "jobplatform",
    "SITE_SUBHEADER": "Durable jobs",
    "SITE_ICON": "jobplatform.admin.sidebar.mark",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "jobplatform.admin.sidebar.mark"}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "jobplatform.admin.sidebar.environment",
    "DASHBOARD_CALLBACK": "jobplatform.admin.front_page.context",
    "STYLES": ["jobplatform.admin.sidebar.style"],
    "SIDEBAR": {"navigation": "jobplatform.admin.sidebar.navigation"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.0% .014 254.6)",
            "100": "oklch(93.2% .032 255.6)",
            "200": "oklch(88.2% .059 254.1)",
            "300": "oklch(80.9% .105 251.8)",
            "400": "oklch(70.7% .165 254.6)",
            "500": "oklch(62.3% .214 259.8)",
            "600": "oklch(54.6% .215 262.9)",
            "700": "oklch(48.8% .200 264.4)",
            "800": "oklch(42.4% .170 265.6)",
            "900": "oklch(37.9% .146 265.5)",
            "950": "oklch(28.2% .091 267.9)",
        },
    },
}


def _transport_options(url: str) -> dict[str, object]:
    """What kombu is told about the broker. Every wait on it is bounded."""
    if url.startswith("amqp"):
        return {"confirm_publish": True, "connect_timeout": 5}
    # A message is only a doorbell: redelivering one early costs an empty claim, losing one is healed by the relay.
    # A worker that hears nothing for two health checks opens its connection anew: it may be dead, and nobody has told.
    return {
        "visibility_timeout": 3600,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


LOGGING = telemetry.configure(LOG_FORMAT)
if PROFILE != "test":  # a test's errors are its own
    LOGGING["handlers"]["errors"] = {"class": "events.errorlog.ErrorCounter"}
    LOGGING["root"]["handlers"].append("errors")

# Celery carries doorbells, nothing else: see docs/decisions/0003.
CELERY = {
    "broker_url": BROKER_URL,
    "broker_connection_retry_on_startup": True,
    "broker_channel_error_retry": True,  # also for one that refuses: without memory, read-only, still loading
    "broker_connection_max_retries": None,  # a worker waits for its broker as long as it takes
    "broker_transport_options": _transport_options(BROKER_URL),
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,
    "task_default_queue": "default",
    "task_create_missing_queues": True,
    "task_send_sent_event": False,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": True,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "beat_scheduler": "jobs.beat:JobScheduler",
    "timezone": "UTC",
    "enable_utc": True,
}
