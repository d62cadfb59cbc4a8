"""What is final: jobs are told, by the logs that stand in blocks that stay. Receipts decide nothing here."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from django.db import transaction

from confirmations.models import Confirmation, Contract
from confirmations.results import shown
from confirmations.services.asked import ask_person
from confirmations.states import Standing
from events import log
from jobs import services
from jobs.store import Move

OPEN = frozenset({Standing.WAITING, Standing.SENT, Standing.BLOCKED})
SLICE = 1000
"""Jobs told by one transaction."""

MOST = 100_000
"""Logs that one question finds. They are settled by their keys: a search for the next slice would sort all of them."""

# In the order of the chain: the first log with its own hash confirms a job.
_FINAL_LOGS = """
select block_hash, log_index
from confirmations_log
where contract_id = %(contract)s
  and not settled and not orphaned
  and event = 'confirmed'
  and block_number <= %(final)s
order by block_number, log_index
limit %(most)s
"""
# `offset 0`: jobs are found by their key.
_SETTLE_LOGS = """
with found as materialized (
    select l.block_hash, l.log_index, l.block_number, l.tx_hash, l.subject, l.value
    from unnest(%(block_hash)b::bytea[], %(log_index)b::int[]) as k (block_hash, log_index)
    join confirmations_log l
        on l.contract_id = %(contract)s and l.block_hash = k.block_hash and l.log_index = k.log_index
    where not l.settled and not l.orphaned
    order by l.block_number, l.log_index
    for update of l skip locked
),
settled as (
    update confirmations_log l
    set settled = true
    from found f
    where l.contract_id = %(contract)s and l.block_hash = f.block_hash and l.log_index = f.log_index
)
select f.block_number, f.tx_hash, f.value, c.id, c.project_id, c.mode, c.standing, c.result_hash
from found f
left join lateral (
    select * from confirmations_confirmation x
    where x.id = case when substring(f.subject from 17) = '\\x00000000000000000000000000000000'
                      then encode(substring(f.subject for 16), 'hex')::uuid end
    offset 0
) c on true
order by f.block_number, f.log_index
"""
_FINAL_ROOTS = """
select l.block_hash, l.log_index, l.block_number, l.tx_hash, a.transaction_id, a.leaves,
       l.value = decode(lpad(to_hex(a.leaves), 64, '0'), 'hex') as fits
from confirmations_log l
left join confirmations_anchor a on a.root = l.subject
where l.contract_id = %(contract)s
  and not l.settled and not l.orphaned
  and l.event = 'anchored'
  and l.block_number <= %(final)s
order by l.block_number, l.log_index
limit 1
for update of l skip locked
"""
_LEAVES = """
select id, project_id, mode from confirmations_confirmation
where transaction_id = %(tx)s and standing in ('waiting', 'sent', 'blocked')
order by position
limit %(slice)s
"""
_CONFIRM = """
update confirmations_confirmation c
set standing = 'confirmed', confirmed_at = (select platform_now()), block_number = x.block_number, tx_hash = x.tx_hash,
    reason = ''
