"""What alarms are about: figures of the platform, taken anew in each round by a few cheap statements."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from confirmations import figures as chain
from events import errorlog, log
from jobs import figures, registry, rollups, store
from jobs.rollups import EVERYONE, MINUTE
from jobs.rollups import Measure as Counted
from reconciliation import selectors

WINDOW = 300
"""Seconds over which rates are taken."""
FEWEST = 20
"""Attempts of a kind within the window: of fewer, no rate of errors is told."""
WEI = 1e18


@dataclass(frozen=True, slots=True)
class Reading:
    """One value. `project_id` None: of the whole platform; `subject`: which queue, kind or address, or ""."""

    project_id: UUID | None
    subject: str
    value: float


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured. `above`: high values are bad, else low ones; `of`: what its subjects are.

    `by_project`: there are values of each project beside those of the platform.
    """

    name: str
    title: str
    unit: str
    take: Callable[[], Iterator[Reading]]
    of: str = ""
    above: bool = True
    by_project: bool = False


def _each(statement: str) -> Iterator[Reading]:
    """Rows of (project, value), and the worst or the sum of all as the platform's, which is the row without project."""
    with log.cursor() as cur:
        cur.execute(statement)
        for project_id, value in cur.fetchall():
            yield Reading(project_id, "", float(value or 0))


# Ids of jobs tell when they were made, and one index has them in that order for each project.
_DEAD_AGE = """
with oldest as (
    select c.project_id, first.made
    from (select distinct project_id from reconciliation_cause where dead > 0) c
    cross join lateral (
        select to_timestamp(('x' || translate(left(job_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) as made
        from reconciliation_deadletter d
        where d.project_id = c.project_id and d.dead
        order by d.job_id
        limit 1
    ) first
)
select project_id, greatest(0, extract(epoch from (select platform_now()) - min(made)))
from oldest group by grouping sets ((project_id), ())
"""
_DEAD = """
select project_id, sum(dead) from reconciliation_cause where dead > 0 group by grouping sets ((project_id), ())
"""
# `limit 1` makes each job be fetched by its key.
_LANES = """
with blocked as (
    select i.project_id, i.opened_at
    from (
        select * from jobs_intervention where resolved_at is null and subject_type = 'job' limit 10000
    ) i
    cross join lateral (
        select 1
        from jobs_job j
        where j.project_id = i.project_id and j.id = i.subject_id::uuid and j.status = 'blocked' and j.lane is not null
        limit 1
    ) j
)
select project_id, greatest(0, extract(epoch from (select platform_now()) - min(opened_at)))
from blocked group by grouping sets ((project_id), ())
"""
_UNDECIDED = """
select project_id, greatest(0, extract(epoch from (select platform_now()) - min(opened_at)))
from jobs_intervention where resolved_at is null group by grouping sets ((project_id), ())
"""


def _queue_ages() -> Iterator[Reading]:
    ages: dict[str, float] = defaultdict(float)
    for depth in figures.depths():
        queue = _queue_of(depth.kind)
        ages[queue] = max(ages[queue], depth.age)
    for queue, age in ages.items():
        yield Reading(None, queue, age)


def _queue_of(kind: str) -> str:
    found = registry.find(kind)
    return found.queue if found else "?"


def _error_rates() -> Iterator[Reading]:
    since = store.now() - dt.timedelta(seconds=WINDOW)
    for kind, sums in rollups.by_kind(EVERYONE, seconds=MINUTE, since=since).items():
        ended = {one: sums.count(one) for one in (Counted.PROCESSED, Counted.RETRYING, Counted.FAILED)}
        if (attempts := sum(ended.values())) >= FEWEST:
            yield Reading(None, kind, 100 * (attempts - ended[Counted.PROCESSED]) / attempts)


def _slots() -> Iterator[Reading]:
    """Of queues in which something is due, and of those that somebody serves."""
    live = {item.queue: item.live for item in figures.slots()}
    wanted = {_queue_of(depth.kind) for depth in figures.depths() if depth.due}
    for queue in sorted(live.keys() | wanted):
        if queue != "?":
            yield Reading(None, queue, live.get(queue, 0))


def _errors_logged() -> Iterator[Reading]:
    yield Reading(None, "", errorlog.a_minute(WINDOW))


def _relay() -> Iterator[Reading]:
    pulses = figures.pulses()
    if "relay" in pulses:
        yield Reading(None, "", pulses["relay"].age)


def _findings() -> Iterator[Reading]:
    for name, finding in selectors.findings().items():
        yield Reading(None, name, finding.number)


def _captured() -> Iterator[Reading]:
    for contract in chain.captured():
        yield Reading(None, contract.address, contract.lag)


def _nodes() -> Iterator[Reading]:
    for contract in chain.captured():
        yield Reading(None, contract.network, contract.head_age)


def _funds() -> Iterator[Reading]:
    for signer in chain.signed():
        if signer.balance is not None:
            yield Reading(None, signer.address, signer.balance / WEI)


_ALL = (
    Measure("dead_letters", "Dead letters", "jobs", lambda: _each(_DEAD), by_project=True),
    Measure(
        "dead_letter_age", "Age of the oldest job that stands dead", "s", lambda: _each(_DEAD_AGE), by_project=True
    ),
    Measure("queue_age", "For how long the oldest due job of a queue waits", "s", _queue_ages, of="queue"),
    Measure("error_rate", "Attempts at a kind that failed, within five minutes", "%", _error_rates, of="kind"),
    Measure(
        "lane_age", "For how long the first job of a lane stands blocked", "s", lambda: _each(_LANES), by_project=True
    ),
    Measure(
        "decision_age", "For how long something waits for a person", "s", lambda: _each(_UNDECIDED), by_project=True
    ),
    Measure("capture_lag", "Blocks of a contract that are not read yet", "blocks", _captured, of="contract"),
    Measure("node_silence", "Since when no node has told of the head of a network", "s", _nodes, of="network"),
    Measure("funds", "What a signer has", "ether", _funds, of="signer", above=False),
    Measure("worker_slots", "Worker processes of a queue that are alive", "processes", _slots, of="queue", above=False),
    Measure("relay_silence", "Since when no relay has made a round", "s", _relay),
    Measure("findings", "What stands between two states", "rows", _findings, of="invariant"),
    Measure("errors_logged", "Lines of the log with an error, a minute, within five minutes", "lines", _errors_logged),
)
MEASURES = {measure.name: measure for measure in _ALL}
"""By name. A name is for ever: rules and what was measured name it."""
