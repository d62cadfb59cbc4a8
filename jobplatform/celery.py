"""The Celery application: how doorbells travel. Kinds become tasks in `jobs/tasks.py`."""

import os
import sys
from typing import Any

import django
from celery import Celery, signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from kombu.transport import TRANSPORT_ALIASES

from jobs.errors import RegistrationError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")

# Without Celery's Django fixup: it closes the database connection around every task, and one lasting connection per
# worker process is what keeps the hot statements prepared.
app = Celery("jobplatform", fixups=[])
app.conf.update(settings.CELERY, worker_consumer="jobplatform.broker:Consumer")
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "jobplatform.broker:Transport"))

try:
    django.setup()
except (ImproperlyConfigured, RegistrationError) as refusal:
    sys.exit(f"{refusal}")

if "flower" in sys.argv[1:] and not settings.FLOWER_BASIC_AUTH:  # it has no signal at its start, and no login by itself
    sys.exit("FLOWER_BASIC_AUTH must be set to user:password: without it Flower is open to whoever reaches its port.")

from jobplatform import inherited  # noqa: E402 - models are ready only now
from jobplatform.checks import refuse_bad_boot  # noqa: E402


@signals.worker_process_init.connect
def _child_starts(**_: Any) -> None:
    inherited.let_go()  # nothing that the parent opened may be shared


from jobs import tasks  # noqa: E402 - its own start of a child comes after that

tasks.register(app)


@signals.setup_logging.connect
def _log_as_everybody(**_: Any) -> None:
    """Somebody listens, so Celery sets nothing up: the settings have done it."""


@signals.celeryd_init.connect
@signals.beat_init.connect
def _boot(**_: Any) -> None:
    try:
        refuse_bad_boot()
    except ImproperlyConfigured as refusal:
        sys.exit(f"{refusal}")
    finally:
        connections.close_all()  # the children must not inherit a connection
