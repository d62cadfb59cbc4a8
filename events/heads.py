"""Heads of the audit's chains, kept outside the database: what was there cannot be cut off unseen.

Once an hour the end of every chain is stored as one object, which is never overwritten. Who keeps objects lies on a
floor above this one and registers itself with `keep_in`.
"""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from events import log
from events.errors import HeadsUnavailable, NoStorage
from events.sealing import fits, mac

FOLDER = "heads"
FORM = "jobplatform.audit.heads/1"
FORM_OF_ONE = "jobplatform.audit.head/1"

# From project to project by the index, however many records each has.
_ENDS = """
with recursive chains (project_id) as (
    (select project_id from events_auditrecord
     where chain_no is not null and project_id is not null order by project_id limit 1)
    union all
    select (select a.project_id from events_auditrecord a
            where a.chain_no is not null and a.project_id > c.project_id order by a.project_id limit 1)
    from chains c where c.project_id is not null
)
select c.project_id::text, h.chain_no, h.hash
from chains c
cross join lateral (
    select a.chain_no, a.hash from events_auditrecord a
    where a.project_id = c.project_id and a.chain_no is not null order by a.chain_no desc limit 1
) h
where c.project_id is not null
union all
(select 'platform', a.chain_no, a.hash from events_auditrecord a
 where a.project_id is null and a.chain_no is not null order by a.chain_no desc limit 1)
order by 1
"""


class Storage(Protocol):
    """What keeps the heads: objects with a key, which are made once."""

    def create(self, key: str, body: bytes) -> bool:
        """Store a new object; False when there is one with this key, which stays."""

    def get(self, key: str) -> bytes:
        """All of an object."""

    def keys(self, folder: str) -> list[str]:
        """The keys of all objects below `folder/`, two levels deep, in order."""


@dataclass(frozen=True, slots=True)
class KeptHead:
    """The end of a chain at a time: its last number and the hash of that record."""

    chain: str
    chain_no: int
    hash: str
    time: str  # ISO 8601, UTC

    def facts(self) -> dict[str, object]:
        """What its own HMAC is made of."""
        return {
            "form": FORM_OF_ONE,
            "chain": self.chain,
            "chain_no": self.chain_no,
            "hash": self.hash,
            "time": self.time,
        }

    def signed(self) -> dict[str, object]:
        """The facts with their HMAC, so that one chain's head can be shown without the others."""
        return self.facts() | {"mac": mac(self.facts())}


@dataclass(slots=True)
class Kept:
    """What the storage has: heads by chain and number, the first of each; `faults` are objects that are not ours."""

    heads: dict[str, dict[int, KeptHead]] = field(default_factory=dict)
    objects: int = 0
    faults: list[str] = field(default_factory=list)


_storages: list[Storage] = []


def keep_in(storage: Storage) -> None:
    """Register who keeps objects; the last one counts."""
    _storages[:] = [storage]


def _storage() -> Storage:
    if not _storages:
        raise NoStorage
    return _storages[0]


def time_now() -> str:
    """The database's time, as heads have it."""
    with log.cursor() as cur:
        row = cur.execute("select to_json(clock_timestamp() at time zone 'UTC') #>> '{}'").fetchone()
    return str(row[0]) if row else ""


def now() -> list[KeptHead]:
    """The heads of all chains as they are."""
    time = time_now()
    with log.cursor() as cur:
        ends = cur.execute(_ENDS).fetchall()
    return [KeptHead(chain, number, hash_, time) for chain, number, hash_ in ends]


def store() -> tuple[str, int]:
    """Store the heads of all chains for this hour, if that is not done; returns the key and how many chains it has.

    Calls the object storage, so it runs outside any transaction. Without a chain nothing is stored, and the key is "".
    """
    heads = now()
    if not heads:
        return "", 0
    moment = dt.datetime.fromisoformat(heads[0].time)
    key = f"{FOLDER}/{moment:%Y-%m}/{moment:%dT%H}Z.json"
    facts = {"form": FORM, "time": heads[0].time, "heads": [head.signed() for head in heads]}
    _storage().create(key, json.dumps(facts | {"mac": mac(facts)}, indent=1).encode())
    return key, len(heads)


def kept(*, newest: int | None = None, since: dt.datetime | None = None) -> Kept:
    """What is stored: all of it, or the `newest` objects, or those of the hour of `since` and later.

    Raises:
        HeadsUnavailable: the storage cannot be reached.
    """
    storage, found = _storage(), Kept()
    try:
        keys = storage.keys(FOLDER)
        if since is not None:
            first = f"{FOLDER}/{since.astimezone(dt.UTC):%Y-%m/%dT%H}Z.json"
            keys = [key for key in keys if key >= first]
        for key in keys if newest is None else keys[-newest:]:
            _read(key, storage.get(key), found)
    except Exception as error:
        raise HeadsUnavailable(str(error)) from error
    return found


def _read(key: str, body: bytes, found: Kept) -> None:
    found.objects += 1
    try:
        facts: dict[str, Any] = json.loads(body)
        given = str(facts.pop("mac"))
        genuine = facts["form"] == FORM and fits(given, facts)
        heads = [KeptHead(head["chain"], head["chain_no"], head["hash"], head["time"]) for head in facts["heads"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        genuine, heads = False, []
    if not genuine:
        found.faults.append(key)
        return
    _note(heads, found)


def _note(heads: Iterable[KeptHead], found: Kept) -> None:
    for head in heads:
        found.heads.setdefault(head.chain, {}).setdefault(head.chain_no, head)
