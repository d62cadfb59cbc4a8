"""What other settings of a kind would have done to the jobs of the last days. It only reads, and only so much.

What was decided about an attempt depends on its number, its error and its time, and all three are kept. So the same
decisions are taken once more: those of `Retry.decide` and of the timeout. It looks at jobs by their age, newest first,
slice by slice, until it has seen them all or enough.
"""

import datetime as dt
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from jobplatform.api.database import Trouble, trouble
from jobs.failures import code_of_class
from jobs.outcomes import RetryIn
from jobs.policy import Backoff
from jobs.registry import Kind

MOST_ATTEMPTS = 300_000
"""So many attempts are looked at, of all kinds together: an attempt does not know its kind, its job does."""
SLICE = 5_000
BUDGET_SECONDS = 8.0
STATEMENT_SECONDS = 4
DAYS = (1, 7, 30)
NOT_A_RUN = ("worker_died", "broken_off")  # nobody knows how long the handler would have run

# `of_kind` fetches each job by its key. `spent`: the attempts with the numbers from the last that would have been
# allowed on, each as it was spent: the latest with its number.
STATEMENT = """
with seen as materialized (
    select job_id, project_id, claim_no, attempt, outcome, error, extract(epoch from ended_at - started_at) as seconds
    from jobs_attempt
    where job_id >= %(since)s and job_id < %(before)s and stage = 'process'
    order by job_id desc
    fetch first %(slice)s rows with ties
),
mine as (
    select s.job_id, s.claim_no, s.attempt, s.outcome, s.seconds, s.error ->> 'code' as code,
           coalesce((s.error ->> 'retryable')::boolean, false) as retryable,
           coalesce(of_kind.max_attempts, %(most)s) as most, of_kind.timeout is null as by_kind
    from seen s
    cross join lateral (
        select j.max_attempts, j.timeout
        from jobs_job j
        where j.project_id = s.project_id and j.id = s.job_id and j.kind = %(kind)s
        limit 1
    ) of_kind
),
late as (
    select m.job_id
    from mine m
    where m.outcome = 'done' and m.attempt > m.most and exists (
        select
        from (
            select distinct on (a.attempt) a.outcome, a.error ->> 'code' as code
            from jobs_attempt a
            where a.job_id = m.job_id and a.claim_no < m.claim_no and a.attempt >= m.most and a.attempt < m.attempt
              and a.stage = 'process'
            order by a.attempt, a.claim_no desc
        ) spent
        where spent.outcome = 'retried' and not spent.code = any(%(others)s::text[])
    )
)
select (select count(*) from seen), (select min(job_id::text)::uuid from seen),
       count(*), count(distinct job_id),
       count(distinct job_id) filter (
           where (outcome = 'failed' or outcome = 'blocked' and code <> 'blocked') and retryable and attempt < most
             and not code = any(%(others)s::text[])
             and (%(allowed)s::text[] is null or code = any(%(allowed)s::text[]))
       ),
       (select count(distinct job_id) from late),
       count(*) filter (
           where by_kind and seconds > %(timeout)s
             and (code is null or code <> 'timeout' and not code = any(%(not_a_run)s::text[]))
       ),
       count(*) filter (where by_kind and code = 'timeout' and seconds < %(timeout)s),
       count(*) filter (where seconds > %(expect)s::float8)
from mine
"""

# Also where the statistics are older than the last days: by the key, newest first, so that a slice reads only itself.
BOUNDS = f"""
set local statement_timeout = '{STATEMENT_SECONDS}s';
set local enable_seqscan = off;
set local enable_bitmapscan = off
"""


@dataclass(slots=True)
class Hindsight:
    """What would have become of the jobs of a kind that were created since a moment. All numbers are counts.

    `retried`: jobs that failed, or stood blocked with no attempt left, and would have been tried again. `failed`: jobs
    that were done at an attempt that they would not have had. `ended`: attempts that the timeout would have ended.
    `longer`: attempts that the timeout ended and that would have had more time. `late`: attempts that would have been
    late. `back_to`: if not all was looked at, how far back it went.
    """

    days: int
    looked_at: int = 0
    attempts: int = 0
    jobs: int = 0
    retried: int = 0
    failed: int = 0
    ended: int = 0
    longer: int = 0
    late: int = 0
    back_to: dt.datetime | None = None
    delays: list[float] = field(default_factory=list)


def look_back(kind: Kind[Any], days: int, *, most: int = MOST_ATTEMPTS, seconds: float = BUDGET_SECONDS) -> Hindsight:
    """What the kind, as it is given here, would have done in the last `days`. Nothing is stored or changed.

    At most about `most` attempts are looked at, for at most about so many seconds.
    """
    ends = time.monotonic() + seconds
    found = Hindsight(days, delays=delays(kind))
    since, before = _lowest_id(dt.datetime.now(dt.UTC) - dt.timedelta(days=days)), UUID(int=2**128 - 1)
    while True:
        try:
            seen, lowest, *numbers = _slice(kind, since, before)
        except DatabaseError as error:
            if trouble(error) is not Trouble.BUSY:
                raise
            found.back_to = _time_of(before)
            break
        found.looked_at += seen
        for name, number in zip(_COUNTED, numbers, strict=True):
            setattr(found, name, getattr(found, name) + number)
        if seen < SLICE:
            break
        before = lowest
        if found.looked_at >= most or time.monotonic() > ends:
            found.back_to = _time_of(before)
            break
    return found


_COUNTED = ("attempts", "jobs", "retried", "failed", "ended", "longer", "late")


def values_of(kind: Kind[Any], since: UUID, before: UUID) -> dict[str, Any]:
    """What the statement asks: about jobs with ids from `since`, below `before`."""
    allowed = kind.retry.errors_allowed_to_retry
    return {
        "since": since,
        "before": before,
        "slice": SLICE,
        "kind": kind.name,
        "most": 1 if kind.retry.one_shot else kind.retry.max_attempts,
        "others": sorted(other_policies(kind)),
        "allowed": None if allowed is None else sorted(allowed),
        "timeout": kind.timeout,
        "expect": kind.expect,
        "not_a_run": list(NOT_A_RUN),
    }


def _slice(kind: Kind[Any], since: UUID, before: UUID) -> tuple[Any, ...]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BOUNDS)
        cursor.execute(STATEMENT, values_of(kind, since, before))
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def other_policies(kind: Kind[Any]) -> set[str]:
    """Codes of errors that `errors=` answers itself, so that the kind's retry policy is not asked."""
    classes: set[type[BaseException]] = set()
    waiting = [cls for cls, answer in kind.errors.items() if not isinstance(answer, RetryIn)]
    asked = {cls for cls, answer in kind.errors.items() if isinstance(answer, RetryIn)}
    while waiting:
        cls = waiting.pop()
        if cls not in classes and cls not in asked:
            classes.add(cls)
            waiting += type.__subclasses__(cls)
    return {code_of_class(cls) for cls in classes}


def delays(kind: Kind[Any], most: int = 8) -> list[float]:
    """The waits before a job's next attempts, in seconds: the first `most` of them."""
    backoff: Backoff = kind.retry.backoff
    attempts = 1 if kind.retry.one_shot else kind.retry.max_attempts
    return [backoff.seconds(number) for number in range(1, min(attempts, most + 1))]


def _lowest_id(moment: dt.datetime) -> UUID:
    """Not above the id of any job that was created since."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def _time_of(job_id: UUID) -> dt.datetime:
    """When a job was created, by its id."""
    milliseconds = job_id.int >> 80
    return dt.datetime.fromtimestamp(min(milliseconds / 1000, 253_402_300_799), dt.UTC)
