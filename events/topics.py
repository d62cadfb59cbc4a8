"""The one table of event types: their topics and their meaning. Schema, docs and choices derive from it.

Grammar: a noun, a dot, a verb in the past (or a state reached). The topics of a type are the flows that it feeds:
`status` and `output` to whoever follows the subject, `metrics` to counters, `next` to what comes after it,
`alarms` to the operator.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventType:
    """One row of the table. `ends_attempt` marks the events that a finished attempt writes."""

    name: str
    topics: tuple[str, ...]
    title: str
    fields: tuple[str, ...] = ()


_TABLE = (
    EventType("job.queued", ("status", "metrics"), "A job was accepted and waits.", ("kind", "due_at")),
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
    EventType("job.parked", ("status",), "The job waits for a time or an event.", ("kind", "event", "delay")),
    EventType("job.woken", ("status",), "What a parked job waited for has come.", ("kind", "reason")),
    EventType("job.blocked", ("status", "metrics", "alarms"), "The job needs a person.", ("kind", "reason", "error")),
    EventType("job.resumed", ("status",), "A person let a blocked job go on.", ("kind", "reason")),
    EventType("job.failed", ("status", "metrics", "alarms"), "The job is a dead letter.", ("kind", "attempt", "error")),
    EventType("job.rejected", ("status", "metrics"), "The job was refused for good.", ("kind", "attempt", "error")),
    EventType("job.cancelled", ("status", "metrics"), "The job was stopped on request.", ("kind", "reason")),
    EventType("job.redriven", ("status", "metrics"), "An ended job was queued once more.", ("kind", "reason")),
    EventType("job.refused", ("status", "metrics"), "The creation of a job was refused.", ("kind", "code", "count")),
    EventType(
        "schedule.paused", ("status", "alarms"), "A schedule cannot fire and was paused.", ("schedule", "reason")
    ),
    EventType(
        "deadletters.threshold_exceeded",
        ("metrics", "alarms"),
        "More dead letters of one kind than its threshold within the window.",
        ("kind", "count", "threshold"),
    ),
)

EVENT_TYPES: dict[str, EventType] = {row.name: row for row in _TABLE}


def topics_of(event_type: str) -> tuple[str, ...]:
    """Topics of a type; a type that this version of the code does not know has none."""
    row = EVENT_TYPES.get(event_type)
    return row.topics if row else ()
