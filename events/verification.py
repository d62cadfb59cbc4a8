"""Verifying the audit record: every chain is computed anew and compared with the heads that are stored elsewhere.

A record whose seal does not fit is a suspect. Where all suspects stand, and where numbers are missing, says what was
done: a record that fits another of these places was moved; one whose place belongs to another was put in; any other
was changed; and what nobody has claimed in the end is missing.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from events import heads, log
from events.heads import KeptHead
from events.sealing import CONTENT, FORM, PLATFORM, START, Record, fits

FORM_OF_RECORD = FORM
PAGE = 100  # records; each may have a megabyte of data
MOST_SUSPECTS = 100  # of one chain; each is tried in all places of all
MOST_PLACES = 1000
MOST_TOLD = 20  # findings of a sort in one chain
HOW = (
    "`hash` of a record, and `mac` of a head, is the HMAC-SHA256, under AUDIT_KEY, of the line without it, written as"
    " JSON in UTF-8 with sorted keys, no spaces and no character escaped that need not be. `prev_hash` is the hash of"
    " the record before, or 64 zeros; the last line is the end of the chain. docs/verify_audit.py does all of it."
)
UNHEADED_SECONDS = 2 * 3600.0  # with records older than this there is a stored head, or somebody deleted it

_PAGE = (
    f"select {CONTENT} from events_auditrecord a where a.chain_no is not null"  # noqa: S608 - our own names
    " and (a.chain_no, a.id) > (%s, %s) and OF_CHAIN order by a.chain_no, a.id limit %s"
)
_OF_PROJECT, _OF_PLATFORM = (
    _PAGE.replace("OF_CHAIN", which) for which in ("a.project_id = %s::uuid", "a.project_id is null")
)
_FIRST = (
    "select extract(epoch from clock_timestamp() - a.occurred_at)::float8 from events_auditrecord a"
    " where a.chain_no is not null order by a.id limit 1"
)


class Sort(StrEnum):
    """What a finding is about."""

    EDIT = "edit"
    DELETE = "delete"
    REORDER = "reorder"
    INSERTION = "insertion"
    TRUNCATION = "truncation"
    REWRITE = "rewrite"
    HEADS = "heads"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was: its sort, the chain (empty: the stored heads themselves), and a sentence."""

    sort: Sort
    chain: str
    text: str


@dataclass(slots=True)
class Verdict:
    """What was seen of one chain. `complete`: it was read to its end."""

    chain: str
    records: int = 0
    complete: bool = True
    findings: list[Finding] = field(default_factory=list)

    def tell(self, sort: Sort, text: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(sort, self.chain, text))


@dataclass(slots=True)
class Report:
    """What was seen of all: chains, and how many stored objects they were compared with."""

    verdicts: list[Verdict]
    objects: int
    faults: list[Finding]

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [*self.faults, *(finding for verdict in self.verdicts for finding in verdict.findings)]

    @property
    def records(self) -> int:
        """How many records were looked at."""
        return sum(verdict.records for verdict in self.verdicts)


def name_of(chain: str) -> str:
    """A chain as a sentence begins with it."""
    return "The platform's chain" if chain == PLATFORM else f"The chain of project {chain}"


def verify(
    chain: str | None = None, *, most: int | None = None, newest: int | None = None, since: dt.datetime | None = None
) -> Report:
    """Verify one chain (a project's id or `platform`), or all of them.

    `most` records of each chain are looked at; `newest` and `since` narrow the stored heads. Reads in pages, and calls
    the object storage, so it runs outside any transaction. Raises `HeadsUnavailable`.
    """
    kept = heads.kept(newest=newest, since=since)  # before the records, so that none is older than its head
    chains = [chain] if chain else sorted({*kept.heads, *(head.chain for head in heads.now())})
    verdicts = [_verify_chain(name, kept.heads.get(name, {}), most) for name in chains]
    faults = [
        Finding(
            Sort.HEADS, "", f"The stored heads {key} bear no seal of this AUDIT_KEY: it is another, or they changed."
        )
        for key in kept.faults
    ]
    if not kept.objects and since is None and _age() > UNHEADED_SECONDS:
        faults.append(Finding(Sort.HEADS, "", "No heads are stored, so nobody can tell whether a chain was cut off."))
    return Report(verdicts, kept.objects, faults)


