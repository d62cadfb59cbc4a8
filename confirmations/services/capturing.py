"""What is read of a contract: its lease, the logs of a range, and what a reorganisation takes back.

A range is one transaction: its logs, the transactions that they show to be in a block, the line of the ledger that
says that it was read, and the hashes of its blocks. So what the ledger says was read, is there. Whoever lost the lease
writes nothing: every write looks at its number first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from confirmations.errors import LeaseLost
from confirmations.models import Contract
from confirmations.results import shown
from confirmations.services.asked import ask_person
from confirmations.services.calling import call_sender
from confirmations.services.settling import retract
from confirmations.states import Source
from events import log
from events.log import NewEvent
from jobs.states import PLATFORM

LEASE_SECONDS = 30
KEPT_BLOCKS = 4096
"""Hashes of blocks that are kept per contract: a reorganisation is followed back so far."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A log of one of our signers. `event`: confirmed or anchored."""

    block_number: int
    block_hash: bytes
    index: int
    tx_hash: bytes
    event: str
    subject: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks that were read: their logs, and the hashes of those of them that are remembered."""

    first: int
    last: int
    logs: Sequence[Seen]
    hashes: Mapping[int, bytes]
    strangers: int = 0
    span: Mapping[str, Any] | None = None


# ---------------------------------------------------------------------------------------------- the lease
_TAKE = """
update confirmations_contract
set lease_no = lease_no + 1, lease_by = %(owner)s, lease_until = clock_timestamp() + %(seconds)s * interval '1 second'
where id = %(id)s
  and active
  and (lease_by is null or lease_by = %(owner)s or lease_until < clock_timestamp())
returning lease_no
"""


def take(contract_id: UUID, owner: UUID) -> int | None:
    """Become the one who reads a contract. Returns the number of the lease; None: another one is at it."""
    with log.cursor() as cur:
        cur.execute(_TAKE, {"id": contract_id, "owner": owner, "seconds": LEASE_SECONDS})
        row = cur.fetchone()
    return None if row is None else int(row[0])


def release(contract_id: UUID, lease: int) -> None:
    """Let another one read it at once."""
    Contract.objects.filter(id=contract_id, lease_no=lease).update(lease_by=None, lease_until=None)


def hold(contract_id: UUID, lease: int) -> None:
    """Keep the lease. Raises `LeaseLost`."""
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_contract set lease_until = clock_timestamp() + %s * interval '1 second'"
            " where id = %s and lease_no = %s",
            (LEASE_SECONDS, contract_id, lease),
        )
        if cur.rowcount != 1:
            raise LeaseLost


def _locked(contract_id: UUID, lease: int) -> Contract:
    found = (
        Contract.objects.select_for_update(of=("self",))
        .select_related("network")
        .filter(id=contract_id, lease_no=lease)
        .first()
    )
    if found is None:
        raise LeaseLost
    return found


# ---------------------------------------------------------------------------------------------- reading on
# All bytes come as one value, 128 of each log, and numbers as texts of arrays: an array of bytes costs its client three
# times what everything else of a log does. What is final and says nothing of a job of ours is settled at once.
_INSERT_LOGS = """
insert into confirmations_log (
    contract_id, block_number, log_index, event, block_hash, tx_hash, subject, value, source, orphaned, settled
)
select %(contract)s, x.block_number, x.log_index, case when x.anchored then 'anchored' else 'confirmed' end,
       substring(w.words from x.n * 128 - 127 for 32), substring(w.words from x.n * 128 - 95 for 32),
       subject, substring(w.words from x.n * 128 - 31 for 32), %(source)s, false,
       x.block_number <= %(final)s and not x.anchored and not exists (
           select from confirmations_confirmation c
           where c.id = case when substring(subject from 17) = '\\x00000000000000000000000000000000'
                             then encode(substring(subject for 16), 'hex')::uuid end)
