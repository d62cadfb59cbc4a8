"""Celery with django-celery-results on Postgres: the usual way to give Celery a durable status.

Late acknowledgement and `task_track_started`, so that a task's row says queued work apart from running work. Without
Celery's Django fixup (no DJANGO_SETTINGS_MODULE): it would open a new connection for every task.
"""

import django
from django.conf import settings
from django.core.management import call_command

from benchmarks.peers import celery_app, protocol

settings.configure(
    DATABASES={"default": protocol.django_database()},
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
    protocol.serve(Results())