def records_of(chain: str) -> Iterator[Record]:
    """The sealed records of a chain in its order, read in pages."""
    place, statement = (-(2**63), 0), _OF_PLATFORM if chain == PLATFORM else _OF_PROJECT
    whose: list[Any] = [] if chain == PLATFORM else [chain]
    while True:
        with log.cursor() as cur:
            page = [Record(*row) for row in cur.execute(statement, [*place, *whose, PAGE]).fetchall()]
        yield from page
        if len(page) < PAGE:
            return
        place = (page[-1].chain_no, page[-1].id)


def exported(chain: str) -> Iterator[dict[str, object]]:
    """A chain as facts, each with its HMAC: what it is, its records, its stored heads, and its head as it is now."""
    kept = heads.kept().heads.get(chain, {})
    yield {"form": "jobplatform.audit.export/1", "chain": chain, "how": HOW}
    last: Record | None = None
    for record in records_of(chain):
        yield record.facts() | {"hash": record.hash}
        last = record
    yield from (head.signed() for head in kept.values())
    if last is not None:
        yield heads.KeptHead(chain, last.chain_no, last.hash, heads.time_now()).signed()


def _age() -> float:
    with log.cursor() as cur:
        row = cur.execute(_FIRST).fetchone()
    return float(row[0]) if row else 0.0


# ------------------------------------------------------------------------------------------------ one chain
@dataclass(slots=True)
class _Seen:
    """What reading a chain in its order has shown."""

    top: int = 0  # the highest number that bears a good seal
    last: int = 0
    gaps: list[range] = field(default_factory=list)
    suspects: list[Record] = field(default_factory=list)
    untried: int = 0  # suspects beyond those that are kept
    before: dict[int, str] = field(default_factory=dict)  # by suspect: the hash that stood before it
    doubles: set[int] = field(default_factory=set)  # numbers that a good record has, and a suspect too

    def suspect(self, record: Record, previous: str) -> None:
        """Keep a record whose seal does not fit."""
        if record.chain_no == self.top:
            self.doubles.add(record.chain_no)
        if len(self.suspects) < MOST_SUSPECTS:
            self.suspects.append(record)
            self.before[record.id] = previous
        else:
            self.untried += 1


def _verify_chain(chain: str, kept: dict[int, KeptHead], most: int | None) -> Verdict:
    verdict = Verdict(chain)
    seen = _read(verdict, kept, most)
    if seen.top == 0 and seen.untried + len(seen.suspects) > 1:
        text = f"{name_of(chain)} has no record with a seal of this AUDIT_KEY: it is another key, or all were changed."
        verdict.tell(Sort.EDIT, text)
        return verdict
    top = _judge(verdict, seen, kept)
    missed = [number for number in kept if number > max(top, seen.last if seen.untried else 0)]
    if missed and verdict.complete:
        newest = kept[max(missed)]
        end = f"ends with number {top}" if top else "has no record"
        verdict.tell(
            Sort.TRUNCATION,
            f"{name_of(chain)} was cut off: it {end}, and the head of {newest.time} has number {newest.chain_no}.",
        )
    return verdict


def _read(verdict: Verdict, kept: dict[int, KeptHead], most: int | None) -> _Seen:
    seen = _Seen()
    good: Record | None = None
    previous = START
    for record in records_of(verdict.chain):
        if most is not None and verdict.records >= most:
            verdict.complete = False
            break
        verdict.records += 1
        number = record.chain_no
        if number > seen.last + 1:
            seen.gaps.append(range(seen.last + 1, number))
        if record.whole:
            _compare(verdict, record, good, kept.get(number))
            if seen.suspects and seen.suspects[-1].chain_no == number:
                seen.doubles.add(number)
            good, seen.top = record, number
        else:
            seen.suspect(record, previous)
        previous, seen.last = record.hash, max(seen.last, number)
    return seen