from (select %(words)b::bytea as words) w,
     rows from (unnest(%(block_number)s::text::bigint[]), unnest(%(log_index)s::text::int[]),
                unnest(%(anchored)s::text::bool[]), generate_series(1, %(number)s::int))
     as x (block_number, log_index, anchored, n),
     lateral (select substring(w.words from x.n * 128 - 63 for 32) as subject) s
"""
_KEPT = """
on conflict (contract_id, block_hash, log_index) do update set orphaned = false
where confirmations_log.orphaned
"""
_INCLUDED = """
update confirmations_transaction t
set step = 'included', block_number = x.block_number, block_hash = x.block_hash, tx_hash = x.tx_hash, seq = t.seq + 1,
    reason = ''
from unnest(%(tx_hash)b::bytea[], %(block_number)b::bigint[], %(block_hash)b::bytea[])
    as x (tx_hash, block_number, block_hash)
join confirmations_attempt a on a.hash = x.tx_hash
where t.id = a.transaction_id
  and (t.step in ('reserved', 'signed', 'sent', 'stuck') or t.step = 'included' and t.block_hash <> x.block_hash)
returning t.id, t.seq, t.signer_id, t.nonce, t.count, t.tx_hash, t.block_number
"""


def read(contract_id: UUID, lease: int, found: Range, *, head: int, final: int) -> int:
    """Keep a range that was read behind all that were read before. Returns how many logs of ours it has.

    Raises:
        LeaseLost: another one reads.
    """
    with transaction.atomic():
        contract = _locked(contract_id, lease)
        if contract.next_block != found.first:
            raise LeaseLost
        # First: what is there of a range that was never read, a socket told, and that is little.
        there = _orphan_others(contract.id, found)
        _insert(contract, found.logs, Source.REPLAY, final=final, fresh=not there)
        freed = _include(contract, found.logs)
        _ledger(contract.id, found.first, found.last)
        _remember(contract.id, found.hashes)
        contract.next_block = found.last + 1
        contract.strangers += found.strangers
        if found.span is not None:
            contract.span = dict(found.span)
        contract.save(update_fields=["next_block", "strangers", "span"])
        see(contract.network_id, head, final)
        for signer_id in freed:
            call_sender(signer_id)  # there may be room for what waits
    return len(found.logs)


def see(network_id: int, head: int, final: int) -> None:
    """Note how far a network is."""
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_network set head = %s, final = greatest(final, %s), seen_at = clock_timestamp()"
            " where chain_id = %s",
            (head, final, network_id),
        )


def _insert(contract: Contract, logs: Sequence[Seen], source: Source, *, final: int = -1, fresh: bool = False) -> int:
    """Write logs of a contract whose row is locked. `fresh`: there are none of those blocks. How many are new."""
    if not logs:
        return 0
    with log.cursor() as cur:
        cur.execute(
            _INSERT_LOGS if fresh else _INSERT_LOGS + _KEPT,
            {
                "contract": contract.id,
                "source": source,
                "final": final,
                "number": len(logs),
                "block_number": _array(one.block_number for one in logs),
                "log_index": _array(one.index for one in logs),
                "anchored": _array("t" if one.event == "anchored" else "f" for one in logs),
                "words": b"".join(
                    [part for one in logs for part in (one.block_hash, one.tx_hash, one.subject, one.value)]
                ),
            },
        )
        return cur.rowcount


def _array(values: Iterable[object]) -> str:
    return f"{{{','.join(map(str, values))}}}"


def _orphan_others(contract_id: UUID, found: Range) -> bool:
    """What a socket told of these blocks and is not in them, is of blocks that are gone. False: there was nothing."""
    with log.cursor() as cur:
        cur.execute(
            "select block_hash, log_index, orphaned or settled from confirmations_log"
            " where contract_id = %s and block_number between %s and %s",
            (contract_id, found.first, found.last),
        )
        there = cur.fetchall()
        stand = {(one.block_hash, one.index) for one in found.logs} if there else set()
        gone = [(bytes(row[0]), row[1]) for row in there if not row[2] and (bytes(row[0]), row[1]) not in stand]
        if gone:
            cur.execute(
                "update confirmations_log l set orphaned = true"
                " from unnest(%b::bytea[], %b::int[]) as x (hash, number)"
                " where l.contract_id = %s and l.block_hash = x.hash and l.log_index = x.number",
                ([block_hash for block_hash, _ in gone], [index for _, index in gone], contract_id),
            )
    return bool(there)


def _include(contract: Contract, logs: Sequence[Seen]) -> set[UUID]:
    """Transactions of which these logs show that they are in a block. Returns their signers."""
    if not logs:
        return set()
    told = {one.tx_hash: one for one in logs}
    with log.cursor() as cur:
        cur.execute(
            _INCLUDED,
            {
                "tx_hash": list(told),
                "block_number": [one.block_number for one in told.values()],
                "block_hash": [one.block_hash for one in told.values()],
            },
        )
        rows = cur.fetchall()
        cur.execute(
            "update confirmations_attempt set state = 'mined' where hash = any(%b::bytea[])",
            ([row[5] for row in rows],),
        )
    if rows:
        log.append([_event("tx.included", contract, row) for row in rows])
    return {row[2] for row in rows}


def _event(type_: str, contract: Contract, row: tuple[Any, ...]) -> NewEvent:
    tx_id, seq, signer_id, nonce, count, tx_hash, block_number = row
    data = {
        "network": contract.network_id,
        "contract": str(contract.id),
        "signer": str(signer_id),
        "nonce": nonce,
        "jobs": count,
        "transaction": shown(tx_hash),
        "block": block_number,
    }
    return NewEvent(PLATFORM, type_, tx_id, seq, data)


def _ledger(contract_id: UUID, first: int, last: int) -> None:
    """Note that a range was read: the line that ends before it grows, or a new one begins."""
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_scannedrange set last = %s, read_at = clock_timestamp()"
            " where contract_id = %s and last = %s",
            (last, contract_id, first - 1),
        )
        if cur.rowcount == 0:
            cur.execute(
                "insert into confirmations_scannedrange (contract_id, first, last, read_at)"
                " values (%s, %s, %s, clock_timestamp())",
                (contract_id, first, last),
            )


def _remember(contract_id: UUID, hashes: Mapping[int, bytes]) -> None:
    if not hashes:
        return
    with log.cursor() as cur:
        cur.execute(
            "insert into confirmations_block (contract_id, number, hash)"
            " select %s, x.number, x.hash from unnest(%b::bigint[], %b::bytea[]) as x (number, hash)"
            " on conflict (contract_id, number) do update set hash = excluded.hash",
            (contract_id, list(hashes), list(hashes.values())),
        )
        cur.execute(
            "delete from confirmations_block where contract_id = %s and number < %s",
            (contract_id, max(hashes) - KEPT_BLOCKS),
        )


# ---------------------------------------------------------------------------------------------- provisional
def pushed(contract_id: UUID, logs: Sequence[Seen], removed: Sequence[Seen] = ()) -> None:
    """Keep what a socket told, for people to see. Nothing follows from it until its range is read."""
    with transaction.atomic():
        contract = Contract.objects.select_for_update().get(id=contract_id)
        _insert(contract, [one for one in logs if one.block_number >= contract.next_block], Source.SOCKET)
        with log.cursor() as cur:
            for one in removed:
                cur.execute(
                    "update confirmations_log set orphaned = true where contract_id = %s and block_hash = %s"
                    " and log_index = %s and not settled",
                    (contract_id, one.block_hash, one.index),
                )


# ---------------------------------------------------------------------------------------------- taken back
_RETRACTED = """
update confirmations_transaction t
set step = 'sent', block_number = null, block_hash = null, tx_hash = null, gas_used = null, silent_since = null,
    seq = t.seq + 1
