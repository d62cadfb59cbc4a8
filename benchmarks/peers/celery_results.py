"""Celery with django-celery-results on Postgres: the usual way to give Celery a durable status.

Late acknowledgement and `task_track_started`, so that a task's row says queued work apart from running work. Without
Celery's Django fixup (no DJANGO_SETTINGS_MODULE): it would open a new connection for every task.
"""

from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings
from django.core.management import call_command

from benchmarks.peers import celery_app
from benchmarks.peers.protocol import database_url, serve


def _database(url: str) -> dict[str, object]:
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": query["host"][0] if "host" in query else parts.hostname,
        "PORT": query["port"][0] if "port" in query else parts.port or "",
        "CONN_MAX_AGE": None,
    }


settings.configure(
    DATABASES={"default": _database(database_url())},
    INSTALLED_APPS=["django_celery_results"],
    USE_TZ=True,
)
django.setup()

app = celery_app.make(
    result_backend="django-db",
    task_acks_late=True,
    task_ignore_result=False,
    task_track_started=True,
    worker_prefetch_multiplier=16,
)


class Results(celery_app.CeleryPeer):
    """Celery, prefork pool of two, results in Postgres."""

    packages = ("celery", "django-celery-results", "django", "psycopg")
    settings = "prefork -c 2, late acknowledgement, prefetch 16, track_started, one lasting connection per child"
    app = app
    module = "benchmarks.peers.celery_results"
    pools = (("-P", "prefork", "-c", "2"),)

    def prepare(self) -> None:
        call_command("migrate", verbosity=0)


if __name__ == "__main__":
    serve(Results())
