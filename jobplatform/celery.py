"""The Celery application: how doorbells travel. Kinds become tasks in `jobs/tasks.py`."""

import os

import django
from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")

# Without Celery's Django fixup: it closes the database connection around every task, and one lasting connection per
# worker process is what keeps the hot statements prepared.
app = Celery("jobplatform", fixups=[])
app.conf.update(settings.CELERY)

django.setup()

from jobs import tasks  # noqa: E402 - models are ready only now

tasks.register(app)