from (select id, tx_hash, block_number from confirmations_transaction
      where contract_id = %(contract)s and block_number > %(ancestor)s
        and step in ('included', 'final', 'reverted', 'freed')) old
where t.id = old.id
returning t.id, t.seq, t.signer_id, t.nonce, t.count, old.tx_hash, old.block_number
"""


def rewind(contract_id: UUID, lease: int, ancestor: int) -> int:
    """The chain has other blocks behind `ancestor` than those that were read: read on from there.

    Their logs count no more, their transactions are on their way again (their bytes leave once more), and jobs whose
    confirmation was final are being confirmed again, with an alarm. Returns how many logs were taken back.
    """
    with transaction.atomic():
        contract = _locked(contract_id, lease)
        with log.cursor() as cur:
            cur.execute(
                "update confirmations_log set orphaned = true where contract_id = %s and block_number > %s"
                " and not orphaned",
                (contract_id, ancestor),
            )
            orphaned = cur.rowcount
            cur.execute(
                "delete from confirmations_scannedrange where contract_id = %s and first > %s", (contract_id, ancestor)
            )
            cur.execute(
                "update confirmations_scannedrange set last = %s where contract_id = %s and last > %s",
                (ancestor, contract_id, ancestor),
            )
            cur.execute(
                "delete from confirmations_block where contract_id = %s and number > %s", (contract_id, ancestor)
            )
            cur.execute(_RETRACTED, {"contract": contract_id, "ancestor": ancestor})
            rows = cur.fetchall()
            cur.execute(
                "update confirmations_attempt set state = 'sent', sent_at = to_timestamp(0)"
                " where hash = any(%b::bytea[])",
                ([row[5] for row in rows if row[5] is not None],),
            )
        if rows:
            log.append([_event("tx.retracted", contract, row) for row in rows])
        contract.next_block = ancestor + 1
        contract.swept_to = None if contract.swept_to is None else min(contract.swept_to, ancestor)
        contract.save(update_fields=["next_block", "swept_to"])
        retract(contract_id, ancestor)
        for signer_id in {row[2] for row in rows}:
            call_sender(signer_id)
    return orphaned


# ---------------------------------------------------------------------------------------------- read once more
def swept(contract_id: UUID, found: Range) -> int:
    """Compare final blocks that were read once more with what is known. Returns how many logs had been missed."""
    with transaction.atomic():
        contract = Contract.objects.select_for_update().get(id=contract_id)
        missed = _insert(contract, found.logs, Source.SWEEP)
        if missed:
            _include(contract, found.logs)
            contract.sweep_misses += missed
            ask_person(
                "contract",
                contract.id,
                "logs_were_missed",
                {"first": found.first, "last": found.last, "missed": missed},
            )
        contract.swept_to = max(found.last, contract.swept_to or 0)
        contract.save(update_fields=["sweep_misses", "swept_to"])
    return missed


def complete_to(contract: Contract) -> int | None:
    """The block up to which every log since the contract was made was read; None: not even its first."""
    with log.cursor() as cur:
        cur.execute(
            "select last from confirmations_scannedrange where contract_id = %s and first <= %s order by first limit 1",
            (contract.id, contract.deploy_block),
        )
        row = cur.fetchone()
    return None if row is None else int(row[0])


def unread() -> list[tuple[UUID, int]]:
    """Active contracts that nobody reads, each with the number of its last lease."""
    with log.cursor() as cur:
        cur.execute(
            "select id, lease_no from confirmations_contract"
            " where active and (lease_by is null or lease_until < clock_timestamp()) order by id"
        )
        return cur.fetchall()


def failed(contract_id: UUID, code: str, said: str) -> None:
    """Publish that a contract could not be read."""
    with transaction.atomic():
        contract = Contract.objects.select_for_update().get(id=contract_id)
        contract.seq += 1
        contract.save(update_fields=["seq"])
        data = {"contract": str(contract), "error": {"code": code, "message": said[:500]}}
        log.append([NewEvent(PLATFORM, "capture.failed", contract.id, contract.seq, data)])
