"""What must never be found: things that stand between two states. Each statement yields rows, or better none.

They are looked for once a minute (`reconciliation.look`). What can be put right safely is put right, and counted; what
cannot is shown until somebody has seen to it. A row counts only when it has stood so for a while: what is on its way
from one process to another is no finding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from django.db import transaction
from uuid_utils.compat import uuid7

from events import log
from jobs import extensions, lanes, services, shelves
from jobs.extensions import Invariant
from jobs.models import Intervention, Job
from jobs.states import PLATFORM, Status
from jobs.store import ACTIONS_ON_BLOCKED, Move
from reconciliation import deadletters
from reconciliation.models import Finding, Redrive
from reconciliation.services import plans
from reconciliation.states import PlanStatus

Row = Mapping[str, Any]
LATE = 60
"""Seconds for which something must stand between two states."""
MOST = 500
"""Rows of a statement that are looked at in one round."""
SAMPLES = 10

# Every project that has had a job has a shelf: so each of the statements that look for a rare status goes by its index.
_PROJECTS = "(select distinct project_id from jobs_shelf) p"

_LOST_DOORBELL = f"""
select s.id as shelf_id, j.project_id, j.id
from jobs_shelf s
cross join lateral (
    select project_id, id, due_at from jobs_job j
    where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
    order by j.shelf_id, j.due_at, j.id limit 1
) j
where not s.paused and j.due_at < s.low_due_at
  and j.due_at < (select platform_now()) - interval '{LATE} seconds'
limit {MOST}
"""  # noqa: S608 - constants of this module

_DEAD_OWNER = f"""
select j.project_id, j.id, j.claimed_by
from jobs_job j left join jobs_worker w on w.id = j.claimed_by
where j.status = 'processing' and j.claimed_by is not null
  and (w.id is null or greatest(w.heartbeat_at, w.stopped_at) < clock_timestamp() - interval '{2 * LATE} seconds')
limit {MOST}
"""  # noqa: S608 - constants of this module

_STUCK_LANE = f"""
select l.project_id, l.lane, first.id
from jobs_lane l
cross join lateral (
    select j.id, j.gate, j.created_at from jobs_job j
    where j.project_id = l.project_id and j.lane = l.lane
      and j.status in ('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked')
    order by j.lane_no limit 1
) first
where first.gate & 1 = 1 and first.created_at < (select platform_now()) - interval '{LATE} seconds'
limit {MOST}
"""  # noqa: S608 - constants of this module

_NOBODY_ASKED = f"""
select j.project_id, j.id, j.error ->> 'code' as code
from {_PROJECTS}
cross join lateral (
    select * from jobs_job j where j.project_id = p.project_id and j.status = 'blocked' order by j.id limit {MOST}
) j
where not exists (
    select 1 from jobs_intervention i
    where i.subject_type = 'job' and i.subject_id = j.id::text and i.resolved_at is null)
limit {MOST}
"""  # noqa: S608 - constants of this module

_UNCONFIRMED = f"""
select j.project_id, j.id
from {_PROJECTS}
cross join lateral (
    select * from jobs_job j where j.project_id = p.project_id and j.status = 'confirming' order by j.id limit {MOST}
) j
where j.position < (select position from events_consumer where name = 'confirmations')
  and not exists (select 1 from confirmations_confirmation c where c.id = j.id)
limit {MOST}
"""  # noqa: S608 - constants of this module

_NOT_TOLD = f"""
select j.project_id, j.id, c.standing
from {_PROJECTS}
cross join lateral (
    select * from jobs_job j where j.project_id = p.project_id and j.status = 'confirming' order by j.id limit {MOST}
) j
join confirmations_confirmation c on c.id = j.id and c.project_id = j.project_id
where c.standing = 'confirmed'
limit {MOST}
"""  # noqa: S608 - constants of this module

_UNCOUNTED = f"""
select j.project_id, j.id
from {_PROJECTS}
cross join (values ('failed'), ('rejected')) as s (status)
cross join lateral (
    select j.id, j.project_id, j.position from jobs_job j
    where j.project_id = p.project_id and j.status = s.status and j.status in (
        'parked', 'pending_approval', 'confirming', 'blocked', 'failed', 'rejected', 'cancelled')
      and not exists (select 1 from reconciliation_deadletter k where k.job_id = j.id and k.dead)
    limit {MOST}
) j
where j.position < (select position from events_consumer where name = 'dead_letters')
limit {MOST}
"""  # noqa: S608 - constants of this module

_COUNTED_IN_VAIN = f"""
select k.project_id, k.job_id as id
from reconciliation_deadletter k
left join lateral (
    select j.status, j.position from jobs_job j where j.project_id = k.project_id and j.id = k.job_id limit 1
) j on true
where k.dead and coalesce(j.status, '') not in ('failed', 'rejected')
  and coalesce(j.position, 0) < (select position from events_consumer where name = 'dead_letters')
limit {MOST}
"""  # noqa: S608 - constants of this module

_FORGOTTEN_REDRIVE = f"""
select coalesce(r.project_id, '{PLATFORM}') as project_id, r.id
from reconciliation_redrive r
where r.status not in ('done', 'aborted') and r.status in ('freezing', 'running')
  and r.created_at < clock_timestamp() - interval '{LATE} seconds'
  and not exists (
      select 1 from jobs_job j
      where j.project_id = coalesce(r.project_id, '{PLATFORM}') and j.lane = '{plans.DRIVE}:' || r.id::text
        and j.status in ('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked'))
