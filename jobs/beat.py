"""Beat's scheduler: it makes jobs of the instants that are due. No message is sent, so none can be lost or doubled.

Beside them it makes the rounds that other apps have registered (`extensions.rounds`): what must not wait for a worker.
"""

import faulthandler
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.beat import Scheduler, Service
from celery.signals import beat_init
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs import extensions, schedules, store
from jobs.firing import LONGEST_WAIT, Rounds
from jobs.pulse import Pulse

logger = structlog.get_logger(__name__)

GRACE_SECONDS = 10
"""A beat that was told to end has ended after this; it shows where it stood if it had not by itself."""


@beat_init.connect
def _on_start(sender: Service, **_: Any) -> None:
    if isinstance(sender.scheduler, JobScheduler):
        sender.scheduler.owns_process = True


class JobScheduler(Scheduler):
    """Celery's clock, and nothing else of it: which instants are due is said by `jobs/instants.py`.

    The job of a (schedule, instant) is unique: two beats, or one that was restarted, create it once. A row that
    names an unknown kind is paused, with the reason on the row and an event.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._rounds = Rounds()
        self._tidied = False  # Celery's own row clears a result backend: there is none, and the row is no kind
        self.owns_process = False
        self._busy = True  # until its first round has ended: the checks of the start ask the database, too
        self._ending = False
        self._pulse = Pulse("beat")
        self._due: dict[str, float] = {}  # when a registered round is due
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing: a signal may come meanwhile, see `close`."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Fire what is due. Returns the seconds until the next tick. Raises SystemExit when beat is to end."""
        self._busy = True
        try:
            began = time.monotonic()
            delay = min(self._step(), self._make_rounds())
            self._note(lambda: self._pulse.round(time.monotonic() - began))
        except SystemExit:
            connection.close()  # it was in the middle of a statement
            raise
        finally:
            self._busy = False
        if self._ending:  # whoever rolled back met an error, and that one took the place of the SystemExit
            raise SystemExit
        return delay

    def close(self) -> None:
        """End in order.

        Celery calls it twice: in the handler of SIGTERM, which then raises SystemExit wherever beat was, and in the
        end. In the handler the connection may be in the middle of a statement, whose lock nobody would give back.
        """
        if self.owns_process:  # whatever holds it up: instants that are due are fired by the next beat, or by the relay
            faulthandler.dump_traceback_later(GRACE_SECONDS, exit=True, file=2)
        if self._busy:
            self._ending = True
            return
        self._busy = True
        self._note(self._pulse.stop)
        super().close()

    @staticmethod
    def _note(note: Callable[[], None]) -> None:
        """A pulse that cannot be written is one that is missed: beat itself goes on."""
        try:
            note()
        except store.DATABASE_ERRORS as error:
            logger.warning("pulse not noted", handler="beat", action="note", details=str(error)[:200])
            store.drop_broken_connection()

    def _step(self) -> float:
        try:
            if not self._tidied:
                PeriodicTask.objects.filter(schedules.NONE_OF_OURS).delete()
                self._tidied = True
            return self._rounds.step()
        except store.DATABASE_ERRORS as error:
            logger.warning("database away", handler="beat", action="wait", details=str(error)[:200])
            store.drop_broken_connection()
            return LONGEST_WAIT

    def _make_rounds(self) -> float:
        """Make the registered rounds that are due. Returns the seconds until the next one."""
        for name, round_ in extensions.rounds:
            if time.monotonic() < self._due.get(name, 0.0):
                continue
            self._due[name] = time.monotonic() + round_.seconds
            try:
                round_.run()
            except store.DATABASE_ERRORS as error:
                logger.warning("database away", handler="beat", action=name, details=str(error)[:200])
                store.drop_broken_connection()
            except Exception:  # the schedules go on, whatever another app's round meets
                logger.exception("round failed", handler="beat", action=name)
        return max(0.1, min(self._due.values(), default=LONGEST_WAIT) - time.monotonic())