def _compare(verdict: Verdict, record: Record, before: Record | None, head: KeptHead | None) -> None:
    """Compare a record that bears a good seal with the one before that does, and with what was stored of it."""
    chain, number = name_of(verdict.chain), record.chain_no
    expected = START if number == 1 else before.hash if before and before.chain_no == number - 1 else None
    if (before and before.chain_no == number) or (expected is not None and record.prev_hash != expected):
        verdict.tell(Sort.REWRITE, f"{chain} forks: {_which(record)}, does not continue it.")
    elif head is not None and head.hash != record.hash and not _rewritten(verdict):
        text = f"{chain} was cut off and written anew: {_which(record)}, is not what the head of {head.time} has there."
        verdict.tell(Sort.REWRITE, text)


def _rewritten(verdict: Verdict) -> bool:
    return any(finding.sort is Sort.REWRITE for finding in verdict.findings)


def _judge(verdict: Verdict, seen: _Seen, kept: dict[int, KeptHead]) -> int:
    """Say what was done to the suspects, and what is missing. Returns the highest number that there is."""
    chain, told = name_of(verdict.chain), _Told(verdict)
    standing = {record.chain_no for record in seen.suspects if record.chain_no > 0}
    places = (standing - seen.doubles).union(*(gap[:MOST_PLACES] for gap in seen.gaps))
    behind = range(seen.last + 1, seen.last + 1 + len(seen.suspects))  # there they stood if others before are gone
    moved = _moved(seen.suspects, [*sorted(places)[:MOST_PLACES], *behind])
    taken = set(moved.values())
    top = max(seen.top, *taken, *(number for number in kept if number in standing), 0)
    for record in seen.suspects:
        number = record.chain_no
        if record.id in moved:
            told.tell(Sort.REORDER, f"{chain} is in another order: {_which(record)}, was number {moved[record.id]}.")
        elif number in taken or number not in places or (number > top and record.prev_hash != seen.before[record.id]):
            # Its place is another's, or it stands behind all that bears a seal and does not even name the one before.
            told.tell(Sort.INSERTION, f"{chain} has a record that was not sealed there: {_which(record)}.")
        else:
            taken.add(number)
            top = max(top, number)
            told.tell(Sort.EDIT, f"{chain} was changed: {_which(record)}, is not what was sealed.")
    if seen.untried:
        verdict.tell(Sort.EDIT, f"{chain} has {seen.untried} more records that are not what was sealed.")
    longer = {gap[MOST_PLACES - 1]: gap[-1] for gap in seen.gaps if len(gap) > MOST_PLACES}
    for first, last in _runs(number for number in places - taken if number <= top):
        until = longer.get(last, last)
        word = f"number {first} is" if first == until else f"numbers {first} to {until} are"
        told.tell(Sort.DELETE, f"{chain} has a gap: {word} missing.")
    told.rest()
    return top


def _moved(suspects: list[Record], places: list[int]) -> dict[int, int]:
    """Suspects that fit another place: their numbers there by their ids."""
    found: dict[int, int] = {}
    for record in suspects:
        for other in suspects:
            seal = replace(record, chain_no=other.chain_no, prev_hash=other.prev_hash, hash=other.hash)
            if other is not record and fits(seal.hash, seal.facts()):
                found[record.id] = other.chain_no
        for number in places:
            if record.id not in found and fits(record.hash, record.facts(chain_no=number)):
                found[record.id] = number
    return found


@dataclass(slots=True)
class _Told:
    """Findings of which there may be many: some are told, the rest is counted."""

    verdict: Verdict
    number: dict[Sort, int] = field(default_factory=dict)

    def tell(self, sort: Sort, text: str) -> None:
        self.number[sort] = self.number.get(sort, 0) + 1
        if self.number[sort] <= MOST_TOLD:
            self.verdict.tell(sort, text)

    def rest(self) -> None:
        for sort, number in self.number.items():
            if number > MOST_TOLD:
                self.verdict.tell(
                    sort, f"{name_of(self.verdict.chain)} has {number - MOST_TOLD} more of this sort: {sort}."
                )


def _which(record: Record) -> str:
    return f"record {record.id}, number {record.chain_no}"


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Numbers as runs without a hole: first and last."""
    first = last = None
    for number in sorted(numbers):
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = number
        first = number if first is None else first
        last = number
    if first is not None and last is not None:
        yield first, last
