"""The one table of event types: their topics and their meaning. Schema, docs and choices derive from it.

Grammar: a noun, a dot, a verb in the past (or a state reached). The topics of a type are the flows that it feeds:
`status` and `output` to whoever follows the subject, `metrics` to counters, `next` to what comes after it,
`alarms` to the operator, `job_events` to jobs that wait for it.

Other systems report events of their own types (`payment.arrived`), whose nouns are none of the platform's.
"""

import re
from dataclasses import dataclass
from uuid import UUID, uuid5


@dataclass(frozen=True, slots=True)
class EventType:
    """One row of the table. `ends_attempt` marks the events that a finished attempt writes."""

    name: str
    topics: tuple[str, ...]
    title: str
    fields: tuple[str, ...] = ()


_TABLE = (
    EventType("job.queued", ("status", "metrics"), "A job was accepted and waits.", ("kind", "due_at")),
    EventType("job.replaced", ("status",), "A newer job took the place of one that waited.", ("kind", "due_at")),
    EventType("job.processing", ("status",), "A worker runs the job.", ("kind", "attempt")),
    EventType(
        "job.processed",
        ("status", "metrics", "output", "next"),
        "The stage `process` of a job is done.",
        ("kind", "attempt", "duration_ms", "output"),
    ),
    EventType(
        "job.retrying",
        ("status", "metrics"),
        "An attempt failed; the job waits for the next one.",
        ("kind", "attempt", "error", "delay"),
    ),
    EventType("job.released", ("status",), "A worker gave the job back unharmed.", ("kind", "reason")),
    EventType("job.parked", ("status",), "The job waits for a time or an event.", ("kind", "event", "delay", "due_at")),
    EventType("job.woken", ("status",), "What a parked job waited for has come.", ("kind", "reason", "event", "given")),
    EventType("job.blocked", ("status", "metrics", "alarms"), "The job needs a person.", ("kind", "reason", "error")),
    EventType("job.resumed", ("status",), "A person let a blocked job go on.", ("kind", "reason")),
    EventType("job.failed", ("status", "metrics", "alarms"), "The job is a dead letter.", ("kind", "attempt", "error")),
    EventType("job.rejected", ("status", "metrics"), "The job was refused for good.", ("kind", "attempt", "error")),
    EventType("job.cancelled", ("status", "metrics"), "The job was stopped on request.", ("kind", "reason")),
    EventType("job.redriven", ("status", "metrics"), "An ended job was queued once more.", ("kind", "reason")),
    EventType(
        "job.confirmed",
        ("status", "metrics"),
        "The result of a job stands on chain for good.",
        ("kind", "mode", "network", "transaction", "block"),
    ),
    EventType(
        "job.retracted",
        ("status", "alarms"),
        "What was final was taken back by the chain; the job is being confirmed again.",
        ("kind", "transaction", "block"),
    ),
    EventType(
        "job.unconfirmed", ("status", "metrics"), "A person let a job end without the chain.", ("kind", "reason")
    ),
    EventType("job.refused", ("status", "metrics"), "The creation of a job was refused.", ("kind", "code", "count")),
    EventType(
        "tx.submitted",
        ("status", "metrics"),
        "A node has taken a transaction that confirms jobs.",
        ("network", "contract", "signer", "nonce", "mode", "jobs", "transaction", "tip", "fee"),
    ),
    EventType(
        "tx.included",
        ("status", "output"),
        "A transaction stands in a block, which may still go.",
        ("network", "contract", "signer", "nonce", "jobs", "transaction", "block"),
    ),
    EventType(
        "tx.retracted",
        ("status",),
        "The block of a transaction is gone; its bytes leave once more.",
        ("network", "contract", "signer", "nonce", "jobs", "transaction", "block"),
    ),
    EventType("tx.stuck", ("status", "alarms"), "A transaction needs a person.", ("reason", "nonce")),
    EventType(
        "tx.reverted",
        ("status", "alarms"),
        "The contract refused a transaction for good.",
        ("network", "transaction", "block", "jobs"),
    ),
    EventType(
        "tx.freed", ("status",), "A nonce was used up; its jobs wait for another.", ("network", "transaction", "block")
    ),
    EventType(
        "capture.failed", ("status", "metrics"), "The logs of a contract could not be read.", ("contract", "error")
    ),
    EventType("signer.paused", ("status", "alarms"), "A signer signs nothing for now.", ("duty", "reason")),
    EventType("signer.resumed", ("status",), "A signer signs again.", ("reason",)),
    EventType(
        "batch.ended",
        ("status", "next"),
        "All jobs of a batch have ended.",
        ("name", "total", "counts", "follow_id", "follow_error"),
    ),
    EventType(
        "schedule.paused",
        ("status", "alarms"),
        "A schedule was paused, by a person or because it cannot go on.",
        ("schedule", "reason"),
    ),
    EventType("schedule.resumed", ("status",), "A person let a schedule fire again.", ("schedule", "reason")),
    EventType(
        "schedule.skipped",
        ("status", "metrics"),
        "Instants of a schedule made no job.",
        ("schedule", "number", "reason"),
    ),
    EventType(
        "redrive.stopped",
        ("status", "metrics", "alarms"),
        "Too many jobs of a redrive failed again: it rests until a person has looked.",
        ("status", "reason", "frozen", "redriven", "recovered", "failing", "failed", "cancelled", "skipped"),
    ),
    EventType(
        "redrive.ended",
        ("status", "metrics"),
        "A redrive is done, or was aborted.",
        ("status", "reason", "frozen", "redriven", "recovered", "failing", "failed", "cancelled", "skipped"),
    ),
    EventType(
        "alarm.fired",
        ("status", "metrics", "alarms"),
        "A rule has been broken for long enough.",
        ("rule", "measure", "subject", "severity", "value", "worst", "threshold"),
    ),
    EventType(
        "alarm.resolved",
        ("status", "metrics", "alarms"),
        "What an alarm was about is over.",
        ("rule", "measure", "subject", "severity", "value", "worst", "threshold"),
    ),
    EventType(
        "deadletters.expired",
        ("status", "metrics"),
        "Dead letters of a kind were removed: they are older than it keeps them.",
        ("kind", "count", "before"),
    ),
    EventType(
        "deadletters.threshold_exceeded",
        ("metrics", "alarms"),
        "More dead letters of one kind than its threshold within the window.",
        ("kind", "count", "threshold"),
    ),
)