from unnest(%(id)b::uuid[], %(block_number)b::bigint[], %(tx_hash)b::bytea[]) as x (id, block_number, tx_hash)
where c.id = x.id
"""


@dataclass(frozen=True, slots=True)
class _Told:
    id: UUID
    project_id: UUID
    mode: str
    block_number: int
    tx_hash: bytes


def settle(contract_id: UUID, final: int) -> int:
    """Tell all jobs whose confirmations are final, up to this block. Returns how many."""
    told = 0
    while keys := _final_logs(contract_id, final):
        for first in range(0, len(keys), SLICE):
            with transaction.atomic():
                told += _jobs(contract_id, keys[first : first + SLICE])
        if len(keys) < MOST:
            break
    while True:
        with transaction.atomic():
            number, more = _root(contract_id, final)
        told += number
        if not more:
            break
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_transaction set step = 'final' where contract_id = %s and step = 'included'"
            " and block_number <= %s",
            (contract_id, final),
        )
    return told


def _final_logs(contract_id: UUID, final: int) -> list[tuple[bytes, int]]:
    with log.cursor() as cur:
        cur.execute(_FINAL_LOGS, {"contract": contract_id, "final": final, "most": MOST}, prepare=True)
        return cur.fetchall()


def _jobs(contract_id: UUID, keys: Sequence[tuple[bytes, int]]) -> int:
    contract = Contract.objects.get(id=contract_id)
    hashes, indexes = [bytes(block_hash) for block_hash, _ in keys], [index for _, index in keys]
    values = {"contract": contract_id, "block_hash": hashes, "log_index": indexes}
    with log.cursor() as cur:
        cur.execute(_SETTLE_LOGS, values, prepare=True)
        rows = cur.fetchall()
    told: dict[UUID, _Told] = {}
    for block_number, tx_hash, value, job_id, project_id, mode, standing, wanted in rows:
        if job_id is None:
            continue  # of another installation with the same signer, or from before a restore
        if bytes(value) != bytes(wanted):
            other = {"transaction": shown(tx_hash), "block": block_number, "on_chain": shown(value)}
            ask_person("confirmation", job_id, "other_hash", other | {"expected": shown(wanted)}, project_id)
        elif standing in OPEN and job_id not in told:  # once more with the same hash says nothing new
            told[job_id] = _Told(job_id, project_id, mode, block_number, bytes(tx_hash))
    _tell(contract, list(told.values()))
    return len(told)


def _root(contract_id: UUID, final: int) -> tuple[int, bool]:
    """One slice of the leaves of the next root. Its log is settled when all have been told."""
    contract = Contract.objects.get(id=contract_id)
    with log.cursor() as cur:
        cur.execute(_FINAL_ROOTS, {"contract": contract_id, "final": final}, prepare=True)
        row = cur.fetchone()
        if row is None:
            return 0, False
        block_hash, log_index, block_number, tx_hash, tx_id, _, fits = row
        leaves = []
        if tx_id is not None and fits:
            cur.execute(_LEAVES, {"tx": tx_id, "slice": SLICE}, prepare=True)
            leaves = cur.fetchall()
        if len(leaves) < SLICE:
            cur.execute(
                "update confirmations_log set settled = true"
                " where contract_id = %s and block_hash = %s and log_index = %s",
                (contract_id, block_hash, log_index),
            )
    _tell(contract, [_Told(row[0], row[1], row[2], block_number, bytes(tx_hash)) for row in leaves])
    return len(leaves), True


def _tell(contract: Contract, told: Sequence[_Told]) -> None:
    if not told:
        return
    with log.cursor() as cur:
        cur.execute(
            _CONFIRM,
            {
                "id": [one.id for one in told],
                "block_number": [one.block_number for one in told],
                "tx_hash": [one.tx_hash for one in told],
            },
            prepare=True,
        )
    services.settle("confirm", [Move(one.id, one.project_id, data=_data(contract, one)) for one in told])


def _data(contract: Contract, one: _Told) -> str:
    return orjson.dumps(
        {
            "mode": one.mode,
            "network": contract.network_id,
            "transaction": shown(one.tx_hash),
            "block": one.block_number,
        }
    ).decode()


def confirm_external(confirmation_id: UUID, block_number: int, tx_hash: bytes) -> None:
    """Confirm a job by a final transaction that is none of ours. In a transaction; nothing, where it is confirmed."""
    row = Confirmation.objects.select_for_update().select_related("contract").get(id=confirmation_id)
    if row.standing in OPEN:
        _tell(row.contract, [_Told(row.id, row.project_id, row.mode, block_number, tx_hash)])


_RETRACTED = """
update confirmations_confirmation c
set standing = 'sent', confirmed_at = null, block_number = null, tx_hash = null
from confirmations_transaction t
where t.id = c.transaction_id
  and t.contract_id = %(contract)s
  and c.standing = 'confirmed'
  and c.block_number > %(ancestor)s
returning c.id, c.project_id, c.mode
"""


def retract(contract_id: UUID, ancestor: int) -> int:
    """Blocks that were final are gone: their jobs are being confirmed again. In a transaction. Returns how many."""
    contract = Contract.objects.get(id=contract_id)
    with log.cursor() as cur:
        cur.execute(_RETRACTED, {"contract": contract_id, "ancestor": ancestor})
        rows = cur.fetchall()
    if rows:
        data = orjson.dumps({"network": contract.network_id, "block": ancestor}).decode()
        services.settle("retract", [Move(row[0], row[1], data=data) for row in rows])
        evidence = {"network": contract.network_id, "common_block": ancestor, "jobs": len(rows)}
        ask_person("contract", contract_id, "reorganised_beyond_finality", evidence)
    return len(rows)
