"""Where a message stands. It is never stored: it is read from the message's job."""

from enum import StrEnum

from jobs.states import Status

KIND = "message.process"


class MessageStatus(StrEnum):
    """What a message's sender sees."""

    RECEIVED = "received"  # kept; its job waits, runs or is retried
    PROCESSED = "processed"  # its original is in object storage
    FAILED = "failed"  # attempts exhausted: a dead letter
    REJECTED = "rejected"  # a known permanent error, written on the message: a dead letter
    CANCELLED = "cancelled"  # somebody cancelled its job


ENDED_WITHOUT_OBJECT = (Status.FAILED, Status.REJECTED, Status.CANCELLED)
"""Statuses of a job whose message is not, and without a person will not be, in object storage."""

_OF_JOB = {
    Status.PROCESSED: MessageStatus.PROCESSED,
    Status.CONFIRMED: MessageStatus.PROCESSED,
    Status.FAILED: MessageStatus.FAILED,
    Status.REJECTED: MessageStatus.REJECTED,
    Status.CANCELLED: MessageStatus.CANCELLED,
}


def status_of(job_status: str | None, *, stored: bool) -> MessageStatus:
    """The status of a message from that of its job. Where the job's row is gone, its object decides."""
    if job_status is None:
        return MessageStatus.PROCESSED if stored else MessageStatus.RECEIVED
    return _OF_JOB.get(Status(job_status), MessageStatus.RECEIVED)


def job_status_of(status: MessageStatus) -> Status:
    """The one status of the job behind a rare status of a message (failed, rejected, cancelled)."""
    return Status(status.value)
