"""Dead letters of kinds that say how long theirs are kept (`keep_dead=`): what is older goes, and an event says so."""

import datetime as dt
from collections import Counter
from uuid import UUID, uuid5

from django.db import transaction

from events import log
from events.log import NewEvent
from jobs import registry, services, store

SLICE = 1000

_OLD = """
select job_id from reconciliation_deadletter
where kind = %s and dead and died_at < %s and (%s::uuid is null or job_id > %s)
order by job_id limit %s
"""
_GONE = """
delete from reconciliation_deadletter where job_id = any(%s::uuid[]) returning project_id, fingerprint, kind
"""
_UNCOUNT = """
update reconciliation_cause set dead = dead - %s where project_id = %s and fingerprint = %s and kind = %s
"""


def expire() -> int:
    """Remove what is older than its kind says, jobs and attempts included. Returns how many.

    A job of a batch that has not ended stays. Kinds that say nothing keep theirs for good, as does one that is not
    registered any more.
    """
    removed = 0
    now = store.now()
    for kind in registry.kinds():
        if kind.keep_dead is None:
            continue
        before, after = now - dt.timedelta(days=kind.keep_dead), None
        while True:
            number, after = _slice(kind.name, before, after)
            removed += number
            if after is None:
                break
    return removed


def _slice(kind: str, before: dt.datetime, after: UUID | None) -> tuple[int, UUID | None]:
    with transaction.atomic(), log.cursor() as cur:
        cur.execute(_OLD, (kind, before, after, after, SLICE))
        ids = [row[0] for row in cur.fetchall()]
        if not ids:
            return 0, None
        cur.execute(_GONE, (services.forget(ids, dead_since=before),))
        gone = Counter(cur.fetchall())
        for (project_id, fingerprint, of), number in sorted(gone.items()):
            cur.execute(_UNCOUNT, (number, project_id, fingerprint, of))
        _publish(kind, before, Counter(key[0] for key in gone.elements()))
    return sum(gone.values()), ids[-1] if len(ids) == SLICE else None


def _publish(kind: str, before: dt.datetime, by_project: Counter[UUID]) -> None:
    """One event for each project; it is about the dead letters of the kind, and so has no other before it."""
    seq = int(store.now().timestamp())  # no row counts them
    log.append(
        [
            NewEvent(
                project_id, "deadletters.expired", uuid5(project_id, f"deadletters:{kind}"), seq,
                {"kind": kind, "count": number, "before": before.isoformat()},
            )
            for project_id, number in sorted(by_project.items())
        ]
    )  # fmt: skip
