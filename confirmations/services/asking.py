"""From a job that is done to the row of its confirmation, which waits for a transaction.

A counter of the log (events/consumers.py): it looks for `job.processed` of jobs that go on chain, and writes, in the
transaction that moves its cursor, one row per job and a call for the signer. Where no job stands `confirming`, nothing
in the log can be of interest, and none of it is read.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from confirmations import selectors
from confirmations.errors import NoNetwork
from confirmations.models import Contract, Signer
from confirmations.results import job_bytes, result_hash
from confirmations.services.calling import call_sender
from confirmations.states import Duty, Mode
from events import log
from events.consumers import Counted
from jobs.states import Status

BATCH = 2000
"""Events looked at by one statement."""
PAUSE = 30.0
"""Seconds for which the consumer rests when no job is on its way to the chain."""
BREATH = 0.05
"""The same when one is."""
ROUSED_BY = f"jobs_job where status = '{Status.CONFIRMING}'"

_LAST_ID = 2**63 - 1

# The horizon is read before the jobs are: whatever was committed below it, its job is seen by the second statement.
_READ = """
with seen as materialized (
    select position, id, project_id, type, subject_id, data
    from events_event
    where (position, id) > (%(position)s, %(last_id)s)
      and position < %(horizon)s
    order by position, id
    limit %(batch)s
),
reached as (
    select position, id, (select count(*) from seen) as number from seen order by position desc, id desc limit 1
)
select reached.position, reached.id, reached.number, job.*
from reached
left join lateral (
    select j.project_id, j.id, j.kind, j.confirm, j.lane, j.payload::text, coalesce(j.output, '{}')::text
    from seen s
    join jobs_job j on j.project_id = s.project_id and j.id = s.subject_id
    where s.type = 'job.processed'
      and s.data ? 'confirm'
      and j.status = 'confirming'
) job on true
"""
_INSERT = """
insert into confirmations_confirmation (
    id, project_id, contract_id, signer_id, mode, result_hash, standing, kind, asked_at, reason
)
select x.id, x.project_id, %(contract)s, x.signer_id, x.mode, x.result_hash, 'waiting', x.kind,
       (select platform_now()), ''
from unnest(
    %(id)b::uuid[], %(project_id)b::uuid[], %(signer_id)b::uuid[], %(mode)b::text[], %(result_hash)b::bytea[],
    %(kind)b::text[]
) as x (id, project_id, signer_id, mode, result_hash, kind)
on conflict do nothing
"""

# A log that was read when nobody asked for it: tables that were restored do not know what was confirmed since.
_SAID_BEFORE = """
update confirmations_log l
set settled = false
from unnest(%s::bytea[]) as x (subject)
where l.subject = x.subject and l.settled and not l.orphaned
"""


@dataclass(frozen=True, slots=True)
class _Done:
    project_id: UUID
    id: UUID
    kind: str
    mode: str
    lane: str | None
    payload: str
    output: str


def ask(position: int, last_id: int, batch: int) -> Counted | None:
    """Take in what stands behind a cursor of the log. See `events.consumers.counter`.

    Raises:
        NoNetwork: jobs are on their way to a chain that is not set up yet.
    """
    with log.cursor() as cur:
        cur.execute("select event_horizon()")
        ((horizon,),) = cur.fetchall()
        cur.execute("select exists (select from jobs_job where status = 'confirming')")
        ((somebody,),) = cur.fetchall()
        if not somebody:
            return Counted(horizon - 1, _LAST_ID, 0, pause=PAUSE) if horizon - 1 > position else None
        params = {"position": position, "last_id": last_id, "horizon": horizon, "batch": batch}
        cur.execute(_READ, params, prepare=True)
        rows = cur.fetchall()
    if not rows:
        return None
    reached, reached_id, number = rows[0][:3]
    done = [_Done(*row[3:]) for row in rows if row[3] is not None]
    if done:
        confirm(done)
    return Counted(reached, reached_id, number, pause=BREATH)


def confirm(jobs: Sequence[_Done]) -> None:
    """Write the rows of these jobs and call their signers. A job that has one keeps it."""
    contract = selectors.default_contract()
    if contract is None:
        raise NoNetwork
    signers = _signers(contract)
    waiting = selectors.waiting_by_signer([signer.id for signer in signers]) if len(signers) > 1 else {}
    least = min(signers, key=lambda signer: waiting.get(signer.id, 0))
    by_signer: dict[UUID, list[_Done]] = defaultdict(list)
    for job in jobs:
        signer = least if job.lane is None else _of_lane(signers, f"{job.project_id} {job.lane}")
        by_signer[signer.id].append(job)
    rows = [(job, signer) for signer, found in by_signer.items() for job in found]
    with log.cursor() as cur:
        cur.execute(
            _INSERT,
            {
                "contract": contract.id,
                "id": [job.id for job, _ in rows],
                "project_id": [job.project_id for job, _ in rows],
                "signer_id": [signer for _, signer in rows],
                "mode": [Mode(job.mode) for job, _ in rows],
                "result_hash": [
                    result_hash(job_id=job.id, kind=job.kind, payload=job.payload, output=job.output) for job, _ in rows
                ],
                "kind": [job.kind for job, _ in rows],
            },
            prepare=True,
        )
        cur.execute(_SAID_BEFORE, ([job_bytes(job.id) for job, _ in rows],), prepare=True)
    for signer_id in by_signer:
        call_sender(signer_id)


def _signers(contract: Contract) -> list[Signer]:
    """Those that sign now; if none does, all: a person lets one sign again, or it gets its funds."""
    found = list(Signer.objects.filter(network_id=contract.network_id).order_by("id"))
    if not found:
        message = f"The network {contract.network_id} has no signer."
        raise NoNetwork(message)
    return [signer for signer in found if signer.duty == Duty.ACTIVE] or found


def _of_lane(signers: Sequence[Signer], lane: str) -> Signer:
    """Jobs of one lane stay with one signer, whatever others come and go (rendezvous hashing)."""
    return max(signers, key=lambda signer: hashlib.sha256(f"{signer.id} {lane}".encode()).digest())
