"""Pauses: nothing of a kind, a queue or a project starts, until somebody resumes it or its time is over.

What runs, runs on; what comes in is accepted and waits. A pause holds the shelves that it names. That is a copy, like
the shelves themselves: the relay puts it right every second, which is also how a pause ends by itself.
"""

import datetime as dt
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from events import audit
from jobs import shelves, store
from jobs.bell import bell
from jobs.errors import InvalidOption, PauseNotFound
from jobs.models import Pause

MOST = 100
"""So many pauses may a project have at once."""


def pause(
    *,
    actor: str,
    reason: str,
    project_id: UUID | None = None,
    kind: str | None = None,
    queue: str | None = None,
    until: dt.datetime | None = None,
    schedules: str | None = None,
) -> Pause:
    """Pause the jobs of a project, a kind or a queue, or those that are all that is named here.

    `schedules`: what becomes of the instants of their schedules, a `CatchUp`; None: as each schedule says.

    Raises:
        InvalidOption: nothing is named, the reason is missing, `until` is over, or the project has too many already.
    """
    check(project_id=project_id, kind=kind, queue=queue, until=until, reason=reason)
    with transaction.atomic():
        # Every shelf is compared with every pause, each second.
        if project_id is not None and Pause.objects.filter(project_id=project_id).count() >= MOST:
            message = f"A project may have {MOST} pauses at once."
            raise InvalidOption(message, code="too_many_pauses")
        row = Pause.objects.create(
            id=uuid7(), project_id=project_id, kind=kind, queue=queue, until=until, reason=reason, actor=actor,
            schedules=schedules,
        )  # fmt: skip
        _audit("pause.begin", row, actor, reason)
        apply()
    return row


def check(
    *, project_id: UUID | None, kind: str | None, queue: str | None, until: dt.datetime | None, reason: str
) -> None:
    """Nothing, if a pause may say this. Raises `InvalidOption`."""
    if project_id is None and kind is None and queue is None:
        message = "A pause names a project, a kind or a queue."
        raise InvalidOption(message, code="pause_names_nothing")
    if not reason.strip():
        message = "A pause wants its reason."
        raise InvalidOption(message, code="reason_required", field="/reason")
    if until is not None and until <= store.now():
        message = "until is over already."
        raise InvalidOption(message, field="/until")


def resume(*, pause_id: UUID, project_id: UUID | None, actor: str, reason: str = "") -> None:
    """End a pause. `project_id`: only one of this project; None: any.

    Raises:
        PauseNotFound: there is no such pause.
    """
    with transaction.atomic():
        rows = Pause.objects.select_for_update().filter(id=pause_id)
        row = (rows if project_id is None else rows.filter(project_id=project_id)).first()
        if row is None:
            raise PauseNotFound(pause_id=pause_id)
        row.delete()
        row.id = pause_id
        _audit("pause.end", row, actor, reason)
        apply()


def apply() -> int:
    """Hold and open shelves as the pauses say. Returns how many changed. Asked every second by the relay."""
    changed = shelves.hold()
    opened = [shelf for shelf, paused in changed if not paused]
    if opened:
        transaction.on_commit(lambda: bell.ring(opened, sweep=True))
    return len(changed)


def _audit(action: str, row: Pause, actor: str, reason: str) -> None:
    audit.record(
        action=action,
        actor=actor,
        subject_type="pause",
        subject_id=row.id,
        project_id=row.project_id,
        reason=reason,
        data={
            "kind": row.kind,
            "queue": row.queue,
            "until": row.until and row.until.isoformat(),
            "schedules": row.schedules,
        },
    )
