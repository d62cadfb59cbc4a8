"""What can go wrong in the log."""


class EventsError(Exception):
    """Base of this app's errors; `code` is stable."""

    code = "events_error"


class UnknownEventType(EventsError):
    """An event was appended whose type is not in `events/topics.py`."""

    code = "unknown_event_type"


class ClockLocked(EventsError):
    """The virtual clock may be moved in tests and in the demo only."""

    code = "clock_locked"


class InvalidEvent(EventsError):
    """What was reported is no event; `field` says where."""

    code = "invalid_event"

    def __init__(self, message: str, *, code: str = "invalid_event", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class NoStorage(EventsError):
    """Nobody has registered where the heads of the audit record are kept."""

    code = "no_storage"


class HeadsUnavailable(EventsError):
    """The stored heads cannot be read now; the text says why."""

    code = "heads_unavailable"
