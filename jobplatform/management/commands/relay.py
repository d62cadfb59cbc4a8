"""`manage.py relay`: ring Celery for what is due."""

import signal
from types import FrameType
from typing import Any

import structlog
from celery import Celery
from django.conf import settings
from django.core.management.base import BaseCommand

from jobplatform import tracing
from jobplatform.checks import refuse_bad_boot
from jobs.relay import Relay

logger = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Ring Celery for what is due, until SIGTERM or Ctrl-C. Any number of relays may run."""

    help = "Ring Celery for what is due, sweep the shelves, rescue what dead workers held."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run the loop."""
        refuse_bad_boot()
        app = Celery("relay", fixups=[], set_as_current=False)
        app.conf.update(settings.CELERY)
        relay = Relay(app)

        def stop(_signum: int, _frame: FrameType | None) -> None:
            relay.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        logger.info("rings for what is due", handler="relay", action="ready")
        tracing.start("relay")
        relay.run()
        tracing.stop()