EVENT_TYPES: dict[str, EventType] = {row.name: row for row in _TABLE}

RESERVED = frozenset(name.partition(".")[0] for name in EVENT_TYPES) | {
    "alarm", "approval", "audit", "backup", "confirmation", "event", "intervention", "key", "lane", "limit", "message",
    "platform", "project", "provider", "signer", "tx", "usage", "webhook", "worker", "workflow",
}  # fmt: skip
"""Nouns of the platform's own types, those to come included: nobody else reports events about them."""

LONGEST_TYPE = 100
LONGEST_SUBJECT = 200
REPORTED = ("job_events",)
"""The topics of what other systems report."""

_REPORTED_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_BEGINNING = re.compile(r"[a-z][a-z0-9_.]*")


def is_reported(event_type: str) -> bool:
    """Whether it is a type that other systems may report: words with dots between them, and no noun of the platform."""
    return (
        len(event_type) <= LONGEST_TYPE
        and _REPORTED_TYPE.fullmatch(event_type) is not None
        and event_type.partition(".")[0] not in RESERVED
    )


def is_type(event_type: str) -> bool:
    """Whether there may be events of this type."""
    return event_type in EVENT_TYPES or is_reported(event_type)


def begins_a_type(text: str) -> bool:
    """Whether the name of a type may begin like this."""
    noun, dot, _ = text.partition(".")
    if any(name.startswith(text) for name in EVENT_TYPES):
        return True
    return len(text) <= LONGEST_TYPE and _BEGINNING.fullmatch(text) is not None and not (dot and noun in RESERVED)


def subject_of(project_id: UUID, event_type: str, subject: str) -> UUID:
    """The `subject_id` of the events of a type about a subject: equal subjects of a project have equal ids.

    An event of the platform is about what has the id that `subject` is the text of. What other systems report is about
    whatever they call so; without a subject it is about its own type.

    Raises:
        ValueError: there is no such type, or the subject does not fit.
    """
    if event_type in EVENT_TYPES:
        return UUID(subject)
    if not is_reported(event_type):
        message = f"There is no event of the type {event_type[:LONGEST_TYPE]!r}."
        raise ValueError(message)
    if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        message = f"A subject has at most {LONGEST_SUBJECT} printable characters."
        raise ValueError(message)
    return uuid5(project_id, f"subject:{subject}" if subject else f"type:{event_type}")


def topics_of(event_type: str) -> tuple[str, ...]:
    """Topics of a type; one of the platform's that this version of the code does not know has none."""
    row = EVENT_TYPES.get(event_type)
    if row is not None:
        return row.topics
    return REPORTED if is_reported(event_type) else ()
