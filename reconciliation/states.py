"""How a redrive stands, and each of the jobs in it; and how an alarm stands."""

from enum import StrEnum


class PlanStatus(StrEnum):
    """How a redrive stands. Each line says who moves it on."""

    FREEZING = "freezing"  # what it is for is being written down; its own job moves it on
    READY = "ready"  # all is written down: a person starts it
    RUNNING = "running"  # its own job queues what is written down, at its pace
    PAUSED = "paused"  # a person, or trouble, has it rest
    STOPPED = "stopped"  # too many failed again: a person looks, and may start it once more
    DONE = "done"  # all are queued and have ended, or are known to fail again (end)
    ABORTED = "aborted"  # a person ended it (end)


ENDED = frozenset({PlanStatus.DONE, PlanStatus.ABORTED})
STARTABLE = frozenset({PlanStatus.READY, PlanStatus.PAUSED, PlanStatus.STOPPED})
DRIVEN = frozenset({PlanStatus.FREEZING, PlanStatus.RUNNING})


class RowState(StrEnum):
    """What a redrive has done with one job."""

    FROZEN = "frozen"  # nothing yet
    REDRIVEN = "redriven"  # queued once more; nothing is known of it yet
    RECOVERED = "recovered"  # it went well this time
    FAILING = "failing"  # an attempt has failed again, and others follow
    FAILED = "failed"  # it is a dead letter again, or asks for a person
    CANCELLED = "cancelled"  # somebody stopped it meanwhile
    SKIPPED = "skipped"  # it was left alone; `why` says why


UNSETTLED = frozenset({RowState.REDRIVEN, RowState.FAILING})


class AlarmState(StrEnum):
    """How an alarm stands. The rounds of beat move it on."""

    PENDING = "pending"  # beyond the threshold, not yet for long enough
    FIRING = "firing"  # it was told to whoever is to know
    RESOLVED = "resolved"  # over (end)


class Severity(StrEnum):
    """What is expected of whoever is told."""

    PAGE = "page"  # somebody is woken up
    WARN = "warn"  # somebody looks during the day
