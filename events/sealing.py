"""The seals of the audit record: a place in the chain of its project, and an HMAC over it and the one before.

`record()` only appends, so whoever acts waits for nobody; the relay seals what was committed, within seconds, in the
order of ids among what it sees. A transaction that commits late comes later into its chain. The key, `AUDIT_KEY`, is
not in the database: who can write there, even as its superuser, can break a seal and not make one.

What is hashed is JSON with sorted keys, no spaces and nothing escaped that need not be, in UTF-8. All values are the
database's own text, `data` too: no number is rounded on the way, and nothing in it can keep the sealer from its work.
"""

import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings
from django.db import transaction

from events import log

FORM = "jobplatform.audit.record/1"
START = "0" * 64
"""What stands for the hash before the first."""
PLATFORM = "platform"
"""The chain of records without a project."""
LOCK = 7_301_990_146  # advisory lock: one process seals at a time
SLICE = 100  # records; each may have a megabyte of data

# The relay has other things to do than to wait for somebody who changes the table.
_TAKE = "select pg_try_advisory_xact_lock(%s), set_config('lock_timeout', '500ms', true)"
CONTENT = (
    "a.id, coalesce(a.project_id::text, 'platform'), to_json(a.occurred_at at time zone 'UTC') #>> '{}',"
    " a.actor, a.action, a.subject_type, a.subject_id, a.reason, a.data::text,"
    " coalesce(a.chain_no, 0), coalesce(a.prev_hash, ''), coalesce(a.hash, '')"
)
"""The columns of `Record`. `to_json` writes a time in one way, whatever the session's settings are."""
_UNSEALED = f"select {CONTENT} from events_auditrecord a where a.chain_no is null order by a.id limit %s"  # noqa: S608 - our own names
_HEADS = """
select c.project_id::text, h.chain_no, h.hash
from unnest(%s::uuid[]) c (project_id)
cross join lateral (
    select a.chain_no, a.hash from events_auditrecord a
    where a.project_id = c.project_id and a.chain_no is not null order by a.chain_no desc limit 1
) h
union all
(select 'platform', a.chain_no, a.hash from events_auditrecord a
 where a.project_id is null and a.chain_no is not null order by a.chain_no desc limit 1)
"""
_SEAL = """
update events_auditrecord a set chain_no = s.chain_no, prev_hash = s.prev_hash, hash = s.hash
from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) s (id, chain_no, prev_hash, hash)
where a.id = s.id and a.chain_no is null
"""
_OLDEST = """
select extract(epoch from clock_timestamp() - occurred_at)::float8
from events_auditrecord where chain_no is null order by id limit 1
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is hashed. `chain`: a project's id, or `platform`. Not sealed: number 0 and empty hashes."""

    id: int
    chain: str
    occurred_at: str  # ISO 8601, UTC
    actor: str
    action: str
    subject_type: str
    subject_id: str
    reason: str
    data: str  # JSON
    chain_no: int
    prev_hash: str
    hash: str

    def facts(self, *, chain_no: int | None = None, prev_hash: str | None = None) -> dict[str, object]:
        """What its hash is made of, at its own place in the chain or at another one."""
        return {
            "form": FORM,
            "chain": self.chain,
            "chain_no": self.chain_no if chain_no is None else chain_no,
            "prev_hash": self.prev_hash if prev_hash is None else prev_hash,
            "id": self.id,
            "occurred_at": self.occurred_at,
            "actor": self.actor,
            "action": self.action,
            "subject_type": self.subject_type,
            "subject_id": self.subject_id,
            "reason": self.reason,
            "data": self.data,
        }

    @property
    def whole(self) -> bool:
        """Whether it is as it was when it was sealed."""
        return fits(self.hash, self.facts())


@dataclass(slots=True)
class Head:
    """The end of a chain: its last number, which is also how many records it has, and the hash of that record."""

    chain_no: int = 0
    hash: str = START


def canonical(facts: Mapping[str, object]) -> bytes:
    """The one way in which facts are written before they are hashed."""
    return json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def mac(facts: Mapping[str, object]) -> str:
    """HMAC-SHA256 of facts under the key of the audit record, in hexadecimal digits."""
    return hmac.new(settings.AUDIT_KEY.encode(), canonical(facts), "sha256").hexdigest()


def fits(given: str, facts: Mapping[str, object]) -> bool:
    """Whether an HMAC that was found somewhere is that of these facts."""
    return hmac.compare_digest(mac(facts).encode(), given.encode(errors="replace"))


def seal(*, seconds: float = 60.0) -> int:
    """Seal what is not sealed, slice by slice, until that is all or so many seconds are over. Returns how many records.

    Any number of processes may call it; one works, the others return 0. Each slice is a transaction of its own.
    """
    ends = time.monotonic() + seconds
    sealed = 0
    while True:
        number = _seal_slice()
        sealed += number
        if number < SLICE or time.monotonic() >= ends:
            return sealed


def unsealed_seconds() -> float:
    """The age of the record that waits longest for its seal; 0 when there is none."""
    with log.cursor() as cur:
        row = cur.execute(_OLDEST).fetchone()
    return max(0.0, row[0]) if row else 0.0


def _seal_slice() -> int:
    with transaction.atomic(), log.cursor() as cur:
        # A statement of its own: only the next one is sure to see what another sealer has committed.
        row = cur.execute(_TAKE, (LOCK,)).fetchone()
        if not (row and row[0]):
            return 0
        records = [Record(*found) for found in cur.execute(_UNSEALED, (SLICE,)).fetchall()]
        if not records:
            return 0
        heads = _heads(cur, {record.chain for record in records})
        seals: list[tuple[int, int, str, str]] = []
        for record in records:
            head = heads.setdefault(record.chain, Head())
            number, before = head.chain_no + 1, head.hash
            head.chain_no, head.hash = number, mac(record.facts(chain_no=number, prev_hash=before))
            seals.append((record.id, number, before, head.hash))
        cur.execute(_SEAL, [list(column) for column in zip(*seals, strict=True)])
        if cur.rowcount != len(seals):
            message = f"{len(seals)} records of the audit were to be sealed, and {cur.rowcount} could be."
            raise RuntimeError(message)
        return len(seals)


def _heads(cur: psycopg.Cursor[Any], chains: set[str]) -> dict[str, Head]:
    projects = sorted(chains - {PLATFORM})
    return {chain: Head(number, hash_) for chain, number, hash_ in cur.execute(_HEADS, (projects,)).fetchall()}
