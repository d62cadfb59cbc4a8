"""What can go wrong in reconciliation. Each class has a stable `code`; the docstring's first line is its sentence."""

from typing import Any


class ReconciliationError(Exception):
    """Reconciliation refused."""

    code = "reconciliation_error"

    def __init__(self, message: str = "", **about: Any) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])
        self.about = about


class PlanNotFound(ReconciliationError):
    """There is no such reconciliation."""

    code = "reconciliation_not_found"


class CauseNotFound(ReconciliationError):
    """There are no dead letters of this cause."""

    code = "cause_not_found"


class WrongPlanStatus(ReconciliationError):
    """The reconciliation does not stand where this act is possible."""

    code = "wrong_status"


class InvalidPlan(ReconciliationError):
    """This is no reconciliation that could be done."""

    code = "invalid_reconciliation"

    def __init__(self, message: str, *, code: str = "invalid_reconciliation", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class AlarmNotFound(ReconciliationError):
    """There is no such alarm."""

    code = "alarm_not_found"


class InvalidRule(ReconciliationError):
    """This is no rule that an alarm could have."""

    code = "invalid_rule"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NoMail(ReconciliationError):
    """EMAIL_URL is not set: nobody can be mailed."""

    code = "no_mail"


class NotTold(ReconciliationError):
    """Nobody could be told; it is tried again."""

    code = "not_told"


class Untellable(ReconciliationError):
    """Whoever is to be told is refused for good."""

    code = "untellable"
