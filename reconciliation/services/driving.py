"""What the job of a redrive does, step by step.

A step is one short transaction, which also moves the redrive's row: whoever dies in it loses nothing and does nothing
twice. First it is written down which jobs the redrive is for; then
they are queued once more, a slice at a time, at its pace; all the while it is looked at what came of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction

from events import log
from jobs import bulk, interventions, registry, services, store, unique
from jobs.errors import JobsError
from jobs.extensions import Decision
from jobs.models import Intervention, Job
from jobs.states import DEAD_LETTERS, PLATFORM
from jobs.store import Move
from reconciliation import selectors
from reconciliation.models import Redrive, RedriveRow
from reconciliation.services import plans
from reconciliation.states import PlanStatus, RowState

SCANNED = 5000
"""Dead letters looked at by one step of freezing."""
SLICE = 1000
"""Jobs queued by one step; fewer where each of them is changed."""
CHANGED_SLICE = 100
SETTLED = 5000
"""Jobs looked at for what came of them, by one step."""
SETTLE_EVERY = 0.5
"""Seconds between two such looks, as long as there is something to be queued."""
WAIT = 2.0
"""Seconds until it is looked again what came of jobs."""
SELDOM = 30.0
"""The same when all are queued and only wait for their next attempts."""
FEWEST = 10
"""So many must be known before it is judged that too many failed again; fewer, if the canary is smaller."""

_FREEZE = """
with scanned as materialized (
    select k.job_id, k.project_id from reconciliation_deadletter k
    where {letters} and (%(cursor)s::uuid is null or k.job_id > %(cursor)s) and k.died_at <= %(until)s
    order by k.job_id limit %(limit)s
),
frozen as (
    insert into reconciliation_redriverow (redrive_id, number, job_id, project_id, seq, state, why)
    select %(redrive_id)s, %(frozen)s + row_number() over (order by j.id), j.id, j.project_id, j.seq, 'frozen', ''
    from scanned s
    join jobs_job j on j.project_id = s.project_id and j.id = s.job_id
    where {jobs}
    returning 1
)
select (select count(*) from scanned), (select job_id from scanned order by job_id desc limit 1),
       (select count(*) from frozen)
"""

# A confirmation that asks for a person belongs to its project; a transaction, to the platform.
_FREEZE_ASKED = """
insert into reconciliation_redriverow (redrive_id, number, job_id, project_id, seq, state, why, intervention_id)
select %(redrive_id)s, %(frozen)s + row_number() over (order by i.id), i.subject_id::uuid,
       coalesce(i.project_id, %(platform)s), 0, 'frozen', '', i.id
from jobs_intervention i
where i.resolved_at is null and i.opened_at <= %(until)s
  and (i.subject_type = 'confirmation' or i.subject_type = 'transaction' and %(project)s::uuid is null)
  and (%(project)s::uuid is null or i.project_id = %(project)s)
  and 'retry' = any(i.actions)
  and (i.reason = any(%(codes)s::text[]) or i.evidence ->> 'code' = any(%(codes)s::text[]))
"""

_SETTLE = """
with looked as materialized (
    select r.number, r.job_id, r.project_id, r.state, r.intervention_id
    from reconciliation_redriverow r
    where r.redrive_id = %(redrive_id)s and r.state in ('redriven', 'failing') and r.number > %(settled_to)s
    order by r.number limit %(limit)s
),
found as materialized (
    select l.number, l.state as before, case
        when l.intervention_id is not null then case
            when exists (
                select 1 from jobs_intervention i
                where i.subject_type in ('confirmation', 'transaction') and i.subject_id = l.job_id::text
                  and i.resolved_at is null) then 'failed'
            when j.id is null or j.status in ('confirmed', 'processed') then 'recovered'
            else l.state end
        when j.id is null then 'cancelled'
        when j.status in ('processed', 'confirming', 'confirmed', 'pending_approval')
            then 'recovered'
        when j.status in ('failed', 'rejected', 'blocked') then 'failed'
        when j.status = 'cancelled' then 'cancelled'
        when j.error is not null then 'failing'
        else l.state end as after
    from looked l
    left join lateral (
        select id, status, error from jobs_job j where j.project_id = l.project_id and j.id = l.job_id limit 1
    ) j on true
),
changed as (
    update reconciliation_redriverow r
    set state = f.after, changed_at = (select platform_now())
    from found f
    where r.redrive_id = %(redrive_id)s and r.number = f.number and f.after <> f.before
)
select (select count(*) from looked), (select max(number) from looked),
       coalesce((select jsonb_object_agg(after, n) from (
           select after, count(*) as n from found where after <> before group by 1) a), '{}')::text,
       coalesce((select jsonb_object_agg(before, n) from (
           select before, count(*) as n from found where after <> before group by 1) b), '{}')::text
