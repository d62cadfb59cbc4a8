"""Jobs and kinds as JSON: what a request may hold, what an answer shows, and which problem an error becomes."""

from jobs.serializers import problems  # noqa: F401 - registers what it says of the engine's errors
from jobs.serializers.asks import MOST_IN_A_BATCH, CancelJob, CreateJob, CreateJobs, Envelope, ResumeJob, RetryJob
from jobs.serializers.explaining import ExplainShown, explain
from jobs.serializers.jobs import (
    AttemptShown,
    BatchShown,
    JobShown,
    address,
    show_attempt,
    show_job,
    show_new,
)
from jobs.serializers.kinds import KindShown, example_of, schema_of, show_kind

__all__ = [
    "MOST_IN_A_BATCH",
    "AttemptShown",
    "BatchShown",
    "CancelJob",
    "CreateJob",
    "CreateJobs",
    "Envelope",
    "ExplainShown",
    "JobShown",
    "KindShown",
    "ResumeJob",
    "RetryJob",
    "address",
    "example_of",
    "explain",
    "schema_of",
    "show_attempt",
    "show_job",
    "show_kind",
    "show_new",
]
