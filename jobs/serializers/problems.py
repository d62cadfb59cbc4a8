"""The engine's errors as problems: the one place that says which status each has."""

from jobplatform.api.problems import FieldError, Problem, answer_with
from jobplatform.api.validation import pointer_to
from jobs.errors import (
    AlreadyResolved,
    BatchNotFound,
    BulkActNotFound,
    DuplicateJob,
    InterventionNotFound,
    InvalidOption,
    InvalidPayload,
    JobNotFound,
    JobsError,
    NoProposal,
    PauseNotFound,
    ProposalWaits,
    SamePerson,
    ScheduleExists,
    ScheduleNotFound,
    SecondPersonRequired,
    SubmitRefused,
    UnknownKind,
    WrongStatus,
)

_TOO_MANY = frozenset({"quota_exceeded", "rate_limited", "too_many_jobs"})


def _invalid_payload(error: InvalidPayload) -> Problem:
    errors: list[FieldError] = [
        {
            "field": "/payload" + pointer_to(found.get("loc", ())),
            "code": str(found.get("type", "invalid")),
            "message": str(found.get("msg", ""))[:300],
        }
        for found in error.errors
    ]
    return Problem(422, error.code, str(error), errors=errors)


def _refused(error: SubmitRefused) -> Problem:
    return Problem(429 if error.code in _TOO_MANY else 403, error.code, str(error))


def _wrong_status(error: WrongStatus) -> Problem:
    return Problem(409, error.code, str(error))


answer_with(
    {
        JobsError: 422,
        UnknownKind: lambda error: Problem(
            422,
            error.code,
            "No handler is registered for this kind; GET /api/v1/kinds lists those that there are.",
            errors=[{"field": "/kind", "code": error.code, "message": "Unknown kind."}],
        ),
        InvalidPayload: _invalid_payload,
        InvalidOption: 422,
        SubmitRefused: _refused,
        JobNotFound: 404,
        WrongStatus: _wrong_status,
        InterventionNotFound: 404,
        DuplicateJob: 409,
        BatchNotFound: 404,
        BulkActNotFound: 404,
        PauseNotFound: 404,
        AlreadyResolved: 409,
        NoProposal: 409,
        ProposalWaits: 409,
        SamePerson: 403,
        SecondPersonRequired: 409,
        ScheduleNotFound: 404,
        ScheduleExists: 409,
    }
)
