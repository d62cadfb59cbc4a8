"""ASGI entry point of the process `live`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")

django.setup()

from events import log  # noqa: E402 - models are ready only now
from jobplatform.checks import refuse_bad_boot  # noqa: E402
from jobplatform.live import Live  # noqa: E402

refuse_bad_boot()
log.adopt_cluster()

application = Live()
