"""What is done by the clock: a look for what stands between two states, and the removal of what is old."""

from django.db import connection
from pydantic import BaseModel

from events import errorlog
from jobs import Batch, Done, Retry, Run, exponential, handler
from reconciliation import invariants
from reconciliation.services import expiry

SLICE = 5000
_TIDY = {
    "redriven_jobs": (
        "delete from reconciliation_redriverow where ctid = any (array(select r.ctid from reconciliation_redriverow r"
        " join reconciliation_redrive p on p.id = r.redrive_id"
        " where p.finished_at < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "redrives": (
        "delete from reconciliation_redrive where id = any (array(select p.id from reconciliation_redrive p"
        " where p.finished_at < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "hours": (
        "delete from reconciliation_causehour where ctid = any (array(select ctid from reconciliation_causehour"
        " where at < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "recovered": (  # what stands dead stays, however old
        "delete from reconciliation_deadletter where ctid = any (array(select ctid from reconciliation_deadletter"
        " where not dead and died_at < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "alarms": (
        "delete from reconciliation_alarm where id = any (array(select id from reconciliation_alarm"
        " where resolved_at < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "silences": (
        "delete from reconciliation_silence where id = any (array(select id from reconciliation_silence"
        " where until < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "samples": (
        "delete from reconciliation_alarmsample where ctid = any (array(select ctid from reconciliation_alarmsample"
        " where at < (select platform_now()) - interval '8 days' limit %(slice)s))"
    ),
}


class Nothing(BaseModel):
    """Nothing to say."""


@handler(
    "reconciliation.look",
    payload=Nothing,
    retry=Retry(max_attempts=3, backoff=exponential(1, cap=10)),
    batch=Batch(1),
    public=False,
    confirm="never",
    example={},
)
def look(_job: Run[Nothing]) -> Done:
    """Look for what stands between two states, and put right what can be."""
    left = invariants.look()
    return Done({name: number for name, number in left.items() if number}, metrics={"left": sum(left.values())})


@handler("reconciliation.tidy", payload=Nothing, batch=Batch(1), public=False, confirm="never", example={})
def tidy(_job: Run[Nothing]) -> Done:
    """Remove what is older than 90 days: ended redrives and alarms, hours, what is known of jobs that recovered."""
    removed = dict.fromkeys(_TIDY, 0) | {"error_minutes": errorlog.tidy(), "dead_letters": expiry.expire()}
    with connection.cursor() as cursor:
        for name, statement in _TIDY.items():
            while True:
                cursor.execute(statement, {"slice": SLICE})
                removed[name] += cursor.rowcount
                if cursor.rowcount < SLICE:
                    break
    return Done(removed)