"""


def step(redrive_id: UUID) -> float | None:
    """Do one step. Returns after how many seconds the next is wanted; None: there is nothing to do any more.

    Raises:
        Redrive.DoesNotExist: there is no such redrive.
    """
    with transaction.atomic():
        row = Redrive.objects.select_for_update().get(id=redrive_id)
        if row.status == PlanStatus.FREEZING:
            wait: float | None = _freeze(row)
        elif row.status == PlanStatus.RUNNING:
            wait = _run(row)
        else:
            return None
        row.save()
    return wait


# ---------------------------------------------------------------------------------------------- which jobs


def _freeze(row: Redrive) -> float | None:
    asked = selectors.wanted(row.project_id, row.filter)
    params = {
        "redrive_id": row.id, "cursor": row.cursor, "until": row.created_at, "limit": SCANNED, "frozen": row.frozen,
    }  # fmt: skip
    with log.cursor() as cur:
        statement = _FREEZE.format(letters=asked.letters, jobs=asked.jobs)
        found = cur.execute(statement, {**asked.params, **params}, prepare=False).fetchone()
        assert found is not None  # noqa: S101 - it always returns one row
        scanned, last, frozen = found
        row.frozen += frozen
        row.cursor = last or row.cursor
        if scanned == SCANNED:
            return 0.0
        row.frozen += _freeze_asked(cur, row)
    row.status = PlanStatus.READY
    if row.start_when_frozen:
        row.status = PlanStatus.RUNNING
        row.started_at = row.paced_at = store.now()
        return 0.0
    return None


def _freeze_asked(cur: Any, row: Redrive) -> int:
    """The confirmations that stand still for one of these errors; a filter on what only jobs have leaves them out."""
    codes, stage = row.filter.get("errors_allowed_to_retry"), row.filter.get("stage")
    only_jobs = set(row.filter) - {"errors_allowed_to_retry", "stage"} or row.change
    if not codes or only_jobs or stage not in {None, "confirm"}:
        return 0
    params = {
        "redrive_id": row.id, "frozen": row.frozen, "until": row.created_at, "project": row.project_id,
        "platform": PLATFORM, "codes": codes,
    }  # fmt: skip
    cur.execute(_FREEZE_ASKED, params, prepare=False)
    return int(cur.rowcount)


# ---------------------------------------------------------------------------------------------- once more


def _run(row: Redrive) -> float | None:
    now = store.now()
    unsettled = True
    rested = row.looked_at is None or (now - row.looked_at).total_seconds() >= SETTLE_EVERY
    if rested or row.next_number > row.frozen or _waits_for_canary(row):
        unsettled = _settle(row)
        row.looked_at = now
    if _fails_too_often(row):
        row.status = PlanStatus.STOPPED
        row.status_reason = f"more than {row.stop_above:g} % of those known failed again"
        plans.publish(row, "redrive.stopped")
        return None
    left = row.frozen - (row.next_number - 1)
    if left <= 0:
        return _end(row, unsettled)
    number, wait = _allowed(row, min(left, CHANGED_SLICE if row.change else SLICE))
    if number <= 0:
        return wait
    rows = _rows(row, number)
    done, skipped = _queue(row, rows)
    row.redriven += done
    row.skipped += skipped
    row.next_number = rows[-1].number + 1
    return 0.0


def _end(row: Redrive, unsettled: bool) -> float | None:  # noqa: FBT001 - what was just seen
    if unsettled and RedriveRow.objects.filter(redrive_id=row.id, state__in=("redriven", "failing")).exists():
        waits = RedriveRow.objects.filter(redrive_id=row.id, state=RowState.REDRIVEN).exists()
        return WAIT if waits else SELDOM
    row.status = PlanStatus.DONE
    row.status_reason = ""
    row.finished_at = store.now()
    plans.publish(row, "redrive.ended")
    return None


def _waits_for_canary(row: Redrive) -> bool:
    gone = row.redriven - row.judged.get("redriven", 0)
    return bool(row.canary and gone >= row.canary and not row.judged.get("canary_known"))


def _allowed(row: Redrive, most: int) -> tuple[int, float]:
    """How many may be queued now; if none, in how many seconds to ask again."""
    gone = row.redriven - row.judged.get("redriven", 0)
    if row.canary and gone < row.canary:
        most = min(most, row.canary - gone)
    elif (
        row.canary
        and RedriveRow.objects.filter(redrive_id=row.id, state=RowState.REDRIVEN).exists()
        and not row.judged.get("canary_known")
    ):
        return 0, WAIT
    elif row.canary:
        row.judged = {**row.judged, "canary_known": True}
    if row.pace is None:
        return most, 0.0
    now = store.now()
    due = int((now - (row.paced_at or now)).total_seconds() * row.pace)
    number = min(most, due, max(1, int(WAIT * row.pace)))  # after a rest it is no flood
    if number <= 0:
        return 0, min(SELDOM, 1 / row.pace)
    row.paced_at = now
    return number, 0.0


@dataclass(slots=True)
class _Row:
    """A row of a redrive that is looked at; `why`: it was left alone for that."""

    number: int
    job_id: UUID
    project_id: UUID
    seq: int
    intervention_id: UUID | None
    why: str = ""


def _rows(row: Redrive, most: int) -> list[_Row]:
    with log.cursor() as cur:
        cur.execute(
            "select number, job_id, project_id, seq, intervention_id from reconciliation_redriverow"
            " where redrive_id = %s and number >= %s order by number limit %s",
            (row.id, row.next_number, most),
            prepare=True,
        )
        return [_Row(*found) for found in cur.fetchall()]


def _queue(row: Redrive, rows: Sequence[_Row]) -> tuple[int, int]:
    """Queue these jobs once more, or leave them alone; how many of each."""
    gone = set() if row.change else _queue_plain(row, rows)
    left = [one for one in rows if one.job_id not in gone or one.intervention_id is not None]
    if left:
        _queue_one_by_one(row, left)
    _write(row, rows)
    skipped = sum(bool(one.why) for one in left)
    return len(rows) - skipped, skipped


def _queue_plain(row: Redrive, rows: Sequence[_Row]) -> set[UUID]:
    """Queue those that stand as they were written down, in no lane, no batch and without a key, by one statement."""
    plain = [
        kind.name
        for kind in registry.kinds()
        if kind.unique is None and not (row.spares_one_shots and kind.retry.one_shot)
    ]
    moves = [Move(one.job_id, one.project_id, seq=one.seq) for one in rows if one.intervention_id is None]
    return services.again_plain(moves, kinds=plain, actor=row.actor, reason=_reason(row))


def _queue_one_by_one(row: Redrive, rows: Sequence[_Row]) -> None:
    """Queue jobs of which more is to be seen: what else is to be changed, their lanes, batches and keys."""
    found = _locked(rows, whole=bool(row.change))
    chosen: list[Job] = []
    for one in rows:
        job = found.get(one.job_id)
        if one.intervention_id is not None:
            one.why = _answer(row, one)
        elif job is None or job.seq != one.seq:
            one.why = "it has moved on"
        elif row.spares_one_shots and (kind := registry.find(job.kind)) and kind.retry.one_shot:
            one.why = "it runs once at most: a person decides"
        else:
            chosen.append(job)
    by_job = {one.job_id: one for one in rows if one.intervention_id is None}
    if row.change:
        for job in chosen:
            by_job[job.id].why = _change(row, job)
        return
    free = bulk.with_their_keys(chosen)
    for job_id in {job.id for job in chosen} - {job.id for job in free}:
        by_job[job_id].why = "another job has its unique key"
    if free:
        services.again(free, actor=row.actor, reason=_reason(row))


def _locked(rows: Sequence[_Row], *, whole: bool) -> dict[UUID, Job]:
    """The jobs of these rows that stand dead. Not `whole`: without what is large, which few are asked for."""
    jobs = Job.objects.select_for_update().filter(
        project_id__in={row.project_id for row in rows}, id__in=[row.job_id for row in rows], status__in=DEAD_LETTERS
    )
    if whole:
        return {job.id: job for job in jobs.order_by("id")}
    found = {job.id: job for job in jobs.only(*_SMALL).order_by("id")}
    unique_ones = [job.id for job in found.values() if (kind := registry.find(job.kind)) and kind.unique]
    if unique_ones:
        projects = {found[job_id].project_id for job_id in unique_ones}
        asked = Job.objects.filter(project_id__in=projects, id__in=unique_ones)
        for job_id, payload in asked.values_list("id", "payload"):
            found[job_id].payload = payload
    return found


_SMALL = ("id", "project_id", "kind", "status", "seq", "lane", "priority", "batch_id")


def _write(row: Redrive, rows: Sequence[_Row]) -> None:
    """Write down what was done: most were queued, a few were not."""
    skipped = [one for one in rows if one.why]
    with log.cursor() as cur:
        cur.execute(
            "update reconciliation_redriverow set state = %s, changed_at = (select platform_now())"
            " where redrive_id = %s and number between %s and %s",
            (RowState.REDRIVEN.value, row.id, rows[0].number, rows[-1].number),
            prepare=True,
        )
        if skipped:
            cur.execute(
                "update reconciliation_redriverow r set state = %s, why = x.why"
                " from unnest(%s::bigint[], %s::text[]) as x (number, why)"
                " where r.redrive_id = %s and r.number = x.number",
                (RowState.SKIPPED.value, [one.number for one in skipped], [one.why for one in skipped], row.id),
            )


def _reason(row: Redrive) -> str:
    return f"{row.reason} (reconciliation {row.id})"


def _answer(row: Redrive, one: _Row) -> str:
    """Have a confirmation go on about which a person is asked; why not, if not."""
    asked = Intervention.objects.filter(id=str(one.intervention_id), resolved_at=None).first()
    if asked is None:
        return "it has moved on"
    try:
        with transaction.atomic():
            interventions.resolve(asked, Decision("retry", row.actor, _reason(row)))
    except JobsError as error:
        return str(error)[:500]
    return ""


def _change(row: Redrive, job: Job) -> str:
    """Queue one job once more, changed as the redrive says; why not, if not."""
    change: Mapping[str, Any] = row.change
    text: str | None = None
    try:
        with transaction.atomic():
            payload = None
            if "payload" in change:
                payload = merge(job.payload, change["payload"])
                if not isinstance(payload, dict):
                    return "the payload would be no object"
                text = services.new_payload(job, payload)
            unique.keep(job, payload)
            options = {name: change[name] for name in ("max_attempts", "retry_delay") if name in change}
            if options:
                Job.objects.filter(project_id=job.project_id, id=job.id).update(**options)
            services.again([job], actor=row.actor, reason=_reason(row), payload=text)
            if "due_at" in change:
                Job.objects.filter(project_id=job.project_id, id=job.id).update(due_at=change["due_at"])
            before = {"payload": job.payload, "steps": job.steps} if text is not None else None
            services.audit_job("job.redrive", job, row.actor, _reason(row), before=before)
    except JobsError as error:
        return str(error)[:500]
    return ""


def merge(value: Any, patch: Any) -> Any:
    """A JSON value after a merge patch (RFC 7396): null removes, an object is merged, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(value) if isinstance(value, Mapping) else {}
    for name, part in patch.items():
        if part is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), part)
    return merged


# ---------------------------------------------------------------------------------------------- what came of them


def _settle(row: Redrive) -> bool:
    """Look at the next jobs for what came of them. False: there is none of which it is not known."""
    params = {"redrive_id": row.id, "settled_to": row.settled_to, "limit": SETTLED}
    with log.cursor() as cur:
        found = cur.execute(_SETTLE, params, prepare=False).fetchone()
    assert found is not None  # noqa: S101 - it always returns one row
    looked, last = found[:2]
    after, before = orjson.loads(found[2]), orjson.loads(found[3])
    for name in ("recovered", "failing", "failed", "cancelled"):
        setattr(row, name, getattr(row, name) + after.get(name, 0) - before.get(name, 0))
    began = row.settled_to
    row.settled_to = last if looked == SETTLED else 0
    return bool(looked or began)


def _fails_too_often(row: Redrive) -> bool:
    if row.stop_above is None:
        return False
    known = {name: getattr(row, name) - row.judged.get(name, 0) for name in plans.KNOWN}
    total = sum(known.values())
    if total < min(FEWEST, row.canary or FEWEST, row.frozen):
        return False
    return bool(100 * (known["failing"] + known["failed"]) > row.stop_above * total)