limit {MOST}
"""  # noqa: S608 - constants of this module


# ---------------------------------------------------------------------------------------------- putting right


def _ring(rows: Sequence[Row]) -> int:
    return shelves.sweep([row["shelf_id"] for row in rows])


def _open_lanes(rows: Sequence[Row]) -> int:
    lanes.follow(lanes.settle([(row["project_id"], row["lane"]) for row in rows]))
    return len(rows)


def _ask(rows: Sequence[Row]) -> int:
    """Open the question about a blocked job that nobody asks."""
    asked = 0
    for row in rows:
        job = Job.objects.select_for_update().filter(project_id=row["project_id"], id=row["id"]).first()
        if job is None or job.status != Status.BLOCKED:
            continue
        error = job.error if isinstance(job.error, dict) else {}
        _, made = Intervention.objects.get_or_create(
            subject_type="job",
            subject_id=str(job.id),
            resolved_at=None,
            defaults={
                "id": uuid7(),
                "project_id": job.project_id,
                "reason": str(error.get("code") or "blocked"),
                "evidence": {"kind": job.kind, "error": error},
                "actions": list(ACTIONS_ON_BLOCKED),
            },
        )
        asked += made
    return asked


def _tell(rows: Sequence[Row]) -> int:
    """Tell jobs what the chain has said for good."""
    return len(services.settle("confirm", [Move(row["id"], row["project_id"]) for row in rows]))


def _take_in(rows: Sequence[Row]) -> int:
    return deadletters.take_in([(row["project_id"], row["id"]) for row in rows])


def _let_go(rows: Sequence[Row]) -> int:
    return deadletters.let_go([row["id"] for row in rows])


def _drive(rows: Sequence[Row]) -> int:
    driven = 0
    for row in rows:
        redrive = Redrive.objects.select_for_update().get(id=row["id"])
        if redrive.status in {PlanStatus.FREEZING, PlanStatus.RUNNING}:
            plans.drive(redrive)
            driven += 1
    return driven


Repair = Callable[[Sequence[Row]], int]
_OURS: Mapping[str, tuple[str, str, Repair | None]] = {
    "job.without_doorbell": ("What is due is rung for.", _LOST_DOORBELL, _ring),
    "job.of_dead_worker": ("Who runs a job is alive, or it is taken back.", _DEAD_OWNER, None),
    "lane.stuck": ("The first job of a lane may run.", _STUCK_LANE, _open_lanes),
    "job.blocked_unasked": ("About a blocked job a person is asked.", _NOBODY_ASKED, _ask),
    "confirmation.missing": ("A job that is being confirmed has a confirmation.", _UNCONFIRMED, None),
    "confirmation.not_told": ("A job whose event is final is confirmed.", _NOT_TOLD, _tell),
    "dead_letter.uncounted": ("A dead letter is counted.", _UNCOUNTED, _take_in),
    "dead_letter.counted_in_vain": ("What is counted as a dead letter is one.", _COUNTED_IN_VAIN, _let_go),
    "redrive.forgotten": ("A redrive that is not at its end has a job that does it.", _FORGOTTEN_REDRIVE, _drive),
}


def register() -> None:
    """Register those of the engine, of confirmations and of this app. Called once, at boot."""
    for name, (title, statement, repair) in _OURS.items():
        extensions.invariants.register(name, Invariant(title, statement, repair))


# ---------------------------------------------------------------------------------------------- looking


def found(invariant: Invariant) -> list[Row]:
    """What is there that should not be."""
    with log.cursor() as cur:
        cur.execute(invariant.sql, prepare=False)
        names = [column.name for column in cur.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cur.fetchall()]


def look() -> dict[str, int]:
    """Look for all of it, put right what can be, and keep the report. Returns what is left, by invariant."""
    left = {}
    for name, invariant in extensions.invariants:
        left[name] = _look_for(name, invariant)
    Finding.objects.exclude(name__in=left).delete()
    return left


def _look_for(name: str, invariant: Invariant) -> int:
    rows = found(invariant)
    repaired = 0
    if rows and invariant.repair is not None:
        with transaction.atomic():
            repaired = invariant.repair(rows)
        rows = found(invariant) if repaired else rows
    samples = [{key: str(value) for key, value in row.items()} for row in rows[:SAMPLES]]
    with log.cursor() as cur:
        cur.execute(
            _KEEP, {"name": name, "number": len(rows), "repaired": repaired, "samples": orjson.dumps(samples).decode()}
        )
    return len(rows)


_KEEP = """
insert into reconciliation_finding as f (name, number, repaired, samples, looked_at, since)
values (%(name)s, %(number)s, %(repaired)s, %(samples)s::jsonb, clock_timestamp(),
        case when %(number)s > 0 then clock_timestamp() end)
on conflict (name) do update
set number = excluded.number, repaired = f.repaired + excluded.repaired, samples = excluded.samples,
    looked_at = excluded.looked_at, since = case when excluded.number > 0 then coalesce(f.since, excluded.looked_at) end
"""
