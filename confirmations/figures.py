"""Figures of confirmations for metrics: a few cheap statements, however much there is."""

from dataclasses import dataclass

from confirmations.states import OPEN, Mode, Standing
from events import log


@dataclass(frozen=True, slots=True)
class Captured:
    """How far a contract is read. Seconds and blocks; `complete_to` -1: not even its first block."""

    address: str
    network: str
    head_age: float
    lag: int
    complete_to: int
    quiet: float
    orphaned: int
    missed: int
    strangers: int


def captured() -> list[Captured]:
    """How far each active contract is read."""
    with log.cursor() as cur:
        cur.execute(
            "select '0x' || encode(c.address, 'hex'), n.name,"
            " coalesce(extract(epoch from clock_timestamp() - n.seen_at), 0),"
            " greatest(0, coalesce(n.head, 0) + 1 - c.next_block),"
            " coalesce((select r.last from confirmations_scannedrange r"
            "           where r.contract_id = c.id and r.first <= c.deploy_block order by r.first limit 1), -1),"
            " greatest(0, extract(epoch from clock_timestamp()"
            "                     - coalesce(c.lease_until, n.seen_at, clock_timestamp()))),"
            " (select count(*) from confirmations_log l where l.contract_id = c.id and l.orphaned and not l.settled),"
            " c.sweep_misses, c.strangers"
            " from confirmations_contract c join confirmations_network n on n.chain_id = c.network_id where c.active"
            " order by c.id"
        )
        return [
            Captured(row[0], row[1], float(row[2]), row[3], row[4], float(row[5]), row[6], row[7], row[8])
            for row in cur.fetchall()
        ]


@dataclass(frozen=True, slots=True)
class Signed:
    """How a signer stands. `age`: seconds since its first unmined nonce was given away."""

    address: str
    resting: int
    opened: int
    age: float
    balance: float | None


def signed() -> list[Signed]:
    """How each signer stands."""
    with log.cursor() as cur:
        cur.execute(
            "select '0x' || encode(s.address, 'hex'), (s.duty <> 'active')::int, count(t.id),"
            " coalesce(extract(epoch from clock_timestamp()"
            "                  - min(t.created_at) filter (where t.step <> 'included')), 0),"
            " s.balance"
            " from confirmations_signer s"
            " left join confirmations_transaction t on t.signer_id = s.id and t.step = any(%s)"
            " group by s.id order by s.id",
            (list(OPEN),),
        )
        return [
            Signed(row[0], row[1], row[2], max(0.0, float(row[3])), None if row[4] is None else float(row[4]))
            for row in cur.fetchall()
        ]


MOST_COUNTED = 100_000


def standing() -> dict[str, int]:
    """How many confirmations are not final, by how they stand; counted up to MOST_COUNTED in all."""
    with log.cursor() as cur:
        cur.execute(
            "select standing, count(*) from (select standing from confirmations_confirmation"
            " where standing <> 'confirmed' and standing <> 'skipped' limit %s) x group by standing",
            (MOST_COUNTED,),
        )
        found = {str(one): 0 for one in (Standing.WAITING, Standing.SENT, Standing.BLOCKED)}
        return found | dict(cur.fetchall())


def offered() -> dict[str, int]:
    """What the newest attempt of each signer offers at most, in wei per gas."""
    with log.cursor() as cur:
        cur.execute(
            "select '0x' || encode(s.address, 'hex'), a.fee from confirmations_signer s cross join lateral ("
            " select x.fee from confirmations_transaction t join confirmations_attempt x on x.transaction_id = t.id"
            " where t.signer_id = s.id order by t.nonce desc, x.number desc limit 1) a"
        )
        return dict(cur.fetchall())


def gas_per_job() -> dict[str, float]:
    """Gas that the newest transaction of each mode whose receipt was seen took, for each of its jobs."""
    with log.cursor() as cur:
        cur.execute(
            "select m.mode, a.gas::float8 / a.count from unnest(%s::text[]) m (mode) cross join lateral ("
            " select t.gas_used as gas, t.count from confirmations_signer s"
            " join confirmations_transaction t on t.signer_id = s.id"
            " where t.mode = m.mode and t.nonce > s.next_nonce - 200 and t.gas_used is not null and not t.frees"
            " order by t.created_at desc limit 1) a",
            (list(Mode),),
        )
        return dict(cur.fetchall())
