"""WSGI entry point of the API and the admin."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")

_django = get_wsgi_application()

from events import log  # noqa: E402 - models are ready only now
from jobplatform import tracing  # noqa: E402
from jobplatform.api.bodies import Ahead  # noqa: E402
from jobplatform.api.connections import Places  # noqa: E402
from jobplatform.api.shortcut import Shortcut  # noqa: E402
from jobplatform.checks import refuse_bad_boot  # noqa: E402

try:
    refuse_bad_boot()
except ImproperlyConfigured as refusal:
    sys.exit(f"{refusal}")
log.adopt_cluster()

tracing.start("web")
application = tracing.wsgi(Ahead(Places(Shortcut(_django))))
