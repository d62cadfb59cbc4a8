"""The states of a job and the only ways between them.

The CHECK of the table, the guards of the SQL, the drawing in docs/lifecycle.md and the tests come from here.
`jobs/store.py` alone writes `status`.
"""

from dataclasses import dataclass
from enum import IntFlag, StrEnum
from uuid import UUID

PLATFORM = UUID(int=0)
"""The project of the platform's own jobs."""

BULK = "jobs.bulk"
"""The kind that does acts on many jobs (jobs/bulk.py)."""
CANARIES = "engine.canary."
"""How the kinds of the canaries begin, one kind for each queue (jobs/canary.py)."""

LIVE_SECONDS = 12.0
"""A worker, or a relay, that was not heard of for so long is dead: its jobs come back within 30 s of its death."""


class Status(StrEnum):
    """Where a job stands. Each line says who moves it on."""

    QUEUED = "queued"  # waits for its due time: a worker's claim moves it on
    PROCESSING = "processing"  # one worker owns the attempt: its commit, or a rescue, moves it on
    PARKED = "parked"  # waits for a time or an event that its handler named
    PENDING_APPROVAL = "pending_approval"  # done, but a person must approve
    CONFIRMING = "confirming"  # done, its result is on its way to the chain
    BLOCKED = "blocked"  # needs a person
    PROCESSED = "processed"  # done (end)
    CONFIRMED = "confirmed"  # done and final on chain (end)
    FAILED = "failed"  # attempts exhausted: a dead letter (end, until redriven)
    REJECTED = "rejected"  # refused for good (end)
    CANCELLED = "cancelled"  # stopped on request (end)


ENDED = frozenset({Status.PROCESSED, Status.CONFIRMED, Status.FAILED, Status.REJECTED, Status.CANCELLED})
DEAD_LETTERS = frozenset({Status.FAILED, Status.REJECTED})
LIVE = frozenset(Status) - ENDED
CANCELLABLE = frozenset({Status.QUEUED, Status.PARKED, Status.BLOCKED, Status.PENDING_APPROVAL})
REDRIVABLE = frozenset({Status.FAILED, Status.REJECTED, Status.CANCELLED})


class Gate(IntFlag):
    """Why a queued job stands outside the claim's index. Each bit is cleared by the commit that opens its gate."""

    LANE = 1  # another job of its lane goes before it
    LIMIT = 2  # the limit of its key lets no more run or start


class CatchUp(StrEnum):
    """What becomes of the instants of a schedule that nobody fired in time."""

    SKIP = "skip"  # none makes a job
    ONE = "one"  # the latest does
    ALL = "all"  # each does


class Overlap(StrEnum):
    """What a schedule does when it is due and its last job has not ended."""

    ALLOW = "allow"  # makes another
    SKIP = "skip"  # makes none
    QUEUE_ONE = "queue_one"  # makes one when that has ended, however many instants pass


class Stage(StrEnum):
    """The parts of a job's work that the engine itself knows; other apps may register more (jobs/extensions.py)."""

    PROCESS = "process"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Transition:
    """One way from one status to another. `event` is what is appended to the log by the same statement."""

    verb: str
    source: Status | None  # None: the job does not exist yet
    target: Status
    event: str | None
    cause: str


_T, _S = Transition, Status

TRANSITIONS: tuple[Transition, ...] = (
    _T("submit", None, _S.QUEUED, "job.queued", "accepted"),
    _T("replace", _S.QUEUED, _S.QUEUED, "job.replaced", "a newer one with its unique key took its place"),
    _T("claim", _S.QUEUED, _S.PROCESSING, None, "a worker claims it (job.processing follows if it runs long)"),
    _T("finish", _S.PROCESSING, _S.PROCESSED, "job.processed", "the handler answered Done"),
    _T("await_chain", _S.PROCESSING, _S.CONFIRMING, "job.processed", "Done, and its result goes on chain"),
    _T("next_stage", _S.PROCESSING, _S.QUEUED, "job.processed", "Done, and another stage follows"),
    _T("ask", _S.PROCESSING, _S.PENDING_APPROVAL, "job.processed", "Done, but its quality needs a person"),
    _T("retry", _S.PROCESSING, _S.QUEUED, "job.retrying", "the attempt failed and the policy grants another"),
    _T("release", _S.PROCESSING, _S.QUEUED, "job.released", "handed back unharmed: shutdown, slow neighbour, rescue"),
    _T("park", _S.PROCESSING, _S.PARKED, "job.parked", "the handler answered Park"),
    _T("block", _S.PROCESSING, _S.BLOCKED, "job.blocked", "the handler or its policy asks for a person"),
    _T("fail", _S.PROCESSING, _S.FAILED, "job.failed", "attempts exhausted"),
    _T("reject", _S.PROCESSING, _S.REJECTED, "job.rejected", "the handler answered Reject"),
    _T("stop", _S.PROCESSING, _S.CANCELLED, "job.cancelled", "the handler answered Cancel"),
    _T("wake", _S.PARKED, _S.QUEUED, "job.woken", "what it waited for has come"),
    _T("resume", _S.BLOCKED, _S.QUEUED, "job.resumed", "a person let it go on"),
    _T("supply", _S.BLOCKED, _S.PROCESSED, "job.processed", "a person supplied the result"),
    _T("supply_chain", _S.BLOCKED, _S.CONFIRMING, "job.processed", "a person supplied it, and it goes on chain"),
    _T("cancel", _S.QUEUED, _S.CANCELLED, "job.cancelled", "stopped on request"),
    _T("cancel", _S.PARKED, _S.CANCELLED, "job.cancelled", "stopped on request"),
    _T("cancel", _S.BLOCKED, _S.CANCELLED, "job.cancelled", "stopped on request"),
    _T("cancel", _S.PENDING_APPROVAL, _S.CANCELLED, "job.cancelled", "stopped on request"),
    _T("approve", _S.PENDING_APPROVAL, _S.PROCESSED, "job.approved", "a person approved, nothing follows"),
    _T("approve_next", _S.PENDING_APPROVAL, _S.QUEUED, "job.approved", "a person approved, another stage follows"),
    _T("decline", _S.PENDING_APPROVAL, _S.REJECTED, "job.rejected", "a person declined, or the time ran out"),
    _T("confirm", _S.CONFIRMING, _S.CONFIRMED, "job.confirmed", "canonical event at finality"),
    _T("unconfirm", _S.CONFIRMING, _S.PROCESSED, "job.unconfirmed", "a person lets it end without the chain"),
    _T("retract", _S.CONFIRMED, _S.CONFIRMING, "job.retracted", "a reorganisation deeper than finality"),
    _T("redrive", _S.FAILED, _S.QUEUED, "job.redriven", "a person or a plan queued it once more"),
    _T("redrive", _S.REJECTED, _S.QUEUED, "job.redriven", "by explicit choice"),
    _T("redrive", _S.CANCELLED, _S.QUEUED, "job.redriven", "by explicit choice"),
)


def sources(verb: str) -> frozenset[Status]:
    """The statuses from which a verb may start."""
    found = frozenset(t.source for t in TRANSITIONS if t.verb == verb and t.source is not None)
    if not found:
        raise KeyError(verb)
    return found


def mermaid() -> str:
    """The drawing of docs/lifecycle.md."""
    lines = ["stateDiagram-v2"]
    lines += [f"    {t.source.value if t.source else '[*]'} --> {t.target.value}: {t.verb}" for t in TRANSITIONS]
    lines += [f"    {status.value} --> [*]" for status in Status if status in ENDED]
    return "\n".join(lines)
