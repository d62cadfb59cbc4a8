"""How a job stands before the claim: the same columns, for a person who asks why it does not run."""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db.models import Q

from events import log
from jobs import extensions, registry
from jobs.errors import JobNotFound
from jobs.models import LimitRule
from jobs.policy import burst_of
from jobs.registry import Kind
from jobs.selectors import LONGEST_QUEUE
from jobs.states import LIVE_SECONDS, Gate, Stage, Status

_LIVE = "('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked')"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the claim reads of a job, and of those before it.

    `ahead`: jobs of its shelf that are due earlier; `lane_…`: those before it in its lane; `limit_…`: its key, of which
    `limit_before` counts who passes before it, and `limit_at` is when its rate lets it start. `others`: further
    projects with due jobs of its kind, whose weights together are `others_weight`. `event`: what may wake it before it
    is due.
    """

    kind: str
    status: str
    attempt: int
    gate: int
    due_at: dt.datetime
    now: dt.datetime
    paused: bool
    cancel_requested: bool
    live_workers: int
    ahead: int
    worker: str | None
    error: str | None
    pause_reason: str | None
    paused_until: dt.datetime | None
    weight: int
    others: int
    others_weight: int
    lane: str | None
    lane_ahead: int
    lane_head: UUID | None
    lane_head_status: str | None
    limit: str | None
    limit_key: str | None
    limit_shared: bool
    limit_waiting: bool
    limit_before: int
    cost: int
    turn: bool
    concurrency: int | None
    in_use: int
    ramp: int | None
    rate: float | None
    limit_at: dt.datetime | None
    closed_until: dt.datetime | None
    event: str | None
    event_subject: str | None
    stage: tuple[str, str] | None = None  # a code and a sentence of the app that looks after its stage

    @property
    def due(self) -> bool:
        """Whether its time has come."""
        return self.due_at <= self.now


# The order of `before` is that in which claims meet the jobs of a key: the highest priority of a project first, and of
# that those who were let out.
_STANDING = f"""
select j.kind, j.status, j.attempt, j.gate, j.due_at, clock.now, coalesce(s.paused, false), j.cancel_requested,
    (select count(*) from jobs_worker w
     where w.stopped_at is null and w.heartbeat_at > clock_timestamp() - interval '{LIVE_SECONDS} seconds'
       and j.kind = any(w.kinds)),
    case when j.status = 'queued' then (select count(*) from (
        select from jobs_job o
        where o.shelf_id = j.shelf_id and o.project_id = j.project_id and o.status = 'queued' and o.gate = 0
          and (o.due_at, o.id) < (j.due_at, j.id)
        limit {LONGEST_QUEUE}) o) else 0 end,
    w.name, j.error::text, p.reason, p.until, coalesce(s.weight, 1), others.number, others.weight, j.lane,
    case when j.gate & {int(Gate.LANE)} > 0 then (select count(*) from (
        select from jobs_job o
        where o.project_id = j.project_id and o.lane = j.lane and o.lane_no < j.lane_no and o.status in {_LIVE}
        limit {LONGEST_QUEUE}) o) else 0 end,
    head.id, head.status, k.name, k.key, coalesce(k.project_id <> j.project_id, false), coalesce(k.waiting, false),
    coalesce(before.cost, 0), coalesce(j.cost, 1), coalesce(j.turn, false), k.concurrency, coalesce(k.in_use, 0),
    k.ramp, k.rate,
    greatest(k.next_at, clock.now) + (coalesce(before.cost, 0) - k.burst + 1) / k.rate * interval '1 second',
    k.closed_until, a.type, a.subject
from jobs_job j
cross join (select platform_now() as now) clock
left join jobs_shelf s on s.id = j.shelf_id
left join jobs_worker w on w.id = j.claimed_by
left join jobs_pause p on p.id = s.pause_id
left join jobs_awaited a on a.job_id = j.id and a.project_id = j.project_id and j.status = 'parked'
left join jobs_limitkey k on k.id = j.limit_id
left join lateral (
    select o.id, o.status
    from jobs_job o
    where o.project_id = j.project_id and o.lane = j.lane and o.lane_no < j.lane_no and o.status in {_LIVE}
    order by o.lane_no
    limit 1
) head on j.gate & {int(Gate.LANE)} > 0
left join lateral (
    select sum(o.cost) as cost
    from (
        select coalesce(o.cost, 1) as cost
        from jobs_job o
        join jobs_shelf os on os.id = o.shelf_id and not os.paused
        where o.limit_id = j.limit_id and o.status = 'queued' and o.gate = 0 and o.due_at <= clock.now
          and (coalesce(o.turn, false) or not coalesce(k.waiting, false))
          and (-o.priority, not coalesce(o.turn, false), o.due_at, o.id)
            < (-j.priority, not coalesce(j.turn, false), j.due_at, j.id)
        order by o.priority desc, o.due_at
        limit {LONGEST_QUEUE}
    ) o
) before on j.status = 'queued' and j.limit_id is not null
cross join lateral (
    select count(*)::int as number, coalesce(sum(weight), 0)::int as weight
    from (
        select distinct on (os.project_id) os.weight
        from jobs_shelf os
        where os.kind = j.kind and os.project_id <> j.project_id and not os.paused and os.low_due_at <= clock.now
        limit {LONGEST_QUEUE}
    ) os
) others
where j.id = %(id)s and j.project_id = %(project_id)s
"""  # noqa: S608 - constants of this module


def of(project_id: UUID, job_id: UUID) -> Standing:
    """How a job stands.

    Raises:
        JobNotFound: the project has no such job.
    """
    with log.cursor() as cur:
        row = cur.execute(_STANDING, {"id": job_id, "project_id": project_id}, prepare=False).fetchone()
    if row is None:
        raise JobNotFound(job_id=job_id)
    found, kind = Standing(*row), registry.find(row[0])
    if found.status == Status.CONFIRMING and Stage.CONFIRM in extensions.stages:
        return replace(found, stage=extensions.stages.get(Stage.CONFIRM)(project_id, job_id))
    if found.limit is None and kind is not None and kind.limit is not None:
        return replace(found, **_bounds_to_be(kind, project_id, found))
    return found


def _bounds_to_be(kind: Kind[Any], project_id: UUID, found: Standing) -> dict[str, Any]:
    """What will rule for a key that no claim has met yet."""
    limit = kind.limit
    assert limit is not None  # noqa: S101 - the caller has looked
    name = limit.name or kind.name
    rules = LimitRule.objects.filter(Q(project_id=None) | Q(project_id=project_id), name=name)
    rule = max(rules, key=lambda rule: rule.project_id is not None, default=None)
    bounds = (limit.concurrency, limit.a_second, limit.at_once)
    if rule is not None:
        bounds = (rule.concurrency, rule.rate, rule.burst or burst_of(rule.rate))
    concurrency, rate, burst = bounds
    at = None
    if rate is not None and burst is not None:
        at = found.now + dt.timedelta(seconds=(found.limit_before - burst + 1) / rate)
    return {
        "limit": name,
        "limit_shared": limit.across_projects,
        "concurrency": concurrency,
        "rate": rate,
        "limit_at": at,
    }
