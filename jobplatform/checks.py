"""What `manage.py check` and the start of every process refuse, in one sentence each."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
import redis
import structlog
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django_celery_beat.models import PeriodicTask

from jobs import registry, schedule

logger = structlog.get_logger(__name__)

SHORTEST_SECRET = 32
REDIS_SCHEMES = {"redis", "rediss", "redis+socket"}
_POWERS = """
select r.rolsuper or r.rolbypassrls or exists (
    select 1 from pg_class c
    where c.oid = to_regclass('events_event') and pg_has_role(r.oid, c.relowner, 'member'))
from pg_roles r where r.rolname = current_user
"""


@register("platform")
def check_platform(**_: Any) -> list[CheckMessage]:
    """All that can be said without asking a server, and for `manage.py check` itself what the servers say."""
    found: list[CheckMessage] = [*_settings(), *_schedules()]
    if sys.argv[1:2] == ["check"]:
        found += [*_database(), *_rows_of_schedules(), *_broker()]
    return found


def refuse_bad_boot() -> None:
    """Called by every process before it serves.

    Raises:
        ImproperlyConfigured: with the first sentence that a check has to say.
    """
    for message in (*_settings(), *_schedules(), *_database(), *_broker()):
        if message.is_serious():
            raise ImproperlyConfigured(message.msg)
        logger.warning("checked", handler="boot", action=message.id, details=message.msg)


def _settings() -> Iterator[CheckMessage]:
    if settings.PROFILE != "production":
        return
    if settings.DEBUG:
        yield Error("DEBUG must be off in production.", id="platform.E001")
    if len(settings.SECRET_KEY) < SHORTEST_SECRET or settings.SECRET_KEY.startswith("django-insecure"):
        yield Error(
            f"SECRET_KEY must be set to a secret of at least {SHORTEST_SECRET} characters in production.",
            id="platform.E002",
        )
    if len(settings.AUDIT_KEY) < SHORTEST_SECRET:
        yield Error(f"AUDIT_KEY must be a secret of at least {SHORTEST_SECRET} characters.", id="platform.E012")
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        yield Error("ALLOWED_HOSTS must name the host names of the API in production.", id="platform.E003")


def _schedules() -> Iterator[CheckMessage]:
    for name, kind in schedule.unknown_kinds():
        yield Error(
            f"The shipped schedule {name!r} names the kind {kind!r}, which no handler registers.", id="platform.E004"
        )


def _rows_of_schedules() -> Iterator[CheckMessage]:
    """What people scheduled. No process refuses to boot for one row: beat pauses it and says so."""
    with contextlib.suppress(DatabaseError):  # which is said elsewhere
        rows = PeriodicTask.objects.filter(enabled=True).exclude(task="celery.backend_cleanup")  # beat removes that one
        for name, kind in rows.values_list("name", "task").order_by("name"):
            if registry.find(kind) is None:
                yield Error(
                    f"The schedule {name!r} names the kind {kind!r}, which no handler registers.", id="platform.E011"
                )


def _database() -> Iterator[CheckMessage]:
    if not settings.DATABASE_URL:
        yield Error(
            "DATABASE_URL is not set: run `make up`, or give postgresql://user:password@host/name.", id="platform.E010"
        )
        return
    try:
        with connection.cursor() as cur:
            cur.execute("select current_setting('fsync'), current_setting('full_page_writes')")
            durable = cur.fetchone() == ("on", "on")
            cur.execute(_POWERS)
            row = cur.fetchone()
            powerful = bool(row and row[0])
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, psycopg.Error) as error:
        yield Error(f"The database cannot be reached: {str(error).splitlines()[0]}", id="platform.E005")
        return
    if not durable and settings.PROFILE != "test":
        yield Error(
            "Postgres runs with fsync or full_page_writes off: accepted jobs could be lost.", id="platform.E006"
        )
    if powerful and settings.PROFILE == "production":
        yield checks.Warning(
            "The processes connect as a superuser or as the owner of the tables: run manage.py setup_roles, and give"
            " them the app's role in DATABASE_URL.",
            id="platform.W003",
        )
    if missing:
        first = missing[0][0]
        yield Error(
            f"{len(missing)} migrations are not applied, first {first.app_label}.{first.name}: run manage.py"
            " setup_database.",
            id="platform.E007",
        )


def _for_redis(url: str) -> str:
    """A URL as kombu writes it, as Redis' own library reads it: only a socket's is different."""
    parts = urlsplit(url)
    if parts.scheme != "redis+socket":
        return url
    number = dict(parse_qsl(parts.query)).get("virtual_host", "0").strip("/")
    return f"unix://{parts.netloc}{parts.path}?db={number}"


def _broker() -> Iterator[CheckMessage]:
    url = settings.BROKER_URL
    if not url:
        yield Error("BROKER_URL is not set.", id="platform.E008")
        return
    if urlsplit(url).scheme not in REDIS_SCHEMES:
        return
    try:
        with redis.Redis.from_url(_for_redis(url), socket_timeout=5, socket_connect_timeout=5) as client:
            answer = client.config_get("maxmemory-policy")
    except redis.ResponseError:
        yield checks.Warning("Redis does not tell its eviction policy; it must be noeviction.", id="platform.W001")
        return
    except redis.RedisError as error:
        # The platform accepts jobs without its broker; workers and relay wait for it.
        yield checks.Warning(f"Redis cannot be reached: {error}", id="platform.W002")
        return
    policy = answer.get("maxmemory-policy", "noeviction") if isinstance(answer, dict) else "noeviction"
    if policy != "noeviction":
        yield Error(
            f"Redis evicts keys ({policy}): set maxmemory-policy to noeviction, or it deletes queues.",
            id="platform.E009",
        )
