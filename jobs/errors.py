"""What can go wrong in the engine. Each class has a stable `code`; the docstring's first line is its sentence."""

from collections.abc import Sequence
from typing import Any


class JobsError(Exception):
    """The engine refused."""

    code = "jobs_error"

    def __init__(self, message: str = "", **about: Any) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])
        self.about = about


class RegistrationError(JobsError):
    """A handler cannot be registered."""

    code = "registration_error"


class UnknownKind(JobsError):
    """No handler is registered for this kind."""

    code = "unknown_kind"


class InvalidPayload(JobsError):
    """The payload does not fit the kind."""

    code = "invalid_payload"

    def __init__(self, message: str = "", *, errors: Sequence[dict[str, Any]] = (), **about: Any) -> None:
        super().__init__(message, **about)
        self.errors = list(errors)


class InvalidOption(JobsError):
    """An option of the job does not fit its kind."""

    code = "invalid_option"

    def __init__(self, message: str, *, code: str = "invalid_option", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class SubmitRefused(JobsError):
    """A gate refused the job."""

    code = "submit_refused"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class DuplicateJob(JobsError):
    """Another job has the unique key, and the kind wants no second one."""

    code = "duplicate_job"


class JobNotFound(JobsError):
    """There is no such job."""

    code = "job_not_found"


class WrongStatus(JobsError):
    """The job does not stand where this act is possible."""

    code = "wrong_status"


class InterventionNotFound(JobsError):
    """There is no such intervention."""

    code = "intervention_not_found"


class AlreadyResolved(JobsError):
    """Somebody has decided already."""

    code = "already_resolved"


class SecondPersonRequired(JobsError):
    """What is decided about this wants a second person: propose it at its intervention."""

    code = "second_person_required"


class ProposalWaits(JobsError):
    """A decision was proposed already: approve or decline it."""

    code = "proposal_waits"


class NoProposal(JobsError):
    """No decision is proposed, or it is another one by now."""

    code = "no_proposal"


class SamePerson(JobsError):
    """Who has proposed a decision does not approve it."""

    code = "same_person"


class BatchNotFound(JobsError):
    """There is no such batch."""

    code = "batch_not_found"


class BulkActNotFound(JobsError):
    """There is no such act on many jobs."""

    code = "bulk_act_not_found"


class PauseNotFound(JobsError):
    """There is no such pause."""

    code = "pause_not_found"


class ScheduleNotFound(JobsError):
    """There is no such schedule."""

    code = "schedule_not_found"


class ScheduleExists(JobsError):
    """The project has a schedule of this name."""

    code = "schedule_exists"


class InvalidSchedule(JobsError):
    """What a schedule says is no time at which it could be due."""

    code = "invalid_schedule"

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class SettingsChanged(JobsError):
    """Somebody else has changed the settings of this kind meanwhile: look at them again."""

    code = "settings_changed"


class TransactionBroken(JobsError):
    """A statement failed inside `Done(within=)`, and the function that ran it went on as if it had not."""

    code = "transaction_broken"


class LostClaim(BaseException):
    """The run no longer owns its job: it must stop, and its result is dropped."""


class TimedOut(BaseException):
    """The handler ran longer than its timeout."""
